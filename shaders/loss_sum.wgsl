// state.loss_sum += Σ losses [N], by one group in a fixed order: each lane every GROUP-th loss, then a tree.
#import reduce
struct Params { rows: u32 }
struct State { loss_sum: f32, loss: f32, norm: f32, scale: f32, halted: u32, halted_step: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: State;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.rows; i += GROUP) {
        sum += losses[i];
    }
    let total = group_sum(sum, lane);
    if lane == 0u { state.loss_sum += total; }
}
