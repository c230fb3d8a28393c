// out [blocks, C] = the sums of C columns of x over blocks of p.block rows, for GPUs. With ADD, out += these sums.
//
// x has rows of p.pitch vectors of four floats; the columns begin at vector p.first and are p.quads vectors wide.
// Grid (⌈quads/QUADS⌉, blocks): a group of QUADS·LANES invocations has LANES lanes for each vector of a row. A lane sums every
// LANES-th row of the block, eight rows at a time; the lanes are added in a fixed tree.
struct Params { rows: u32, quads: u32, block: u32, pitch: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
#if LANES > 1
var<workgroup> scratch: array<vec4<f32>, ${QUADS*LANES}>;
#end

@compute @workgroup_size(${QUADS*LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let quad = group.x * QUADS + index % QUADS;
    let lane = index / QUADS;
    let first = group.y * p.block;
    let end = select(0u, min(first + p.block, p.rows), quad < p.quads);
    var sum = vec4<f32>();
    for (var row = first + lane; row < end; row += 8u * LANES) {
        #for k in 0..8
        var v${k} = vec4<f32>();
        if row + ${k}u * LANES < end { v${k} = x[(row + ${k}u * LANES) * p.pitch + p.first + quad]; }
        #end
        sum += ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7));
    }
    #if LANES > 1
    scratch[index] = sum;
    workgroupBarrier();
    for (var width = LANES / 4u; width > 0u; width /= 4u) {
        if lane < width {
            let second = scratch[index + width * QUADS];
            let third = scratch[index + 2u * width * QUADS];
            scratch[index] += second + (third + scratch[index + 3u * width * QUADS]);
        }
        workgroupBarrier();
    }
    sum = scratch[index];
    #end
    if lane == 0u && quad < p.quads {
        #if ADD
        sum += out[group.y * p.quads + quad];
        #end
        out[group.y * p.quads + quad] = sum;
    }
}
