// As embedding_backward.wgsl, for CPU adapters.
//
// Grid: one group per owner, folded into y; the lanes step over packs of 8 columns.
#import pack
struct Params { owners: u32, quads: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 dx
@group(0) @binding(2) var<storage, read> owners: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let owner = group.y * GRID_WIDTH + group.x;
    if owner >= p.owners { return; }
    let packs = p.quads / 2u;
    let table_row = owners[owner * 3u];
    let first = owners[owner * 3u + 1u];
    let end = owners[owner * 3u + 2u];
    for (var i = lane; i < packs; i += GROUP) {
        var sum = unpack8(gradient[table_row * packs + i]);
        // Sixteen rows a turn: llvmpipe ends loops after 65,535 turns, and one token may be in all rows.
        var j = first;
        for (; j + 15u < end; j += 16u) {
            #for k in 0..16
            let d${k} = load_dx(rows[j + ${k}u], i, packs);
            sum = Floats8(sum.a + d${k}.a, sum.b + d${k}.b);
            #end
        }
        for (; j < end; j++) {
            let d = load_dx(rows[j], i, packs);
            sum = Floats8(sum.a + d.a, sum.b + d.b);
        }
        gradient[table_row * packs + i] = pack8(sum);
    }
}
