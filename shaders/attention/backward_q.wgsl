// Causal attention, backward to q: dq = scale·Σ dS·k, dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ), and δ [N, H] =
// Σ_d dy∘y, which backward_kv reads. dq goes to columns 0..C of dqkv [N, 3C]. Shapes, grid and Spec as forward; an
// invocation a query holds q, dy and dq.
#import dropout_words
#import attention_params
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> y: array<f32>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read_write> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<f32>;

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
    let lse = log_sum_exp[query * p.heads + group.y];
    var row_delta = 0.0;
    #for q in 0..DQ
    let a${q} = load4(query * p.pitch + base, ${4*q}u);
    var d${q} = vec4<f32>();
    var o${q} = vec4<f32>();
    #for i in 0..4
    if ${4*q+i}u < D {
        d${q}[${i}] = dy[query * p.y_pitch + base + ${4*q+i}u];
        row_delta += d${q}[${i}] * y[query * p.y_pitch + base + ${4*q+i}u];
    }
    #end
    #end
    for (var block = tile.z; block < tile.y; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let key = min(block + i / DQ, tile.y - 1u);
            keys[i] = load4(key * p.pitch + p.columns + base, i % DQ * 4u);
            values[i] = load4(key * p.pitch + 2u * p.columns + base, i % DQ * 4u);
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
            g${k} *= keep_one(position_of(min(block + i + ${k}u, query)), position, sequence,
                              p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            #end
            let e${k} = select(0.0, exp(min(s${k} * p.scale - lse, 80.0)) * (g${k} - row_delta) * p.scale,
                               block + i + ${k}u <= query);
            #for q in 0..DQ
            o${q} += e${k} * keys[(i + ${k}u) * DQ + ${q}u];
            #end
            #end
        }
    }
    if row < tile.y {
        #for q in 0..DQ
        #for i in 0..4
        if ${4*q+i}u < D { dqkv[row * p.pitch + base + ${4*q+i}u] = o${q}[${i}]; }
        #end
        #end
        delta[row * p.heads + group.y] = row_delta;
    }
}
