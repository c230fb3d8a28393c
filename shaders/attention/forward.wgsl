// Causal attention, forward, in flash form: y = softmax(q·kᵀ·scale)·v within a run, and its log-sum-exp ℓ [N, H].
//
// qkv [N, 3C], y [N, C] floats with pitches; tiles of the table: (first row, end, run's first, run's end) of at most 64
// queries, longest first. Grid (tiles, H); 64 invocations, one a query: its q and its sum are registers, KEYS keys and values
// at a time lie in workgroup memory, zero past D. Running maximum and sum a query; the output is scaled once every four keys.
// Spec: D, DQ = ⌈D/4⌉, KEYS, DROPOUT.
#import dropout_words
#import attention_params
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> log_sum_exp: array<f32>;

var<workgroup> keys: array<vec4<f32>, ${KEYS*DQ}>;
var<workgroup> values: array<vec4<f32>, ${KEYS*DQ}>;

fn load4(at: u32, d: u32) -> vec4<f32> {
    var v = vec4<f32>();
    #for i in 0..4
    if d + ${i}u < D { v[${i}] = qkv[at + d + ${i}u]; }
    #end
    return v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x);
    let base = group.y * D;
    let row = tile.x + lane;
    let query = min(row, tile.y - 1u);
    #if DROPOUT
    let position = position_of(query);
    let sequence = sequence_of(query);
    #end
    #for q in 0..DQ
    let a${q} = load4(query * p.pitch + base, ${4*q}u) * p.scale;
    var o${q} = vec4<f32>();
    #end
    var top = -1.0e30;
    var total = 0.0;
    for (var block = tile.z; block < tile.y; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let key = min(block + i / DQ, tile.y - 1u);
            keys[i] = load4(key * p.pitch + p.columns + base, i % DQ * 4u);
            values[i] = load4(key * p.pitch + 2u * p.columns + base, i % DQ * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < KEYS; i += 4u) {
            var best = top;
            #for k in 0..4
            var s${k} = 0.0;
            #for q in 0..DQ
            s${k} += dot(a${q}, keys[(i + ${k}u) * DQ + ${q}u]);
            #end
            s${k} = select(-1.0e30, s${k}, block + i + ${k}u <= query);
            best = max(best, s${k});
            #end
            let shrink = exp(top - best);
            total *= shrink;
            #for q in 0..DQ
            o${q} *= shrink;
            #end
            #for k in 0..4
            var e${k} = select(0.0, exp(s${k} - best), block + i + ${k}u <= query);
            total += e${k};
            #if DROPOUT
            e${k} *= keep_one(position_of(min(block + i + ${k}u, query)), position, sequence,
                              p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            #end
            #for q in 0..DQ
            o${q} += e${k} * values[(i + ${k}u) * DQ + ${q}u];
            #end
            #end
            top = best;
        }
    }
    if row < tile.y {
        #for q in 0..DQ
        #for i in 0..4
        if ${4*q+i}u < D { y[row * p.y_pitch + base + ${4*q+i}u] = o${q}[${i}] / total; }
        #end
        #end
        log_sum_exp[row * p.heads + group.y] = top + log(total);
    }
}
