// Philox-4x32-10 (Salmon et al. 2011): four random words from a counter and a key. src/philox.rs computes the same words.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let middle2 = a0 * b1 + (middle & 0xffffu);
    return a1 * b1 + (middle >> 16u) + (middle2 >> 16u);
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var i = 0u; i < 10u; i++) {
        c = vec4<u32>(
            multiply_high(0xCD9E8D57u, c.z) ^ c.y ^ k.x,
            0xCD9E8D57u * c.z,
            multiply_high(0xD2511F53u, c.x) ^ c.w ^ k.y,
            0xD2511F53u * c.x,
        );
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}
