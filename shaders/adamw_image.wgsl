// As adamw.wgsl, for CPU adapters; p.first and p.end count vectors of four floats, and are even.
//
// The tensors are matrices of FLAT_PACKS packs a row. Grid: one group per GROUP · PER_LANE packs, folded into y.
#import pack
#import adamw
#update 1 parameter 9
#update 2 gradient 10
#update 3 first_moment 11
#update 4 second_moment 12

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = p.first / 2u + (group.y * GRID_WIDTH + group.x) * GROUP * PER_LANE;
    let end = min(first + GROUP * PER_LANE, p.end / 2u);
    let scale = state.scale;
    let halted = state.halted != 0u;
    for (var i = first + lane; i < end; i += GROUP) {
        let row = i / FLAT_PACKS;
        let at = i % FLAT_PACKS;
        let g = load_gradient(row, at, FLAT_PACKS);
        gradient[i] = pack8(Floats8());
        if !halted {
            let m = load_first_moment(row, at, FLAT_PACKS);
            let v = load_second_moment(row, at, FLAT_PACKS);
            let w = load_parameter(row, at, FLAT_PACKS);
            let a = adamw4(w.a, g.a * scale, m.a, v.a);
            let b = adamw4(w.b, g.b * scale, m.b, v.b);
            first_moment[i] = pack8(Floats8(a.m, b.m));
            second_moment[i] = pack8(Floats8(a.v, b.v));
            parameter[i] = pack8(Floats8(a.w, b.w));
        }
    }
}
