// gradient [V or P, C] at r += Σ dx [N, C] over the rows of the batch with token id or position r, in the order of the rows.
//
// owners: (r, first, end) of each distinct id or position, where rows[first..end] are its rows in the batch. Every table row
// is written by one group, so that no atomics are needed and the sum has a fixed order.
// Grid: one group per owner, folded into y; the lanes step over packs of 8 columns.
#import pack
struct Params { owners: u32, packs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 dx
@group(0) @binding(2) var<storage, read> owners: array<u32>;
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> gradient: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let owner = group.y * GRID_WIDTH + group.x;
    if owner >= p.owners { return; }
    let table_row = owners[owner * 3u];
    let first = owners[owner * 3u + 1u];
    let end = owners[owner * 3u + 2u];
    for (var i = lane; i < p.packs; i += GROUP) {
        var sum = unpack8(gradient[table_row * p.packs + i]);
        for (var j = first; j < end; j++) {
            let d = load_dx(rows[j], i, p.packs);
            sum = Floats8(sum.a + d.a, sum.b + d.b);
        }
        gradient[table_row * p.packs + i] = pack8(sum);
    }
}
