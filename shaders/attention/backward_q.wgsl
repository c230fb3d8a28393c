// Causal attention, gradient of q: dq = scale·Σ dS·k, with dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ), the dropout mask m,
// and δ [N, H] = Σ_d dy∘y, which backward_kv reads.
//
// dq has the pitch of the queries. Shapes, grid, distribution and variants as forward; three products instead of two.
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
    var row_delta = vec4<f32>();
    #for r in 0..4
    let query${r} = min(row + ${r}u, tile.end - 1u);
    #for j in 0..(DQ+LANES-1)/LANES
    if x + ${j*LANES}u < DQ {
        row_delta[${r}] += dot(load_dy(query${r} * p.y_pitch + base, 4u * x + ${4*j*LANES}u),
                               load_y(query${r} * p.y_pitch + base, 4u * x + ${4*j*LANES}u));
    }
    var o${r}_${j} = vec4<f32>();
    #end
    #end
    left[lane] = row_delta;
    workgroupBarrier();
    row_delta = left[y * LANES];
    #for n in 1..LANES
    row_delta += left[y * LANES + ${n}u];
    #end
    var lse = vec4<f32>();
    #for r in 0..4
    lse[${r}] = log_sum_exp[query${r} * p.heads + group.y];
    if x == 0u && row + ${r}u < tile.end { delta[(row + ${r}u) * p.heads + group.y] = row_delta[${r}]; }
    #end
    for (var block = 0u; block < tile.keys; block += KEYS) {
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        var s${r}_${g} = vec4<f32>();
        var g${r}_${g} = vec4<f32>();
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
                left[i ^ (i / (4u * CHUNK) & 7u)] = load_dy(query * p.y_pitch + base, 4u * quad);
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
                right[slot * CHUNK + (i % CHUNK ^ (slot & 7u))] = load_kv(v_at + key, 4u * quad);
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
                g${r}_${g} += a${r}[${d}] * vec4<f32>(b${g}_0[${d}], b${g}_1[${d}], b${g}_2[${d}], b${g}_3[${d}]);
                #end
                #end
                #end
            }
        }
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        #if DROPOUT
        g${r}_${g} *= keep4(tile.origin + block + 4u * x + ${4*g*LANES}u, tile.origin + tile.t + 4u * y + ${r}u, tile.sequence,
                            p.place + group.y * 65536u, p.key, p.threshold, p.keep);
        #end
        s${r}_${g} = exp(min(s${r}_${g} * p.scale - lse[${r}], vec4<f32>(80.0))) * (g${r}_${g} - row_delta[${r}]) * p.scale;
        #end
        #end
        if block + KEYS > visible(tile.t) {
            #for r in 0..4
            #for g in 0..KEYS/(4*LANES)
            s${r}_${g} = select(vec4<f32>(), s${r}_${g}, vec4<u32>(block + 4u * x + ${4*g*LANES}u) +
                                vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(visible(tile.t + 4u * y + ${r}u)));
            #end
            #end
        }
        #for n in 0..KEYS/PIECE
        workgroupBarrier();
        #for s in 0..(PIECE*DQ+16*LANES-1)/(16*LANES)
        {
            let i = lane + ${s*16*LANES}u;
            #if PIECE*DQ % (16*LANES) > 0
            if i < ${PIECE*DQ}u {
            #end
            let j = min(block + ${n*PIECE}u + i / DQ, tile.keys - 1u);
            right[i] = load_kv(k_at + key_row(j, tile.keys_at, tile.null_row) * p.kv_pitch, i % DQ * 4u);
            #if PIECE*DQ % (16*LANES) > 0
            }
            #end
        }
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
    #for r in 0..4
    if row + ${r}u < tile.end {
        #for j in 0..(DQ+LANES-1)/LANES
        if x + ${j*LANES}u < DQ { store_dq((row + ${r}u) * p.q_pitch + base, 4u * x + ${4*j*LANES}u, o${r}_${j}); }
        #end
    }
    #end
}
