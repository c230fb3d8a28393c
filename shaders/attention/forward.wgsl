// Causal attention, forward (FlashAttention, Dao et al. 2022): y = softmax(q·kᵀ·scale)·v over the keys that a query attends to,
// and the log-sum-exp ℓ [N, H] of its scores.
//
// queries [N, ≥ C], kv, y [N, C], each with its own pitch. The table holds tiles of queries, those with the most keys first.
// Grid (tiles, H, parts). A group has 64 queries and takes KEYS keys a step: two matrix products by lib/attention_tiles.wgsl, of
// queries with keys and of probabilities with values.
// Each query keeps a running maximum; its sums are rescaled once a step.
// Variant: D, DQ = ⌈D/4⌉, LANES, KEYS, CHUNK, PIECE, DROPOUT, FEW_REGISTERS; vec4 loads if 4 divides D.
#import attention_dropout
#import attention_params
#import attention_tiles
#head_read 1 queries
#head_read 2 kv
@group(0) @binding(3) var<storage, read> table: array<u32>;
#head_write 4 y
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

#block query(i, d)
let found = load_queries(min(tile.first + $i, tile.end - 1u) * p.q_pitch + base, $d);
#end
#block key(j, d)
let found = load_kv(k_at + key_row(min($j, tile.keys - 1u), tile.keys_at, tile.null_row) * p.kv_pitch, $d);
#end
#block value(j, d)
let found = load_kv(v_at + key_row(min($j, tile.keys - 1u), tile.keys_at, tile.null_row) * p.kv_pitch, $d);
#end

@compute @workgroup_size(${16*LANES})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = part_of_queries(query_tile(group.x), group.z * 64u);
    if tile.first >= tile.end { return; }
    let base = group.y * D;
    let k_at = p.k.x * p.kv_pitch + p.k.y + base;
    let v_at = p.v.x * p.kv_pitch + p.v.y + base;
    let x = lane % LANES;
    let y = lane / LANES;
    let row = tile.first + 4u * y;
    #for r in 0..4
    #for j in 0..(DQ+LANES-1)/LANES
    var o${r}_${j} = vec4<f32>();
    #end
    #end
    // Of four queries. A score that is masked is lower than the first maximum, so that its probability is 0.
    var top = vec4<f32>(-1.0e29);
    var total = vec4<f32>();
    for (var block = 0u; block < tile.keys; block += KEYS) {
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        var s${r}_${g} = vec4<f32>();
        #end
        #end
        #paste draw_kept()
        #paste products(s, query, key, four_keys)
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        s${r}_${g} *= p.scale;
        #end
        #end
        if block + KEYS > visible(tile.t) {
            #for r in 0..4
            #for g in 0..KEYS/(4*LANES)
            s${r}_${g} = select(vec4<f32>(-1.0e30), s${r}_${g}, vec4<u32>(block + 4u * x + ${4*g*LANES}u) +
                                vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(visible(tile.t + 4u * y + ${r}u)));
            #end
            #end
        }
        var best = vec4<f32>(-1.0e30);
        #for g in 0..KEYS/(4*LANES)
        #for i in 0..4
        best = max(best, vec4<f32>(s0_${g}[${i}], s1_${g}[${i}], s2_${g}[${i}], s3_${g}[${i}]));
        #end
        #end
        workgroupBarrier();
        left[lane] = best;
        workgroupBarrier();
        best = top;
        #for n in 0..LANES
        best = max(best, left[y * LANES + ${n}u]);
        #end
        let shrink = exp(top - best);
        top = best;
        total *= shrink;
        #for r in 0..4
        #for j in 0..(DQ+LANES-1)/LANES
        o${r}_${j} *= shrink[${r}];
        #end
        #for g in 0..KEYS/(4*LANES)
        s${r}_${g} = exp(s${r}_${g} - top[${r}]);
        total[${r}] += s${r}_${g}.x + s${r}_${g}.y + s${r}_${g}.z + s${r}_${g}.w;
        #paste drop(s, r, g)
        #end
        #end
        #paste weighted_sum(o, s, value, tile.keys)
    }
    workgroupBarrier();
    left[lane] = total;
    workgroupBarrier();
    total = left[y * LANES];
    #for n in 1..LANES
    total += left[y * LANES + ${n}u];
    #end
    total = max(total, vec4<f32>(1.0e-30));
    #for r in 0..4
    if row + ${r}u < tile.end {
        #for j in 0..(DQ+LANES-1)/LANES
        if x + ${j*LANES}u < DQ { store_y((row + ${r}u) * p.y_pitch + base, 4u * x + ${4*j*LANES}u, o${r}_${j} / total[${r}]); }
        #end
        if x == 0u { log_sum_exp[(row + ${r}u) * p.heads + group.y] = top[${r}] + log(total[${r}]); }
    }
    #end
}
