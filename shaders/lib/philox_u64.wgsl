// As philox, with products of 64 bits: a GPU with SHADER_INT64 multiplies two words and keeps both halves in one instruction or
// two. The rounds are written out, so that the keys of the rounds are computed once where the key is uniform.
fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    #for i in 0..10
    {
        let x = u64(c.x) * 0xD2511F53lu;
        let z = u64(c.z) * 0xCD9E8D57lu;
        let k = key + vec2<u32>(0x9E3779B9u, 0xBB67AE85u) * ${i}u;
        c = vec4<u32>(u32(z >> 32u) ^ c.y ^ k.x, u32(z), u32(x >> 32u) ^ c.w ^ k.y, u32(x));
    }
    #end
    return c;
}
