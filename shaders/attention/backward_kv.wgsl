// Causal attention, backward to k and v: dv = Σ_t (p∘m)·dy, dk = scale·Σ_t dS·q over the queries t of the run that see the
// key; p and dS as backward_q, whose δ it reads. Tiles are at most 64 keys; 64 invocations, one a key, hold k, v, dk and dv;
// KEYS queries and their dy at a time lie in workgroup memory. dk and dv go to columns C..3C of dqkv [N, 3C].
#import dropout_words
#import attention_params
@group(0) @binding(1) var<storage, read> qkv: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(5) var<storage, read> delta: array<f32>;
@group(0) @binding(6) var<storage, read_write> dqkv: array<f32>;

var<workgroup> queries: array<vec4<f32>, ${KEYS*DQ}>;
var<workgroup> dys: array<vec4<f32>, ${KEYS*DQ}>;

fn load4(at: u32, d: u32) -> vec4<f32> {
    var v = vec4<f32>();
    #for i in 0..4
    if d + ${i}u < D { v[${i}] = qkv[at + d + ${i}u]; }
    #end
    return v;
}

fn load_dy(at: u32, d: u32) -> vec4<f32> {
    var v = vec4<f32>();
    #for i in 0..4
    if d + ${i}u < D { v[${i}] = dy[at + d + ${i}u]; }
    #end
    return v;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x);
    let base = group.y * D;
    let row = tile.x + lane;
    let key = min(row, tile.y - 1u);
    #if DROPOUT
    let position = position_of(key);
    let sequence = sequence_of(key);
    #end
    #for q in 0..DQ
    let k${q} = load4(key * p.pitch + p.columns + base, ${4*q}u);
    let v${q} = load4(key * p.pitch + 2u * p.columns + base, ${4*q}u);
    var dk${q} = vec4<f32>();
    var dv${q} = vec4<f32>();
    #end
    for (var block = tile.x; block < tile.w; block += KEYS) {
        workgroupBarrier();
        for (var i = lane; i < KEYS * DQ; i += 64u) {
            let query = min(block + i / DQ, tile.w - 1u);
            queries[i] = load4(query * p.pitch + base, i % DQ * 4u);
            dys[i] = load_dy(query * p.y_pitch + base, i % DQ * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < KEYS; i++) {
            let query = min(block + i, tile.w - 1u);
            let seen = block + i < tile.w && query >= key;
            var s = 0.0;
            var g = 0.0;
            #for q in 0..DQ
            s += dot(k${q}, queries[i * DQ + ${q}u]);
            g += dot(v${q}, dys[i * DQ + ${q}u]);
            #end
            let e = select(0.0, exp(min(s * p.scale - log_sum_exp[query * p.heads + group.y], 80.0)), seen);
            var w = e;
            #if DROPOUT
            let keep = keep_one(position, position_of(query), sequence,
                                p.place + group.y * 65536u, p.key, p.threshold, p.keep);
            w *= keep;
            g *= keep;
            #end
            let ds = e * (g - delta[query * p.heads + group.y]) * p.scale;
            #for q in 0..DQ
            dk${q} += ds * queries[i * DQ + ${q}u];
            dv${q} += w * dys[i * DQ + ${q}u];
            #end
        }
    }
    if row < tile.y {
        #for q in 0..DQ
        #for i in 0..4
        if ${4*q+i}u < D {
            dqkv[row * p.pitch + p.columns + base + ${4*q+i}u] = dk${q}[${i}];
            dqkv[row * p.pitch + 2u * p.columns + base + ${4*q+i}u] = dv${q}[${i}];
        }
        #end
        #end
    }
}
