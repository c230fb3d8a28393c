// out[index[i]] += x[i], rows of C columns. No row of out occurs twice in index.
//
// Grid: one group per row of x, folded into y; the lanes step over packs of 8 columns.
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
    let to_row = index[row];
    for (var i = lane; i < p.packs; i += GROUP) {
        let before = unpack8(out[to_row * p.packs + i]);
        let add = load_x(row, i, p.packs);
        out[to_row * p.packs + i] = pack8(Floats8(before.a + add.a, before.b + add.b));
    }
}
