// Causal attention, forward (FlashAttention, Dao et al. 2022): y = softmax(q·kᵀ·scale)·v over the keys that a query attends to,
// and the log-sum-exp ℓ [N, H] of its scores.
//
// queries [N, ≥ C], kv, y [N, C], each with its own pitch. The table holds tiles of queries, those with the most keys first.
// Grid (tiles, H, parts). 64 invocations, one per query, hold its q and its sum in registers; KEYS keys and values at a time are
// stored in workgroup memory, zero past D. Each query keeps a running maximum and a running sum; its output is rescaled once
// per four keys. Variant: D, DQ = ⌈D/4⌉, KEYS, DROPOUT; vec4 loads if 4 divides D.
#import dropout_words
#import attention_params
#head_read 1 queries
#head_read 2 kv
@group(0) @binding(3) var<storage, read> table: array<u32>;
#head_write 4 y
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

var<workgroup> keys: array<vec4<f32>, ${KEYS*DQ}>;
var<workgroup> values: array<vec4<f32>, ${KEYS*DQ}>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = part_of_queries(query_tile(group.x), group.z * 64u);
    if tile.first >= tile.end { return; }
    let base = group.y * D;
    let k_at = p.k.x * p.kv_pitch + p.k.y + base;
    let v_at = p.v.x * p.kv_pitch + p.v.y + base;
    let row = tile.first + lane;
    let query = min(row, tile.end - 1u);
    let t = tile.t + query - tile.first;
    let seen = visible(t);
    #for q in 0..DQ
    let a${q} = load_queries(query * p.q_pitch + base, ${4*q}u) * p.scale;
    var o${q} = vec4<f32>();
    #end
    var top = -1.0e30;
    var total = 0.0;
    for (var block = 0u; block < tile.keys; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let key = key_row(min(block + i / DQ, tile.keys - 1u), tile.keys_at, tile.null_row) * p.kv_pitch;
            keys[i] = load_kv(k_at + key, i % DQ * 4u);
            values[i] = load_kv(v_at + key, i % DQ * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < KEYS; i += 4u) {
            var best = top;
            #for k in 0..4
            var s${k} = 0.0;
            #for q in 0..DQ
            s${k} += dot(a${q}, keys[(i + ${k}u) * DQ + ${q}u]);
            #end
            s${k} = select(-1.0e30, s${k}, block + i + ${k}u < seen);
            best = max(best, s${k});
            #end
            let shrink = exp(top - best);
            total *= shrink;
            #for q in 0..DQ
            o${q} *= shrink;
            #end
            #for k in 0..4
            var e${k} = select(0.0, exp(s${k} - best), block + i + ${k}u < seen);
            total += e${k};
            #if DROPOUT
            e${k} *= keep_one(tile.origin + block + i + ${k}u, tile.origin + t, tile.sequence,
                              p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            #end
            #for q in 0..DQ
            o${q} += e${k} * values[(i + ${k}u) * DQ + ${q}u];
            #end
            #end
            top = best;
        }
    }
    if row < tile.end {
        #for q in 0..DQ
        store_y(row * p.y_pitch + base, ${4*q}u, o${q} / total);
        #end
        log_sum_exp[row * p.heads + group.y] = top + log(total);
    }
}
