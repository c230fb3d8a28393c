// state[word] += Σ losses[0..count]. The word is that of loss_sum or task_sum in lib/state.wgsl.
//
// Grid: one group. Each lane sums every GROUP-th loss, AT_ONCE at a time, then the lanes are added in a fixed tree.
#import reduce
struct Params { count: u32, word: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.count; i += AT_ONCE * GROUP) {
        #for k in 0..AT_ONCE
        var x${k} = 0.0;
        if i + ${k}u * GROUP < p.count { x${k} = losses[i + ${k}u * GROUP]; }
        #end
        #for k in 0..AT_ONCE
        sum += x${k};
        #end
    }
    let total = group_sum(sum, lane);
    if lane == 0u { state[p.word] += total; }
}
