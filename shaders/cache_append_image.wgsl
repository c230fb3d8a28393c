// Rows of x go to rows of a cache, for CPU adapters: see append_params. x is an image, all columns multiples of 4; four channels
// a texel, a group of 8 a row. Spec: BUFFER (the cache is a buffer, else an image).
#import append_params
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
#if BUFFER
@group(0) @binding(2) var<storage, read_write> cache: array<vec4<f32>>;
#end
#if 1-BUFFER
@group(0) @binding(2) var cache: texture_storage_2d<rgba32float, write>;
#end

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 32768u + group.x;
    if row >= p.rows { return; }
    let x_row = group.z * p.apart + p.skip + row;
    let cache_row = group.z * p.stretch + (p.number + row) % p.stretch;
    for (var i = lane; i < p.columns / 4u; i += 8u) {
        let texel = textureLoad(x, vec2<u32>(p.x_at / 4u + i, x_row));
#if BUFFER
        cache[(cache_row * p.cache_pitch + p.cache_at) / 4u + i] = texel;
#end
#if 1-BUFFER
        textureStore(cache, vec2<u32>(p.cache_at / 4u + i, cache_row), texel);
#end
    }
}
