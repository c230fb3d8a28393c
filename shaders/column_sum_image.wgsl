// As column_sum.wgsl, for CPU adapters: p.quads, p.pitch and p.first count vectors of four floats, and are even.
//
// Grid (⌈packs/GROUP⌉, blocks): an invocation sums one pack of 8 columns.
#import pack
struct Params { rows: u32, quads: u32, block: u32, pitch: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 x
@group(0) @binding(2) var<storage, read_write> out: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * GROUP + lane;
    let packs = p.quads / 2u;
    if i >= packs { return; }
    let first = group.y * p.block;
    let end = min(first + p.block, p.rows);
    var sum = Floats8();
    #if ADD
    sum = unpack8(out[group.y * packs + i]);
    #end
    for (var row = first; row < end; row++) {
        let v = load_x(row, p.first / 2u + i, p.pitch / 2u);
        sum = Floats8(sum.a + v.a, sum.b + v.b);
    }
    out[group.y * packs + i] = pack8(sum);
}
