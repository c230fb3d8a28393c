// Gradients of layer_norm, for GPUs. With x̂ = (sum - mean)·rstd and g = gain∘dy:
//   dsum = rstd·(g - mean(g) - x̂·mean(g∘x̂)), the gradient of x;  dbranch = dropout(dsum), that of the branch
//   dgain = Σ dy∘x̂;  dbias = Σ dy;  Σ dbranch, the gradient of a bias that was added to the branch
// Without DROPOUT, dsum is also the branch's gradient, and no dbranch is written.
//
// dy, sum, dsum and dbranch are [N, C]. partial holds sums over blocks of p.block rows, [blocks, 3C]: of dbranch, dgain and
// dbias side by side, which column_sum adds.
// Grid (blocks). A group holds ROWS rows at a time. Lane l of a row holds the vectors l, l + GROUP, …, QUADS of them, of four
// columns each.
#import norm_params
#import reduce_rows
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sum: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> dsum: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;
#if DROPOUT
@group(0) @binding(7) var<storage, read_write> dbranch: array<vec4<f32>>;
#end
#if ROWS > 1
var<workgroup> of_rows: array<array<vec4<f32>, ${ROWS*GROUP}>, 3>;
#end

@compute @workgroup_size(${ROWS*GROUP})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = index % GROUP;
    let part = index / GROUP;
    let first = group.x * p.block;
    let end = min(first + p.block, p.rows);
    #for j in 0..QUADS
    let i${j} = lane + ${j}u * GROUP;
    var g${j} = vec4<f32>();
    if i${j} < p.quads { g${j} = gain[i${j}]; }
    var s0_${j} = vec4<f32>();
    var s1_${j} = vec4<f32>();
    var s2_${j} = vec4<f32>();
    #end
    for (var base = first; base < end; base += ROWS) {
        let row = base + part;
        // Lanes past the last row or vector take part in the sums with zeros.
        let quads = select(0u, p.quads, row < end);
        var stat = vec2<f32>();
        if row < end { stat = stats[row]; }
        var total = vec4<f32>();
        var total_x = vec4<f32>();
        #for j in 0..QUADS
        var d${j} = vec4<f32>();
        var x${j} = vec4<f32>();
        if i${j} < quads {
            d${j} = dy[row * p.quads + i${j}];
            x${j} = (sum[row * p.quads + i${j}] - stat.x) * stat.y;
        }
        s1_${j} += d${j} * x${j};
        s2_${j} += d${j};
        d${j} *= g${j};
        total += d${j};
        total_x += d${j} * x${j};
        #end
        let totals = vec2<f32>(total.x + total.y + total.z + total.w, total_x.x + total_x.y + total_x.z + total_x.w);
        let mean = row_sum(totals, part, lane) / f32(p.columns);
        #if DROPOUT
        var position = 0u;
        var sequence = 0u;
        if row < end {
            position = batch[p.positions + row];
            sequence = batch[p.sequences + row];
        }
        #end
        #for j in 0..QUADS
        if i${j} < quads {
            // Padding must be +0; a product with 0 may be -0.
            let inside = i${j} * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.columns);
            var v = select(vec4<f32>(), stat.y * (d${j} - mean.x - x${j} * mean.y), inside);
            dsum[row * p.quads + i${j}] = v;
            #if DROPOUT
            v *= keep4(i${j}, position, sequence);
            dbranch[row * p.quads + i${j}] = v;
            #end
            s0_${j} += v;
        }
        #end
    }
    #for j in 0..QUADS
    #if ROWS > 1
    #for s in 0..3
    of_rows[${s}][index] = s${s}_${j};
    #end
    workgroupBarrier();
    for (var s = part; s < 3u; s += ROWS) {
        var all = of_rows[s][lane];
        for (var other = 1u; other < ROWS; other++) { all += of_rows[s][other * GROUP + lane]; }
        if i${j} < p.quads { partial[(group.x * 3u + s) * p.quads + i${j}] = all; }
    }
    workgroupBarrier();
    #else
    if i${j} < p.quads {
        #for s in 0..3
        partial[(group.x * 3u + ${s}u) * p.quads + i${j}] = s${s}_${j};
        #end
    }
    #end
    #end
}
