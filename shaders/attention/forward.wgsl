// Causal attention, forward (FlashAttention, Dao et al. 2022): y = softmax(q·kᵀ·scale)·v over the keys that a query attends to,
// and the log-sum-exp ℓ [N, H] of its scores.
//
// queries [N, ≥ C], kv, y [N, C], each with its own pitch. The table holds tiles of queries, those with the most keys first.
// Grid (tiles, H, parts). A group has 64 queries and takes KEYS keys a step: two matrix products with operands in workgroup
// memory. LANES neighboring invocations share four queries. Each holds their scores for every LANES-th four keys, and their sums
// for every LANES-th four channels. The channels of q and k come in chunks of 4·CHUNK, the probabilities and values in pieces of
// PIECE keys. A chunk's keys are stored in an order in which neighboring invocations read from different banks.
// Each query keeps a running maximum; its sums are rescaled once a step.
// Variant: D, DQ = ⌈D/4⌉, LANES, KEYS, CHUNK, PIECE, DROPOUT; vec4 loads if 4 divides D.
#import dropout_words
#import attention_params
#head_read 1 queries
#head_read 2 kv
@group(0) @binding(3) var<storage, read> table: array<u32>;
#head_write 4 y
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

// Two blocks of workgroup memory, each used in turn for the channels of a chunk and for the rows of a piece.
var<workgroup> left: array<vec4<f32>, ${64*CHUNK}>;
var<workgroup> right: array<vec4<f32>, ${64*CHUNK}>;

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
        for (var first = 0u; first < p.quads; first += CHUNK) {
            workgroupBarrier();
            #for s in 0..4*CHUNK/LANES
            {
                let i = lane + ${s*16*LANES}u;
                let quad = first + i % CHUNK;
                #if DQ % CHUNK > 0
                if quad < DQ {
                #end
                let query = min(tile.first + i / CHUNK, tile.end - 1u);
                left[i ^ (i / (4u * CHUNK) & 7u)] = load_queries(query * p.q_pitch + base, 4u * quad);
                #if DQ % CHUNK > 0
                }
                #end
            }
            #end
            #for s in 0..KEYS*CHUNK/(16*LANES)
            {
                let i = lane + ${s*16*LANES}u;
                let slot = i / CHUNK;
                let quad = first + i % CHUNK;
                #if DQ % CHUNK > 0
                if quad < DQ {
                #end
                let j = min(block + slot % ${KEYS/4}u * 4u + slot / ${KEYS/4}u, tile.keys - 1u);
                let key = key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch;
                right[slot * CHUNK + (i % CHUNK ^ (slot & 7u))] = load_kv(k_at + key, 4u * quad);
                #if DQ % CHUNK > 0
                }
                #end
            }
            #end
            workgroupBarrier();
            for (var q = 0u; q < min(CHUNK, p.quads - first); q++) {
                let at = x * CHUNK + (q ^ (x & 7u));
                let left_at = 4u * y * CHUNK + (q ^ (y & 7u));
                #for r in 0..4
                let a${r} = left[left_at + ${r*CHUNK}u];
                #end
                #for g in 0..KEYS/(4*LANES)
                #for i in 0..4
                let b${g}_${i} = right[at + ${(i*KEYS/4+g*LANES)*CHUNK}u];
                #end
                #for r in 0..4
                #for d in 0..4
                s${r}_${g} += a${r}[${d}] * vec4<f32>(b${g}_0[${d}], b${g}_1[${d}], b${g}_2[${d}], b${g}_3[${d}]);
                #end
                #end
                #end
            }
        }
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
        #for n in 0..1
        #for s in 0..(PIECE*DQ+16*LANES-1)/(16*LANES)
        {
            let i = lane + ${s*16*LANES}u;
            #if PIECE*DQ % (16*LANES) > 0
            if i < ${PIECE*DQ}u {
            #end
            let j = min(block + ${n*PIECE}u + i / DQ, tile.keys - 1u);
            right[i] = load_kv(v_at + key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch, i % DQ * 4u);
            #if PIECE*DQ % (16*LANES) > 0
            }
            #end
        }
        #end
        #end
        workgroupBarrier();
        best = top;
        #for n in 0..LANES
        best = max(best, left[y * LANES + ${n}u]);
        #end
        workgroupBarrier();
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
        #if DROPOUT
        s${r}_${g} *= keep4(tile.origin + block + 4u * x + ${4*g*LANES}u, tile.origin + tile.t + 4u * y + ${r}u, tile.sequence,
                            p.place + group.y * 65536u, p.key, p.threshold, p.keep);
        #end
        #end
        #end
        #for n in 0..KEYS/PIECE
        #if n > 0
        workgroupBarrier();
        #for s in 0..(PIECE*DQ+16*LANES-1)/(16*LANES)
        {
            let i = lane + ${s*16*LANES}u;
            #if PIECE*DQ % (16*LANES) > 0
            if i < ${PIECE*DQ}u {
            #end
            let j = min(block + ${n*PIECE}u + i / DQ, tile.keys - 1u);
            right[i] = load_kv(v_at + key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch, i % DQ * 4u);
            #if PIECE*DQ % (16*LANES) > 0
            }
            #end
        }
        #end
        #end
        #for r in 0..4
        #if 4*LANES <= PIECE
        #for g in 0..PIECE/(4*LANES)
        left[(4u * y + ${r}u) * ${PIECE/4}u + ((x + ${g*LANES}u) ^ (y & ${PIECE/4-1}u))] = s${r}_${n*PIECE/(4*LANES)+g};
        #end
        #else
        if x / ${PIECE/4}u == ${n%(4*LANES/PIECE)}u {
            left[(4u * y + ${r}u) * ${PIECE/4}u + (x ^ (y & ${PIECE/4-1}u)) % ${PIECE/4}u] = s${r}_${n*PIECE/(4*LANES)};
        }
        #end
        #end
        workgroupBarrier();
        for (var k = 0u; k < (min(max(tile.keys, (block + ${n*PIECE}u)) - (block + ${n*PIECE}u), PIECE) + 3u) / 4u; k++) {
            let at = 4u * k * DQ + x;
            let left_at = y * PIECE + (k ^ (y & ${PIECE/4-1}u));
            #for r in 0..4
            let e${r} = left[left_at + ${r*PIECE/4}u];
            #end
            #for i in 0..4
            #for j in 0..(DQ+LANES-1)/LANES
            let v${i}_${j} = right[at + ${i*DQ+j*LANES}u];
            #for r in 0..4
            o${r}_${j} += e${r}[${i}] * v${i}_${j};
            #end
            #end
            #end
        }
        #end
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
