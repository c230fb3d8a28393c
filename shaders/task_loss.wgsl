// The loss of a task's examples and its gradient, from the scores of their sequences.
//
// scores [B, L]: one row per sequence of the batch, `pitch` floats apart. examples: (first sequence, end, answer). The answer
// 0xffffffff is unknown: loss and gradient are 0. ANSWERS selects the logits z of an example and its loss:
//   0  L classes: z[j] = Σ scores[s, j] + bias[j] over the example's sequences s; cross-entropy
//   1  a number: z = Σ scores[s, 0] + bias[0]; (z - answer)², where the answer holds the bits of an f32
//   2  one candidate per sequence: z[s] = scores[s, 0] + bias[0]; cross-entropy over the example's sequences
// logits [B, L] and dlogits [B, L] get z and its gradient in the row of the first sequence (0 and 1) or of every sequence (2),
// and 0 elsewhere. scores get their own gradient. `scale` is 1/examples of the whole step.
//
// Grid: one group per example, folded into y.
#import reduce
struct Params { examples: u32, outputs: u32, pitch: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> examples: array<u32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(6) var<storage, read_write> losses: array<f32>;

fn logit(i: u32, first: u32, end: u32) -> f32 {
    if ANSWERS == 2u { return scores[(first + i) * p.pitch] + bias[0]; }
    var z = bias[i];
    for (var s = first; s < end; s++) { z += scores[s * p.pitch + i]; }
    return z;
}

fn put(at: u32, z: f32, dz: f32, dscore: f32) {
    logits[at] = z;
    dlogits[at] = dz;
    scores[at] = dscore;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let e = group.y * GRID_WIDTH + group.x;
    if e >= p.examples { return; }
    let first = examples[3u * e];
    let end = examples[3u * e + 1u];
    let answer = examples[3u * e + 2u];
    let known = answer != 0xffffffffu;
    let scale = select(0.0, p.scale, known);
    let count = select(p.outputs, end - first, ANSWERS == 2u);
    var top = -3.0e38;
    for (var i = lane; i < count; i += GROUP) { top = max(top, logit(i, first, end)); }
    let maximum = group_max(top, lane);
    var total = 0.0;
    var chosen = 0.0;
    for (var i = lane; i < count; i += GROUP) {
        let z = logit(i, first, end);
        total += exp(z - maximum);
        chosen += select(0.0, z, i == answer);
    }
    let sum = group_sum(total, lane);
    let right = group_sum(chosen, lane);
    // Each invocation writes only what no other reads: its own columns (classes) or its own rows (candidates).
    let columns = select(p.pitch, count, ANSWERS == 2u);
    for (var i = lane; i < columns; i += GROUP) {
        var z = 0.0;
        var dz = 0.0;
        if i < count {
            z = logit(i, first, end);
            if ANSWERS == 1u {
                dz = 2.0 * (z - bitcast<f32>(select(0u, answer, known))) * scale;
            } else {
                dz = (exp(z - maximum) / sum - select(0.0, 1.0, i == answer)) * scale;
            }
        }
        if ANSWERS == 2u {
            let row = (first + i) * p.pitch;
            put(row, z, dz, dz);
            for (var c = 1u; c < p.pitch; c++) { put(row + c, 0.0, 0.0, 0.0); }
        } else {
            put(first * p.pitch + i, z, dz, dz);
            for (var s = first + 1u; s < end; s++) { put(s * p.pitch + i, 0.0, 0.0, dz); }
        }
    }
    if lane == 0u {
        var loss = maximum - right + log(sum);
        if ANSWERS == 1u {
            let difference = maximum - bitcast<f32>(select(0u, answer, known));
            loss = difference * difference;
        }
        losses[e] = select(0.0, loss, known);
    }
}
