// The loss of each row of logits and its gradient, in place of the logits, for GPUs:
//   loss = log Σ exp(logits) - logits[target];  dlogits = (softmax(logits) - onehot(target))·scale
// with scale = 1 / (number of targets that are not ignored). A row with target 0xffffffff is ignored: loss and gradient are 0.
//
// logits [R, V], a chunk of the rows of a batch; targets and losses [R]. Grid: one group for ROWS rows, folded into y. The lanes
// step over vectors of four columns. With HELD, a lane holds its HELD vectors in registers. Without, they are read twice: for
// the maximum and the sum of exponentials, which is scaled when the maximum grows (Milakov & Gimelshein 2018), then for the
// gradient.
#import reduce_rows
struct Params { rows: u32, quads: u32, columns: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;

// Below every logit, in place of padding and of columns that a lane does not have.
const LOW = -1.0e30;
const COLUMN = vec4<u32>(0u, 1u, 2u, 3u);

fn logits_at(row: u32, i: u32) -> vec4<f32> {
    return select(vec4<f32>(LOW), logits[row * p.quads + i], 4u * i + COLUMN < vec4<u32>(p.columns));
}

fn store_gradient(row: u32, i: u32, probability: vec4<f32>, wanted: u32, scale: f32) {
    let onehot = select(vec4<f32>(), vec4<f32>(1.0), 4u * i + COLUMN == vec4<u32>(wanted));
    logits[row * p.quads + i] = (probability - onehot) * scale;
}

@compute @workgroup_size(${ROWS*GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = index % GROUP;
    let part = index / GROUP;
    let row = (group.y * GRID_WIDTH + group.x) * ROWS + part;
    // Lanes past the last row take part in the sums.
    let end = select(0u, p.quads, row < p.rows);
    var wanted = 0xffffffffu;
    if row < p.rows { wanted = targets[row]; }
    let real = wanted != 0xffffffffu;
    var logit = 0.0;
    if lane == 0u && real { logit = logits[row * p.quads + wanted / 4u][wanted % 4u]; }
    let scale = select(0.0, p.scale, real);
    #if HELD
    #for j in 0..HELD
    let i${j} = lane + ${j}u * GROUP;
    var v${j} = vec4<f32>(LOW);
    if i${j} < end { v${j} = logits_at(row, i${j}); }
    #end
    var top = v0;
    #for j in 1..HELD
    top = max(top, v${j});
    #end
    let maximum = row_max(max(max(top.x, top.y), max(top.z, top.w)), part, lane);
    var total = vec4<f32>();
    #for j in 0..HELD
    v${j} = exp(v${j} - maximum);
    total += v${j};
    #end
    let sum = row_sum(vec2<f32>(total.x + total.y + total.z + total.w, 0.0), part, lane).x;
    #for j in 0..HELD
    if i${j} < end { store_gradient(row, i${j}, v${j} / sum, wanted, scale); }
    #end
    #else
    var top = LOW;
    var total = vec4<f32>();
    for (var i = lane; i < end; i += 4u * GROUP) {
        #for k in 0..4
        var v${k} = vec4<f32>(LOW);
        if i + ${k}u * GROUP < end { v${k} = logits_at(row, i + ${k}u * GROUP); }
        #end
        let most = max(max(v0, v1), max(v2, v3));
        let now = max(top, max(max(most.x, most.y), max(most.z, most.w)));
        total = total * exp(top - now) + ((exp(v0 - now) + exp(v1 - now)) + (exp(v2 - now) + exp(v3 - now)));
        top = now;
    }
    let maximum = row_max(top, part, lane);
    let mine = (total.x + total.y + total.z + total.w) * exp(top - maximum);
    let sum = row_sum(vec2<f32>(mine, 0.0), part, lane).x;
    for (var i = lane; i < end; i += 4u * GROUP) {
        #for k in 0..4
        var v${k} = vec4<f32>();
        if i + ${k}u * GROUP < end { v${k} = logits_at(row, i + ${k}u * GROUP); }
        #end
        #for k in 0..4
        if i + ${k}u * GROUP < end {
            store_gradient(row, i + ${k}u * GROUP, exp(v${k} - maximum) / sum, wanted, scale);
        }
        #end
    }
    #end
    if lane == 0u && row < p.rows { losses[row] = select(0.0, maximum - logit + log(sum), real); }
}
