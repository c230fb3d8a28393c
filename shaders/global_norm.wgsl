// partial[g] = the sum of squares of packs g·p.block to (g+1)·p.block of a flat gradient.
//
// The gradient is a matrix of FLAT_PACKS packs a row. Grid (blocks): each lane sums every GROUP-th pack of a block, then the
// lanes are added in a fixed tree. step_state adds the partial sums.
#import pack
#import reduce
struct Params { packs: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 gradient
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * p.block;
    let end = min(first + p.block, p.packs);
    var sum = vec4<f32>();
    for (var i = first + lane; i < end; i += GROUP) {
        let v = load_gradient(i / FLAT_PACKS, i % FLAT_PACKS, FLAT_PACKS);
        sum += v.a * v.a + v.b * v.b;
    }
    let total = group_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane == 0u { partial[group.x] = total; }
}
