// Partial sums of squares of a flat tensor, read as [rows, 512 packs]: partial[group] over p.block packs, each lane every
// GROUP-th pack, then a fixed tree. state_update adds the partials up.
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
        let v = load_gradient(i / 512u, i % 512u, 512u);
        sum += v.a * v.a + v.b * v.b;
    }
    let total = group_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane == 0u { partial[group.x] = total; }
}
