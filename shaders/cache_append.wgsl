// The keys and values of N rows go to rows of a cache: qkv [N, 3C], k | v of row r to row r of each of `copies` stretches of
// `stretch` rows. Grid (N folded into y, copies); 64 invocations step over the 2C channels.
struct Params { rows: u32, columns: u32, pitch: u32, cache_pitch: u32, stretch: u32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 32768u + group.x;
    if row >= p.rows { return; }
    let into = (group.z * p.stretch + row) * p.cache_pitch;
    for (var i = lane; i < 2u * p.columns; i += 64u) { cache[into + i] = qkv[row * p.pitch + p.columns + i]; }
}
