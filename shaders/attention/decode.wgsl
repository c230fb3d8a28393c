// Attention of one query per sequence over the keys and values in its cache: y = softmax(q·kᵀ·scale)·v.
//
// qkv [B, 3C]: q, k and v of this token. cache: rows of k | v, 2C floats and a pitch. spans: (first row, rows, own row, unused)
// per sequence. The keys are `rows` rows of the cache from `first row` on and, with OWN, the token's own key, which is also
// written to `own row` of the cache. y [B, C] is 0 for a sequence without keys.
// Grid (B, H). GROUP keys at a time, one per invocation, with a running maximum and sum; then each invocation sums four channels
// over its part of the keys, and the parts are added in order.
// Variant: GROUP, D, DQ = ⌈D/4⌉, WHOLE (4 divides D), OWN.
#import reduce
struct Params { columns: u32, pitch: u32, cache_pitch: u32, y_pitch: u32, scale: f32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;
#if WHOLE
@group(0) @binding(3) var<storage, read_write> cache: array<vec4<f32>>;
#else
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;
#end
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const SHARES = GROUP / DQ;
var<workgroup> query: array<vec4<f32>, DQ>;
var<workgroup> weights: array<f32, GROUP>;
var<workgroup> shares: array<vec4<f32>, GROUP>;

// Four floats of the token's own row, zero past the head.
fn own4(at: u32, quad: u32) -> vec4<f32> {
    var v = vec4<f32>();
    #for i in 0..4
    if quad * 4u + ${i}u < D { v[${i}] = qkv[at + quad * 4u + ${i}u]; }
    #end
    return v;
}

fn cached4(at: u32, quad: u32) -> vec4<f32> {
    #if WHOLE
    return cache[at / 4u + quad];
    #else
    var v = vec4<f32>();
    #for i in 0..4
    if quad * 4u + ${i}u < D { v[${i}] = cache[at + quad * 4u + ${i}u]; }
    #end
    return v;
    #end
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let span = spans[group.x];
    let base = group.y * D;
    let own = group.x * p.pitch + base;
    let keys = span.y + OWN;
    if lane < DQ { query[lane] = own4(own, lane) * p.scale; }
    #if OWN
    let into = span.z * p.cache_pitch + base;
    #if WHOLE
    if lane < DQ {
        cache[into / 4u + lane] = own4(own + p.columns, lane);
        cache[(into + p.columns) / 4u + lane] = own4(own + 2u * p.columns, lane);
    }
    #else
    if lane < D {
        cache[into + lane] = qkv[own + p.columns + lane];
        cache[into + p.columns + lane] = qkv[own + 2u * p.columns + lane];
    }
    #end
    #end
    let quad = lane % DQ;
    let share = lane / DQ;
    var sum = vec4<f32>();
    var top = -1.0e30;
    var total = 0.0;
    for (var block = 0u; block < keys; block += GROUP) {
        workgroupBarrier();
        let key = block + lane;
        var score = -1.0e30;
        if key < span.y {
            score = 0.0;
            let at = (span.x + key) * p.cache_pitch + base;
            for (var q = 0u; q < DQ; q++) { score += dot(query[q], cached4(at, q)); }
        }
        #if OWN
        if key == span.y {
            score = 0.0;
            for (var q = 0u; q < DQ; q++) { score += dot(query[q], own4(own + p.columns, q)); }
        }
        #end
        let best = max(top, group_max(score, lane));
        let weight = select(0.0, exp(score - best), key < keys);
        let shrink = exp(top - best);
        total = total * shrink + group_sum(weight, lane);
        top = best;
        weights[lane] = weight;
        workgroupBarrier();
        sum *= shrink;
        let cached = min(GROUP, max(span.y, block) - block);
        if share < SHARES {
            for (var i = share; i < cached; i += SHARES) {
                sum += weights[i] * cached4((span.x + block + i) * p.cache_pitch + p.columns + base, quad);
            }
            #if OWN
            if share == 0u && span.y >= block && span.y < block + GROUP {
                sum += weights[span.y - block] * own4(own + 2u * p.columns, quad);
            }
            #end
        }
    }
    workgroupBarrier();
    shares[lane] = sum;
    workgroupBarrier();
    if lane < DQ {
        for (var i = 1u; i < SHARES; i++) { sum += shares[i * DQ + lane]; }
        #for i in 0..4
        if lane * 4u + ${i}u < D { y[group.x * p.y_pitch + base + lane * 4u + ${i}u] = sum[${i}] / max(total, 1.0e-30); }
        #end
    }
}
