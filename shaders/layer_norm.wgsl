// sum = x + dropout(branch);  y = (sum - mean)·rstd·gain + bias, with mean and rstd of each row (Ba et al. 2016), for GPUs.
// Without DROPOUT the branch is added as it is.
//
// All tensors are [N, C]; gain and bias [1, C]; stats holds (mean, rstd) of each row. The variance is divided by C. A row is
// held in registers and passed over twice, for the mean and for the variance.
// Grid: one group for ROWS rows, folded into y. Lane l of a row holds the vectors l, l + GROUP, …, QUADS of them, of four
// columns each.
#import norm_params
#import reduce_rows
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> branch: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sum: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>;

@compute @workgroup_size(${ROWS*GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = index % GROUP;
    let part = index / GROUP;
    let row = (group.y * GRID_WIDTH + group.x) * ROWS + part;
    // Lanes past the last row or vector take part in the sums with zeros.
    let end = select(0u, p.quads, row < p.rows);
    #if DROPOUT
    var position = 0u;
    var sequence = 0u;
    if row < p.rows {
        position = batch[p.positions + row];
        sequence = batch[p.sequences + row];
    }
    #end
    var total = vec4<f32>();
    #for j in 0..QUADS
    let i${j} = lane + ${j}u * GROUP;
    var v${j} = vec4<f32>();
    if i${j} < end {
        #if DROPOUT
        v${j} = x[row * p.quads + i${j}] + branch[row * p.quads + i${j}] * keep4(i${j}, position, sequence);
        #else
        v${j} = x[row * p.quads + i${j}] + branch[row * p.quads + i${j}];
        #end
        sum[row * p.quads + i${j}] = v${j};
    }
    total += v${j};
    #end
    let mean = row_sum(vec2<f32>(total.x + total.y + total.z + total.w, 0.0), part, lane).x / f32(p.columns);
    total = vec4<f32>();
    #for j in 0..QUADS
    v${j} = select(vec4<f32>(), v${j} - mean, i${j} * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns));
    total += v${j} * v${j};
    #end
    let variance = row_sum(vec2<f32>(total.x + total.y + total.z + total.w, 0.0), part, lane).x / f32(p.columns);
    let rstd = 1.0 / sqrt(variance + p.eps);
    #for j in 0..QUADS
    if i${j} < end { y[row * p.quads + i${j}] = v${j} * rstd * gain[i${j}] + bias[i${j}]; }
    #end
    if lane == 0u && row < p.rows { stats[row] = vec2<f32>(mean, rstd); }
}
