// As global_norm.wgsl, for CPU adapters, with blocks of p.block / 2 packs.
//
// The gradient is a matrix of FLAT_PACKS packs a row. Grid (blocks): each lane sums every GROUP-th pack of a block.
#import pack
#import reduce
struct Params { quads: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 gradient
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * (p.block / 2u);
    let end = min(first + p.block / 2u, p.quads / 2u);
    var sum = vec4<f32>();
    for (var i = first + lane; i < end; i += GROUP) {
        let v = load_gradient(i / FLAT_PACKS, i % FLAT_PACKS, FLAT_PACKS);
        sum += v.a * v.a + v.b * v.b;
    }
    let total = group_sum(sum.x + sum.y + sum.z + sum.w, lane);
    if lane == 0u { partial[group.x] = total; }
}
