// Copies rows of x to rows of a cache, for CPU adapters: see lib/append_params.wgsl. x is an image and all columns are
// multiples of 4. A group of 8 invocations copies a row, four channels per texel.
// Variant: BUFFER, the cache is a buffer; else an image.
#import append_params
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
#if BUFFER
@group(0) @binding(2) var<storage, read_write> cache: array<vec4<f32>>;
#else
@group(0) @binding(2) var cache: texture_storage_2d<rgba32float, write>;
#end

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let x_row = group.z * p.apart + p.skip + row;
    let cache_row = group.z * p.stretch + (p.number + row) % p.stretch;
    for (var i = lane; i < p.columns / 4u; i += 8u) {
        let texel = textureLoad(x, vec2<u32>(p.x_at / 4u + i, x_row));
        #if BUFFER
        cache[(cache_row * p.cache_pitch + p.cache_at) / 4u + i] = texel;
        #else
        textureStore(cache, vec2<u32>(p.cache_at / 4u + i, cache_row), texel);
        #end
    }
}
