// Causal attention, gradients of k and v: dv = Σ_t (p∘m)·dy and dk = scale·Σ_t dS·q over the queries t that attend to the key,
// with p, m and dS as in backward_q, whose δ it reads.
//
// dkv has the shape of kv: dk at the place of k, dv at that of v. Grid (tiles, H, parts), 64 keys a group. LANES neighboring
// invocations share a key: each holds QUADS vec4 of k, v, dk and dv, and their parts of each dot product are added through
// workgroup memory. KEYS queries and their dy at a time are stored in workgroup memory.
// Variant: as forward; LANES, QUADS = ⌈DQ/LANES⌉.
#import dropout_words
#import attention_params
#head_read 1 queries
#head_read 2 kv
#head_read 3 dy
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
#head_write 7 dkv

var<workgroup> query_block: array<vec4<f32>, ${KEYS*DQ}>;
var<workgroup> dy_block: array<vec4<f32>, ${KEYS*DQ}>;
#if LANES > 1
var<workgroup> partial: array<vec2<f32>, ${KEYS*64*LANES}>;
#end

@compute @workgroup_size(${64*LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = part_of_keys(key_tile(group.x), group.z * 64u);
    if tile.j >= tile.j_end { return; }
    let base = group.y * D;
    let j = min(tile.j + lane / LANES, tile.j_end - 1u);
    let key = key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch;
    let k_at = p.k.x * p.kv_pitch + p.k.y + base + key;
    let v_at = p.v.x * p.kv_pitch + p.v.y + base + key;
    let t_first = max(seen_from(tile.j), 0);
    // The row of the first query that attends to the key.
    let first_row = tile.first + u32(max(seen_from(j), 0) - t_first);
    let first_quad = lane % LANES * QUADS;
    #for q in 0..QUADS
    // A quad past the last one repeats its loads, with zeros as values.
    let quad${q} = min(first_quad + ${q}u, DQ - 1u);
    let inside${q} = first_quad + ${q}u < DQ;
    let k${q} = select(vec4<f32>(), load_kv(k_at, 4u * quad${q}), inside${q});
    let v${q} = select(vec4<f32>(), load_kv(v_at, 4u * quad${q}), inside${q});
    var dk${q} = vec4<f32>();
    var dv${q} = vec4<f32>();
    #end
    for (var block = tile.first; block < tile.end; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += ${64*LANES}u) {
            let query = min(block + i / DQ, tile.end - 1u);
            query_block[i] = load_queries(query * p.q_pitch + base, i % DQ * 4u);
            dy_block[i] = load_dy(query * p.y_pitch + base, i % DQ * 4u);
        }
        workgroupBarrier();
        #if LANES > 1
        for (var i = 0u; i < KEYS; i++) {
            var s = 0.0;
            var g = 0.0;
            #for q in 0..QUADS
            s += dot(k${q}, query_block[i * DQ + quad${q}]);
            g += dot(v${q}, dy_block[i * DQ + quad${q}]);
            #end
            partial[i * ${64*LANES}u + lane] = vec2<f32>(s, g);
        }
        workgroupBarrier();
        #end
        for (var i = 0u; i < KEYS; i++) {
            let query = min(block + i, tile.end - 1u);
            let seen = block + i < tile.end && query >= first_row;
            #if LANES > 1
            var both = vec2<f32>();
            #for l in 0..LANES
            both += partial[i * ${64*LANES}u + lane / LANES * LANES + ${l}u];
            #end
            let s = both.x;
            var g = both.y;
            #else
            var s = 0.0;
            var g = 0.0;
            #for q in 0..QUADS
            s += dot(k${q}, query_block[i * DQ + ${q}u]);
            g += dot(v${q}, dy_block[i * DQ + ${q}u]);
            #end
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
            #for q in 0..QUADS
            dk${q} += ds * query_block[i * DQ + quad${q}];
            dv${q} += w * dy_block[i * DQ + quad${q}];
            #end
        }
    }
    if tile.j + lane / LANES < tile.j_end {
        #for q in 0..QUADS
        if inside${q} {
            store_dkv(k_at, 4u * quad${q}, dk${q});
            store_dkv(v_at, 4u * quad${q}, dv${q});
        }
        #end
    }
}
