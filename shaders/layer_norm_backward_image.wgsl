// As layer_norm_backward.wgsl, for CPU adapters.
//
// Grid (blocks). Lane l holds the packs l, l + GROUP, …, PACKS of them, of 8 columns each.
#import pack
#import reduce
#import norm_params
#input 1 dy
#input 2 sum
#input 3 gain
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> dsum: array<Pack>;
@group(0) @binding(6) var<storage, read_write> partial: array<Pack>;
#if DROPOUT
@group(0) @binding(7) var<storage, read_write> dbranch: array<Pack>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let packs = p.quads / 2u;
    let first = group.x * p.block;
    let end = min(first + p.block, p.rows);
    #for j in 0..PACKS
    var g${j} = Floats8();
    if lane + ${j}u * GROUP < packs { g${j} = load_gain(0u, lane + ${j}u * GROUP, packs); }
    let k${j} = Floats8(
        select(vec4<f32>(), vec4<f32>(1.0), (lane + ${j}u * GROUP) * 8u + PACK_A < vec4<u32>(p.columns)),
        select(vec4<f32>(), vec4<f32>(1.0), (lane + ${j}u * GROUP) * 8u + PACK_B < vec4<u32>(p.columns)),
    );
    var dh${j} = Floats8();
    var dg${j} = Floats8();
    var db${j} = Floats8();
    #end
    for (var row = first; row < end; row++) {
        let stat = stats[row];
        #if DROPOUT
        let position = batch[p.positions + row];
        let sequence = batch[p.sequences + row];
        #end
        var total = vec4<f32>();
        var total_x = vec4<f32>();
        #for j in 0..PACKS
        var d${j} = Floats8();
        var s${j} = Floats8();
        if lane + ${j}u * GROUP < packs {
            d${j} = load_dy(row, lane + ${j}u * GROUP, packs);
            s${j} = load_sum(row, lane + ${j}u * GROUP, packs);
        }
        let x${j} = Floats8((s${j}.a - stat.x) * stat.y * k${j}.a, (s${j}.b - stat.x) * stat.y * k${j}.b);
        total += d${j}.a * g${j}.a * k${j}.a + d${j}.b * g${j}.b * k${j}.b;
        total_x += d${j}.a * g${j}.a * x${j}.a + d${j}.b * g${j}.b * x${j}.b;
        dg${j} = Floats8(dg${j}.a + d${j}.a * x${j}.a, dg${j}.b + d${j}.b * x${j}.b);
        db${j} = Floats8(db${j}.a + d${j}.a, db${j}.b + d${j}.b);
        #end
        let mean = group_sum(total.x + total.y + total.z + total.w, lane) / f32(p.columns);
        let mean_x = group_sum(total_x.x + total_x.y + total_x.z + total_x.w, lane) / f32(p.columns);
        #for j in 0..PACKS
        if lane + ${j}u * GROUP < packs {
            let i = lane + ${j}u * GROUP;
            // Padding must be +0; a product with 0 may be -0.
            var v = Floats8(
                select(vec4<f32>(), stat.y * (d${j}.a * g${j}.a - mean - x${j}.a * mean_x), k${j}.a > vec4<f32>()),
                select(vec4<f32>(), stat.y * (d${j}.b * g${j}.b - mean - x${j}.b * mean_x), k${j}.b > vec4<f32>()),
            );
            dsum[row * packs + i] = pack8(v);
            #if DROPOUT
            let keep = texels8(keep4(2u * i, position, sequence), keep4(2u * i + 1u, position, sequence));
            v = Floats8(v.a * keep.a, v.b * keep.b);
            dbranch[row * packs + i] = pack8(v);
            #end
            dh${j} = Floats8(dh${j}.a + v.a, dh${j}.b + v.b);
        }
        #end
    }
    #for j in 0..PACKS
    if lane + ${j}u * GROUP < packs {
        let at = group.x * 3u * packs + lane + ${j}u * GROUP;
        partial[at] = pack8(dh${j});
        partial[at + packs] = pack8(dg${j});
        partial[at + 2u * packs] = pack8(db${j});
    }
    #end
}
