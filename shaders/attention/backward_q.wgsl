// Causal attention, gradient of q: dq = scale·Σ dS·k, with dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ), the dropout mask m,
// and δ [N, H] = Σ_d dy∘y, which backward_kv reads.
//
// dq has the pitch of the queries. Shapes, grid and variants as forward; an invocation holds q, dy and dq of one query.
#import dropout_words
#import attention_params
#head_read 1 queries
#head_read 2 kv
#head_read 3 dy
#head_read 4 y
@group(0) @binding(5) var<storage, read> table: array<u32>;
@group(0) @binding(6) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
#head_write 8 dq

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
    let lse = log_sum_exp[query * p.heads + group.y];
    var row_delta = 0.0;
    #for q in 0..DQ
    let a${q} = load_queries(query * p.q_pitch + base, ${4*q}u);
    let d${q} = load_dy(query * p.y_pitch + base, ${4*q}u);
    let y${q} = load_y(query * p.y_pitch + base, ${4*q}u);
    #for i in 0..4
    row_delta += d${q}[${i}] * y${q}[${i}];
    #end
    var o${q} = vec4<f32>();
    #end
    for (var block = 0u; block < tile.keys; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let key = key_row(min(block + i / DQ, tile.keys - 1u), tile.keys_at, tile.null_row) * p.kv_pitch;
            keys[i] = load_kv(k_at + key, i % DQ * 4u);
            values[i] = load_kv(v_at + key, i % DQ * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < KEYS; i += 2u) {
            #for k in 0..2
            var s${k} = 0.0;
            var g${k} = 0.0;
            #for q in 0..DQ
            s${k} += dot(a${q}, keys[(i + ${k}u) * DQ + ${q}u]);
            g${k} += dot(d${q}, values[(i + ${k}u) * DQ + ${q}u]);
            #end
            #if DROPOUT
            g${k} *= keep_one(tile.origin + block + i + ${k}u, tile.origin + t, tile.sequence,
                              p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            #end
            let e${k} = select(0.0, exp(min(s${k} * p.scale - lse, 80.0)) * (g${k} - row_delta) * p.scale,
                               block + i + ${k}u < seen);
            #for q in 0..DQ
            o${q} += e${k} * keys[(i + ${k}u) * DQ + ${q}u];
            #end
            #end
        }
    }
    if row < tile.end {
        #for q in 0..DQ
        store_dq(row * p.q_pitch + base, ${4*q}u, o${q});
        #end
        delta[row * p.heads + group.y] = row_delta;
    }
}
