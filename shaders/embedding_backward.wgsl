// gradient [V or P, C] at r += Σ dx [N, C] over the rows of the batch with token id or position r, in a fixed order, for GPUs.
//
// owners: (r, first, end) of each distinct id or position, where rows[first..end] are its rows in the batch. Every table row
// is written by the groups of one owner, so that no atomics are needed.
// Grid (owners, folded into y; ⌈quads/QUADS⌉ in z): a group of QUADS·LANES invocations has LANES lanes for each vector of four
// columns. A lane sums every LANES-th row of the owner, eight rows at a time; then the lanes are added.
struct Params { owners: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dx: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> owners: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;
var<workgroup> scratch: array<vec4<f32>, ${QUADS*LANES}>;

@compute @workgroup_size(${QUADS*LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let owner = group.y * GRID_WIDTH + group.x;
    if owner >= p.owners { return; }
    let quad = group.z * QUADS + index % QUADS;
    let lane = index / QUADS;
    let end = select(0u, owners[owner * 3u + 2u], quad < p.quads);
    var sum = vec4<f32>();
    for (var j = owners[owner * 3u + 1u] + lane; j < end; j += 8u * LANES) {
        #for k in 0..8
        var v${k} = vec4<f32>();
        if j + ${k}u * LANES < end { v${k} = dx[rows[j + ${k}u * LANES] * p.quads + quad]; }
        #end
        sum += ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7));
    }
    scratch[index] = sum;
    workgroupBarrier();
    if lane == 0u && quad < p.quads {
        #for k in 1..LANES
        sum += scratch[index + ${k}u * QUADS];
        #end
        let at = owners[owner * 3u] * p.quads + quad;
        gradient[at] += sum;
    }
}
