// AdamW (Loshchilov & Hutter 2019) with PyTorch's arithmetic over packs p.first to p.end of flat tensors, read as
// [rows, 512 packs]: g ← scale·g; p ← p - lr·decay·p; m ← m + (1-β1)(g-m); v ← β2·v + (1-β2)g²;
// p ← p - rate·m/(√v·root + ε), rate = lr/(1-β1ᵗ), root = 1/√(1-β2ᵗ), by the host in f64,
// as are rest1 = 1-β1 and rest2 = 1-β2: f32's 1 - 0.999 is off by 1e-5 of itself. Gradients become zero, also when
// the state is halted and nothing else is written. LATE_DECAY: the port of 2018, decay after the update.
#import pack
struct Params {
    first: u32, end: u32, rate: f32, root: f32,
    rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32,
}
struct State { loss_sum: f32, loss: f32, norm: f32, scale: f32, halted: u32, halted_step: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#update 1 parameter 9
#update 2 gradient 10
#update 3 first_moment 11
#update 4 second_moment 12
@group(0) @binding(5) var<storage, read> state: State;

const PER_LANE = 4u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = p.first + (group.y * 32768u + group.x) * GROUP * PER_LANE;
    let end = min(first + GROUP * PER_LANE, p.end);
    let scale = state.scale;
    let halted = state.halted != 0u;
    for (var i = first + lane; i < end; i += GROUP) {
        let row = i / 512u;
        let at = i % 512u;
        let g = load_gradient(row, at, 512u);
        gradient[i] = pack8(Floats8());
        if !halted {
            let m0 = load_first_moment(row, at, 512u);
            let v0 = load_second_moment(row, at, 512u);
            let w0 = load_parameter(row, at, 512u);
            let ga = g.a * scale;
            let gb = g.b * scale;
            let m = Floats8(m0.a + p.rest1 * (ga - m0.a), m0.b + p.rest1 * (gb - m0.b));
            let v = Floats8(p.beta2 * v0.a + p.rest2 * ga * ga, p.beta2 * v0.b + p.rest2 * gb * gb);
            var w = w0;
            #if 1-LATE_DECAY
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
