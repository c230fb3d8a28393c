// Causal attention, gradient of q: dq = scale·Σ dS·k, with dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ), the dropout mask m,
// and δ [N, H] = Σ_d dy∘y, which backward_kv reads.
//
// dq has the pitch of the queries. Shapes, grid, distribution and variants as forward; three products instead of two.
#import attention_dropout
#import attention_params
#import attention_tiles
#head_read 1 queries
#head_read 2 kv
#head_read 3 dy
#head_read 4 y
@group(0) @binding(5) var<storage, read> table: array<u32>;
@group(0) @binding(6) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
#head_write 8 dq

#block query(i, d)
let found = load_queries(min(tile.first + $i, tile.end - 1u) * p.q_pitch + base, $d);
#end
#block gradient(i, d)
let found = load_dy(min(tile.first + $i, tile.end - 1u) * p.y_pitch + base, $d);
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
        #paste draw_kept()
        #if FEW_REGISTERS
        #paste products(s, query, key, one_key)
        #paste products(g, gradient, value, one_key)
        #else
        #paste products(s, query, key, four_keys)
        #paste products(g, gradient, value, four_keys)
        #end
        #for r in 0..4
        #for g in 0..KEYS/(4*LANES)
        #paste drop(g, r, g)
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
        #paste weighted_sum(o, s, key, tile.keys)
    }
    #for r in 0..4
    if row + ${r}u < tile.end {
        #for j in 0..(DQ+LANES-1)/LANES
        if x + ${j*LANES}u < DQ { store_dq((row + ${r}u) * p.q_pitch + base, 4u * x + ${4*j*LANES}u, o${r}_${j}); }
        #end
    }
    #end
}
