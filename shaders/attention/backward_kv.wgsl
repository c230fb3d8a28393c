// Causal attention, backward to k and v: dv = Σ_t (p∘m)·dy, dk = scale·Σ_t dS·q over the queries t of the run that see the
// key; p and dS as backward_q, whose δ it reads. Tiles are at most 64 keys; 64 invocations, one a key, hold k, v, dk and dv;
// KEYS queries and their dy at a time lie in workgroup memory. dkv has the shape of kv: dk where k lies, dv where v lies.
#import dropout_words
#import attention_params
#head_read 1 queries
#head_read 2 kv
#head_read 3 dy
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
#head_write 7 dkv

var<workgroup> asking: array<vec4<f32>, ${KEYS*DQ}>;
var<workgroup> dys: array<vec4<f32>, ${KEYS*DQ}>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = key_tile(group.x);
    let base = group.y * D;
    let j = min(tile.j + lane, tile.j_end - 1u);
    let key = key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch;
    let k_at = p.k.x * p.kv_pitch + p.k.y + base + key;
    let v_at = p.v.x * p.kv_pitch + p.v.y + base + key;
    let t_first = max(seen_from(tile.j), 0);
    // The first query row that sees the key.
    let from_row = tile.first + u32(max(seen_from(j), 0) - t_first);
    #for q in 0..DQ
    let k${q} = load_kv(k_at, ${4*q}u);
    let v${q} = load_kv(v_at, ${4*q}u);
    var dk${q} = vec4<f32>();
    var dv${q} = vec4<f32>();
    #end
    for (var block = tile.first; block < tile.end; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let query = min(block + i / DQ, tile.end - 1u);
            asking[i] = load_queries(query * p.q_pitch + base, i % DQ * 4u);
            dys[i] = load_dy(query * p.y_pitch + base, i % DQ * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < KEYS; i++) {
            let query = min(block + i, tile.end - 1u);
            let seen = block + i < tile.end && query >= from_row;
            var s = 0.0;
            var g = 0.0;
            #for q in 0..DQ
            s += dot(k${q}, asking[i * DQ + ${q}u]);
            g += dot(v${q}, dys[i * DQ + ${q}u]);
            #end
            let e = select(0.0, exp(min(s * p.scale - log_sum_exp[query * p.heads + group.y], 80.0)), seen);
            var w = e;
            #if DROPOUT
            let keep = keep_one(tile.origin + j, tile.origin + u32(t_first) + query - tile.first, tile.sequence,
                                p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            w *= keep;
            g *= keep;
            #end
            let ds = e * (g - delta[query * p.heads + group.y]) * p.scale;
            #for q in 0..DQ
            dk${q} += ds * asking[i * DQ + ${q}u];
            dv${q} += w * dys[i * DQ + ${q}u];
            #end
        }
    }
    if tile.j + lane < tile.j_end {
        #for q in 0..DQ
        store_dkv(k_at, ${4*q}u, dk${q});
        store_dkv(v_at, ${4*q}u, dv${q});
        #end
    }
}
