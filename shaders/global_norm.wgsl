// partial[g] = the sum of squares of the vectors g·p.block to (g+1)·p.block of a flat gradient, of four floats each, for GPUs.
//
// Grid (blocks): each lane sums every GROUP-th vector of a block, eight at a time, then the lanes are added in a fixed tree.
// step_state adds the partial sums.
#import reduce
struct Params { quads: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * p.block;
    let end = min(first + p.block, p.quads);
    var sum = vec4<f32>();
    for (var i = first + lane; i < end; i += 8u * GROUP) {
        #for k in 0..8
        var v${k} = vec4<f32>();
        if i + ${k}u * GROUP < end { v${k} = gradient[i + ${k}u * GROUP]; }
        #end
        sum += ((v0 * v0 + v1 * v1) + (v2 * v2 + v3 * v3)) + ((v4 * v4 + v5 * v5) + (v6 * v6 + v7 * v7));
    }
    let total = group_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane == 0u { partial[group.x] = total; }
}
