// Ends the sums of an optimizer step:
//   norm = √Σ partial;  scale = min(1, clip/(norm + 1e-6)), or 1 if clip is 0;  loss = loss_sum;  task_loss = task_sum
// and sets loss_sum and task_sum to 0. A norm or a loss that is not finite halts: adamw writes no weight from then on.
//
// Grid: one group. Each lane sums every GROUP-th partial sum, AT_ONCE at a time, then the lanes are added in a
// fixed tree.
#import reduce
#import finite
#import state
struct Params { partials: u32, step: u32, clip: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: State;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.partials; i += AT_ONCE * GROUP) {
        #for k in 0..AT_ONCE
        var x${k} = 0.0;
        if i + ${k}u * GROUP < p.partials { x${k} = partial[i + ${k}u * GROUP]; }
        #end
        #for k in 0..AT_ONCE
        sum += x${k};
        #end
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
