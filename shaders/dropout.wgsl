// Dropout of x [N, C] in place: kept values are multiplied by 1/(1-rate), the others become 0.
//
// The mask is Philox of (column/4, position, sequence, place) under the key of the step (docs/spec.md section 5), so it does not
// depend on how sequences are packed. The backward pass is the same kernel over dx.
// Grid: one group per row, folded into y; the lanes step over packs of 8 columns.
#import pack
#import philox
struct Params { rows: u32, packs: u32, threshold: u32, place: u32, key: vec2<u32>, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
#update 1 x 9
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> sequences: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let position = positions[row];
    let sequence = sequences[row];
    for (var i = lane; i < p.packs; i += GROUP) {
        let w0 = philox(vec4<u32>(2u * i, position, sequence, p.place), p.key);
        let w1 = philox(vec4<u32>(2u * i + 1u, position, sequence, p.place), p.key);
        let none = vec4<f32>();
        let keep = texels8(
            select(none, vec4<f32>(p.scale), w0 >= vec4<u32>(p.threshold)),
            select(none, vec4<f32>(p.scale), w1 >= vec4<u32>(p.threshold)),
        );
        let v = load_x(row, i, p.packs);
        x[row * p.packs + i] = pack8(Floats8(v.a * keep.a, v.b * keep.b));
    }
}
