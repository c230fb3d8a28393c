// Causal attention, gradients of k and v: dv = Σ_t (p∘m)·dy and dk = scale·Σ_t dS·q over the queries t that attend to the key,
// with p, m and dS as in backward_q, whose δ it reads.
//
// dkv has the shape of kv: dk at the place of k, dv at that of v. Grid (tiles, H, parts), 64 keys a group, KEYS queries a step.
// Distribution and variants as forward, with keys and queries exchanged; four products. WITHOUT_K leaves out dk, so that two
// products are left, and WITHOUT_V leaves out dv. FEW_REGISTERS needs KEYS = 4·LANES.
#import dropout_words
#import attention_params
#import attention_tiles
#head_read 1 queries
#head_read 2 kv
#head_read 3 dy
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
#head_write 7 dkv

#block key(i, d)
let found = load_kv(k_at + key_row(min(tile.j + $i, tile.j_end - 1u), tile.keys_at, tile.null_row) * p.kv_pitch, $d);
#end
#block value(i, d)
let found = load_kv(v_at + key_row(min(tile.j + $i, tile.j_end - 1u), tile.keys_at, tile.null_row) * p.kv_pitch, $d);
#end
#block query(row, d)
let found = load_queries(min($row, tile.end - 1u) * p.q_pitch + base, $d);
#end
#block gradient(row, d)
let found = load_dy(min($row, tile.end - 1u) * p.y_pitch + base, $d);
#end

@compute @workgroup_size(${16*LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = part_of_keys(key_tile(group.x), group.z * 64u);
    if tile.j >= tile.j_end { return; }
    let base = group.y * D;
    let k_at = p.k.x * p.kv_pitch + p.k.y + base;
    let v_at = p.v.x * p.kv_pitch + p.v.y + base;
    let x = lane % LANES;
    let y = lane / LANES;
    let first_key = tile.j + 4u * y;
    // The first query attends to the first key.
    let t_first = u32(max(seen_from(tile.j), 0));
    #for r in 0..4
    #for j in 0..(DQ+LANES-1)/LANES
    #if !WITHOUT_K
    var dk${r}_${j} = vec4<f32>();
    #end
    #if !WITHOUT_V
    var dv${r}_${j} = vec4<f32>();
    #end
    #end
    #end
    for (var block = tile.first; block < tile.end; block += KEYS) {
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        var s${r}_${g} = vec4<f32>();
        #if !WITHOUT_K
        var g${r}_${g} = vec4<f32>();
        #end
        #end
        #end
        #if DROPOUT
        #if FEW_REGISTERS
        // As draw_kept of lib/attention_dropout.wgsl.
        var kept = 0u;
        let own_query = block + 4u * x;
        for (var i = 0u; i < min(max(tile.end, own_query) - own_query, 4u); i++) {
            kept |= kept_bits(tile.origin + first_key, tile.origin + t_first + own_query - tile.first + i, tile.sequence,
                              p.place + group.y * 65536u, p.key, p.threshold) << (4u * i);
        }
        #end
        #end
        #paste products(s, key, query, one_key)
        #if !WITHOUT_K
        #paste products(g, value, gradient, one_key)
        #end
        #for g in 0..KEYS/(4*LANES)
        {
            // Of four queries.
            let first_query = block + 4u * x + ${4*g*LANES}u;
            let t = t_first + first_query - tile.first;
            var lse = vec4<f32>();
            var row_delta = vec4<f32>();
            #for i in 0..4
            let row${i} = min(first_query + ${i}u, tile.end - 1u) * p.heads + group.y;
            lse[${i}] = log_sum_exp[row${i}];
            row_delta[${i}] = delta[row${i}];
            #end
            #for r in 0..4
            s${r}_${g} = exp(min(s${r}_${g} * p.scale - lse, vec4<f32>(80.0)));
            #end
            if visible(t_first + block - tile.first) < tile.j + 64u || block + KEYS > tile.end {
                #for i in 0..4
                let seen${i} = select(0u, visible(t + ${i}u), first_query + ${i}u < tile.end);
                #end
                let seen = vec4<u32>(seen0, seen1, seen2, seen3);
                #for r in 0..4
                s${r}_${g} = select(vec4<f32>(), s${r}_${g}, vec4<u32>(first_key + ${r}u) < seen);
                #end
            }
            #if DROPOUT
            #for i in 0..4
            #if FEW_REGISTERS
            let keep${i} = keep_of_bits(kept >> ${4*i}u, p.keep);
            #else
            let keep${i} = keep4(tile.origin + first_key, tile.origin + t + ${i}u, tile.sequence,
                                 p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            #end
            #for r in 0..4
            #if !WITHOUT_K
            g${r}_${g}[${i}] = s${r}_${g}[${i}] * (g${r}_${g}[${i}] * keep${i}[${r}] - row_delta[${i}]) * p.scale;
            #end
            s${r}_${g}[${i}] *= keep${i}[${r}];
            #end
            #end
            #else
            #for r in 0..4
            #if !WITHOUT_K
            g${r}_${g} = s${r}_${g} * (g${r}_${g} - row_delta) * p.scale;
            #end
            #end
            #end
        }
        #end
        #if !WITHOUT_V
        #paste weighted_sum(dv, s, gradient, tile.end)
        #end
        #if !WITHOUT_K
        #paste weighted_sum(dk, g, query, tile.end)
        #end
    }
    #for r in 0..4
    if first_key + ${r}u < tile.j_end {
        let key = key_row(first_key + ${r}u, tile.keys_at, tile.null_row) * p.kv_pitch;
        #for j in 0..(DQ+LANES-1)/LANES
        if x + ${j*LANES}u < DQ {
            #if !WITHOUT_K
            store_dkv(k_at + key, 4u * x + ${4*j*LANES}u, dk${r}_${j});
            #end
            #if !WITHOUT_V
            store_dkv(v_at + key, 4u * x + ${4*j*LANES}u, dv${r}_${j});
            #end
        }
        #end
    }
    #end
}
