// The keys and values of N rows go to rows of a cache, for CPU adapters: qkv [N, 3C] and the cache are images, C a multiple
// of 4. As cache_append.wgsl, four channels a texel, a group of 8 a row.
#import pack
struct Params { rows: u32, columns: u32, pitch: u32, cache_pitch: u32, stretch: u32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var cache: texture_storage_2d<rgba32float, write>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 32768u + group.x;
    if row >= p.rows { return; }
    for (var i = lane; i < p.columns / 2u; i += 8u) {
        textureStore(cache, vec2<u32>(i, group.z * p.stretch + row), textureLoad(qkv, vec2<u32>(p.columns / 4u + i, row)));
    }
}
