// AdamW (Loshchilov & Hutter 2019) in the order of torch.optim.AdamW, over the packs p.first to p.end of flat tensors:
//   g ← scale·g;  w ← w - lr·decay·w;  m ← m + (1-β1)(g - m);  v ← β2·v + (1-β2)·g²;  w ← w - rate·m / (√v·root + ε)
// with rate = lr/(1-β1ᵗ) and root = 1/√(1-β2ᵗ).
//
// The host computes rate, root, rest1 = 1-β1 and rest2 = 1-β2 in f64, because 1 - 0.999 in f32 has a relative error of 1e-5;
// p.decay is lr·decay. Gradients are set to zero. When the state is halted, nothing else is written.
//
// The tensors are matrices of FLAT_PACKS packs a row. Grid: one group per GROUP · PER_LANE packs, folded into y.
// Variant: LATE_DECAY decays after the update, as Hugging Face's 2018 port of OpenAI's Adam.
#import pack
#import state
struct Params {
    first: u32, end: u32, rate: f32, root: f32,
    rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
#update 1 parameter 9
#update 2 gradient 10
#update 3 first_moment 11
#update 4 second_moment 12
@group(0) @binding(5) var<storage, read> state: State;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = p.first + (group.y * GRID_WIDTH + group.x) * GROUP * PER_LANE;
    let end = min(first + GROUP * PER_LANE, p.end);
    let scale = state.scale;
    let halted = state.halted != 0u;
    for (var i = first + lane; i < end; i += GROUP) {
        let row = i / FLAT_PACKS;
        let at = i % FLAT_PACKS;
        let g = load_gradient(row, at, FLAT_PACKS);
        gradient[i] = pack8(Floats8());
        if !halted {
            let m0 = load_first_moment(row, at, FLAT_PACKS);
            let v0 = load_second_moment(row, at, FLAT_PACKS);
            let w0 = load_parameter(row, at, FLAT_PACKS);
            let ga = g.a * scale;
            let gb = g.b * scale;
            let m = Floats8(m0.a + p.rest1 * (ga - m0.a), m0.b + p.rest1 * (gb - m0.b));
            let v = Floats8(p.beta2 * v0.a + p.rest2 * ga * ga, p.beta2 * v0.b + p.rest2 * gb * gb);
            var w = w0;
            #if !LATE_DECAY
            w = Floats8(w.a - p.decay * w.a, w.b - p.decay * w.b);
            #end
            w = Floats8(w.a - p.rate * m.a / (sqrt(v.a) * p.root + p.eps), w.b - p.rate * m.b / (sqrt(v.b) * p.root + p.eps));
            #if LATE_DECAY
            w = Floats8(w.a - p.decay * w.a, w.b - p.decay * w.b);
            #end
            first_moment[i] = pack8(m);
            second_moment[i] = pack8(v);
            parameter[i] = pack8(w);
        }
    }
}
