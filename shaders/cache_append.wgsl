// Copies rows of x to rows of a cache: see lib/append_params.wgsl. 64 invocations step over the columns of a row.
#import append_params
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let base = (group.z * p.stretch + (p.number + row) % p.stretch) * p.cache_pitch + p.cache_at;
    let x_base = (group.z * p.apart + p.skip + row) * p.x_pitch + p.x_at;
    for (var i = lane; i < p.columns; i += 64u) { cache[base + i] = x[x_base + i]; }
}
