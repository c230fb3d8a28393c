// Gradients of layer_norm. With x̂ = (sum - mean)·rstd and g = gain∘dy:
//   dsum = rstd·(g - mean(g) - x̂·mean(g∘x̂)), the gradient of both addends;  dgain = Σ dy∘x̂;  dbias = Σ dy
//
// dy, sum and dsum are [N, C]. dgain and dbias [blocks, C] are partial sums over blocks of p.block rows, which column_sum adds.
// Grid (blocks). Lane l holds the packs l, l + GROUP, …, PACKS of them, of 8 columns each.
#import pack
#import reduce
struct Params { rows: u32, packs: u32, columns: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
#input 1 dy
#input 2 sum
#input 3 gain
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> dsum: array<Pack>;
@group(0) @binding(6) var<storage, read_write> dgain: array<Pack>;
@group(0) @binding(7) var<storage, read_write> dbias: array<Pack>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * p.block;
    let end = min(first + p.block, p.rows);
    #for j in 0..PACKS
    var g${j} = Floats8();
    if lane + ${j}u * GROUP < p.packs { g${j} = load_gain(0u, lane + ${j}u * GROUP, p.packs); }
    let k${j} = Floats8(
        select(vec4<f32>(), vec4<f32>(1.0), (lane + ${j}u * GROUP) * 8u + PACK_A < vec4<u32>(p.columns)),
        select(vec4<f32>(), vec4<f32>(1.0), (lane + ${j}u * GROUP) * 8u + PACK_B < vec4<u32>(p.columns)),
    );
    var dg${j} = Floats8();
    var db${j} = Floats8();
    #end
    for (var row = first; row < end; row++) {
        let stat = stats[row];
        var total = vec4<f32>();
        var total_x = vec4<f32>();
        #for j in 0..PACKS
        var d${j} = Floats8();
        var s${j} = Floats8();
        if lane + ${j}u * GROUP < p.packs {
            d${j} = load_dy(row, lane + ${j}u * GROUP, p.packs);
            s${j} = load_sum(row, lane + ${j}u * GROUP, p.packs);
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
        if lane + ${j}u * GROUP < p.packs {
            // Padding must be +0; a product with 0 may be -0.
            dsum[row * p.packs + lane + ${j}u * GROUP] = pack8(Floats8(
                select(vec4<f32>(), stat.y * (d${j}.a * g${j}.a - mean - x${j}.a * mean_x), k${j}.a > vec4<f32>()),
                select(vec4<f32>(), stat.y * (d${j}.b * g${j}.b - mean - x${j}.b * mean_x), k${j}.b > vec4<f32>()),
            ));
        }
        #end
    }
    #for j in 0..PACKS
    if lane + ${j}u * GROUP < p.packs {
        dgain[group.x * p.packs + lane + ${j}u * GROUP] = pack8(dg${j});
        dbias[group.x * p.packs + lane + ${j}u * GROUP] = pack8(db${j});
    }
    #end
}
