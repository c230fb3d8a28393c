// As layer_norm.wgsl, for CPU adapters.
//
// Grid: one group per row, folded into y. Lane l holds the packs l, l + GROUP, …, PACKS of them, of 8 columns each.
#import pack
#import reduce
#import norm_params
#input 1 x
#input 2 branch
#input 3 gain
#input 4 bias
@group(0) @binding(5) var<storage, read_write> sum: array<Pack>;
@group(0) @binding(6) var<storage, read_write> y: array<Pack>;
@group(0) @binding(7) var<storage, read_write> stats: array<vec2<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let packs = p.quads / 2u;
    #if DROPOUT
    let position = batch[p.positions + row];
    let sequence = batch[p.sequences + row];
    #end
    var total = vec4<f32>();
    #for j in 0..PACKS
    var v${j} = Floats8();
    if lane + ${j}u * GROUP < packs {
        let i = lane + ${j}u * GROUP;
        let s = load_x(row, i, packs);
        let r = load_branch(row, i, packs);
        #if DROPOUT
        let keep = texels8(keep4(2u * i, position, sequence), keep4(2u * i + 1u, position, sequence));
        v${j} = Floats8(s.a + r.a * keep.a, s.b + r.b * keep.b);
        #else
        v${j} = Floats8(s.a + r.a, s.b + r.b);
        #end
        sum[row * packs + i] = pack8(v${j});
    }
    total += v${j}.a + v${j}.b;
    #end
    let mean = group_sum(total.x + total.y + total.z + total.w, lane) / f32(p.columns);
    total = vec4<f32>();
    #for j in 0..PACKS
    let c${j} = (lane + ${j}u * GROUP) * 8u;
    let d${j} = Floats8(
        select(vec4<f32>(), v${j}.a - mean, c${j} + PACK_A < vec4<u32>(p.columns)),
        select(vec4<f32>(), v${j}.b - mean, c${j} + PACK_B < vec4<u32>(p.columns)),
    );
    total += d${j}.a * d${j}.a + d${j}.b * d${j}.b;
    #end
    let variance = group_sum(total.x + total.y + total.z + total.w, lane) / f32(p.columns);
    let rstd = 1.0 / sqrt(variance + p.eps);
    #for j in 0..PACKS
    if lane + ${j}u * GROUP < packs {
        let g = load_gain(0u, lane + ${j}u * GROUP, packs);
        let b = load_bias(0u, lane + ${j}u * GROUP, packs);
        y[row * packs + lane + ${j}u * GROUP] = pack8(Floats8(d${j}.a * rstd * g.a + b.a, d${j}.b * rstd * g.b + b.b));
    }
    #end
    if lane == 0u { stats[row] = vec2<f32>(mean, rstd); }
}
