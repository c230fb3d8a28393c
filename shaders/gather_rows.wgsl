// out[i] = x[index[i]], rows of C columns.
//
// Grid: one group per row of out, folded into y; the lanes step over packs of 8 columns.
#import pack
struct Params { rows: u32, packs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 x
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let from_row = index[row];
    for (var i = lane; i < p.packs; i += GROUP) {
        out[row * p.packs + i] = pack8(load_x(from_row, i, p.packs));
    }
}
