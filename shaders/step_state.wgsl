// Ends a step's sums: norm = √Σ partial, scale = min(1, clip/(norm + 1e-6)) (no clipping for clip = 0), loss = loss_sum
// and task_loss = task_sum, which start again at 0. A norm or loss that is not finite halts: scale stays unused, adamw writes no weight from here on.
#import reduce
#import finite
struct Params { partials: u32, step: u32, clip: f32 }
struct State {
    loss_sum: f32, loss: f32, norm: f32, scale: f32, halted: u32, halted_step: u32, task_sum: f32, task_loss: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: State;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.partials; i += GROUP) {
        sum += partial[i];
    }
    let total = group_sum(sum, lane);
    if lane == 0u {
        let norm = sqrt(total);
        state.norm = norm;
        state.scale = select(1.0, min(1.0, p.clip / (norm + 1e-6)), p.clip > 0.0);
        state.loss = state.loss_sum;
        state.loss_sum = 0.0;
        state.task_loss = state.task_sum;
        state.task_sum = 0.0;
        if state.halted == 0u && !(is_finite(total) && is_finite(state.loss) && is_finite(state.task_loss)) {
            state.halted = 1u;
            state.halted_step = p.step;
        }
    }
}
