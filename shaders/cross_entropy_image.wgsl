// As cross_entropy.wgsl, for CPU adapters.
//
// Grid: one group per row, folded into y. The lanes step over packs of 8 columns three times: maximum, sum of exponentials,
// gradient.
#import pack
#import reduce
struct Params { rows: u32, quads: u32, columns: u32, scale: f32 }
@group(0) @binding(0) var<uniform> p: Params;
#update 1 logits 9
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * GRID_WIDTH + group.x;
    if row >= p.rows { return; }
    let packs = p.quads / 2u;
    let wanted = targets[row];
    let low = vec4<f32>(-3.0e38);
    // Padding is 0, which may be far above every logit. Its difference is limited to 0, since infinities may not occur.
    let none = vec4<f32>();
    var top = low;
    for (var i = lane; i < packs; i += GROUP) {
        let v = load_logits(row, i, packs);
        top = max(top, select(low, v.a, i * 8u + PACK_A < vec4<u32>(p.columns)));
        top = max(top, select(low, v.b, i * 8u + PACK_B < vec4<u32>(p.columns)));
    }
    let maximum = group_max(max(max(top.x, top.y), max(top.z, top.w)), lane);
    var total = vec4<f32>();
    var chosen = vec4<f32>();
    for (var i = lane; i < packs; i += GROUP) {
        let v = load_logits(row, i, packs);
        let a = i * 8u + PACK_A;
        let b = i * 8u + PACK_B;
        total += select(vec4<f32>(), exp(min(v.a - maximum, none)), a < vec4<u32>(p.columns));
        total += select(vec4<f32>(), exp(min(v.b - maximum, none)), b < vec4<u32>(p.columns));
        chosen += select(vec4<f32>(), v.a, a == vec4<u32>(wanted)) + select(vec4<f32>(), v.b, b == vec4<u32>(wanted));
    }
    let sum = group_sum(total.x + total.y + total.z + total.w, lane);
    let logit = group_sum(chosen.x + chosen.y + chosen.z + chosen.w, lane);
    let real = wanted != 0xffffffffu;
    let scale = select(0.0, p.scale, real);
    for (var i = lane; i < packs; i += GROUP) {
        let v = load_logits(row, i, packs);
        let a = i * 8u + PACK_A;
        let b = i * 8u + PACK_B;
        let da = exp(min(v.a - maximum, none)) / sum - select(vec4<f32>(), vec4<f32>(1.0), a == vec4<u32>(wanted));
        let db = exp(min(v.b - maximum, none)) / sum - select(vec4<f32>(), vec4<f32>(1.0), b == vec4<u32>(wanted));
        logits[row * packs + i] = pack8(Floats8(
            select(vec4<f32>(), da * scale, a < vec4<u32>(p.columns)),
            select(vec4<f32>(), db * scale, b < vec4<u32>(p.columns)),
        ));
    }
    if lane == 0u { losses[row] = select(0.0, maximum - logit + log(sum), real); }
}
