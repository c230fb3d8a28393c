// C (+)= the sum of the partial products of `matmul_tiled` over all parts of K, in order, with the epilogue.
//
// Partial [parts, M, N], C [M, N], in packs of 8 columns. Grid over packs: an invocation adds up one.
// Variant: ACCUMULATE, the epilogue.
#import pack
#import epilogue
struct Params { parts: u32, part_packs: u32, packs: u32, live_packs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<Pack>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.y * GRID_WIDTH + group.x) * GROUP + lane;
    if at >= p.live_packs { return; }
    var value = Floats8();
    for (var part = 0u; part < p.parts; part++) {
        let v = unpack8(partial[part * p.part_packs + at]);
        value = Floats8(value.a + v.a, value.b + v.b);
    }
    #if ACCUMULATE
    let before = unpack8(c[at]);
    value = Floats8(value.a + before.a, value.b + before.b);
    #end
    let column = at % p.packs;
    c[at] = pack8(epilogue(value, epilogue_kept(column), at / p.packs, column, p.packs));
}
