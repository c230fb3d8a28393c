// x [N, C] = tokens [V, C] at ids[n] + positions_embed [P, C] at positions[n].
//
// Grid: one group per row, folded into y; the lanes step over packs of 8 columns.
#import pack
struct Params { rows: u32, packs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 tokens
#input 2 positions_embed
@group(0) @binding(3) var<storage, read> ids: array<u32>;
@group(0) @binding(4) var<storage, read> positions: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let id = ids[row];
    let position = positions[row];
    for (var i = lane; i < p.packs; i += GROUP) {
        let t = load_tokens(id, i, p.packs);
        let q = load_positions_embed(position, i, p.packs);
        x[row * p.packs + i] = pack8(Floats8(t.a + q.a, t.b + q.b));
    }
}
