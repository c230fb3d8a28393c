// Causal attention, backward to q, for CPU adapters: dq = scale·Σ dS·k, dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ),
// δ [N, H] = Σ_d dy∘y, which it writes for backward_kv. Shapes, grid and Spec as forward_image; the block of 64 keys is held
// as K and V with eight keys a lane and as K with X texels of channels a lane. dq goes to columns 0..C of dqkv [N, 3C].
#import quad_u64
#import reduce
#import dropout_words
#import attention_params
@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var qkv_block: texture_2d<f32>;
@group(0) @binding(3) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var<storage, read> table: array<u32>;
@group(0) @binding(6) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> dqkv: array<Quad>;

const NONE = 0x0fffffffu;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x);
    let head = group.y;
    let heads = p.heads;
    let out_quads = p.pitch / 4u;
    let scale = p.scale;
    let q_texel = head * ${DQ}u;
    let k_texel = p.columns / 4u + q_texel;
    let v_texel = p.columns / 2u + q_texel;
    for (var block = tile.z; block < tile.y; block += 64u) {
        #for c in 0..8
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(qkv_block, vec2<u32>(k_texel + ${q}u, block + lane * 8u + ${c}u), 0);
        let v${c}_${q} = textureLoad(qkv_block, vec2<u32>(v_texel + ${q}u, block + lane * 8u + ${c}u), 0);
        #end
        #end
        #for j in 0..64
        #for x in 0..X
        let r${j}_${x} = textureLoad(qkv_block, vec2<u32>(k_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        #end
        #end
        let merge = block > tile.z;
        for (var row = max(tile.x, block); row < tile.y; row++) {
            var product = 0.0;
            #for x in 0..X
            let a${x} = textureLoad(qkv, vec2<u32>(q_texel + ${8*x}u + lane, row));
            let d${x} = textureLoad(dy, vec2<u32>(q_texel + ${8*x}u + lane, row));
            let z${x} = textureLoad(y, vec2<u32>(q_texel + ${8*x}u + lane, row));
            product += select(0.0, dot(d${x}, z${x}), ${8*x}u + lane < ${DQ}u);
            #end
            let row_delta = group_sum(product, lane);
            let lse = log_sum_exp[row * heads + head];
            #for c in 0..8
            var s${c} = 0.0;
            var g${c} = 0.0;
            #end
            #for q in 0..DQ
            let b${q} = subgroupShuffle(a${q/8}, ${q%8}u);
            let f${q} = subgroupShuffle(d${q/8}, ${q%8}u);
            #for i in 0..4
            #for c in 0..8
            s${c} += b${q}[${i}] * k${c}_${q}[${i}];
            #end
            #for c in 0..8
            g${c} += f${q}[${i}] * v${c}_${q}[${i}];
            #end
            #end
            #end
            let first = block + lane * 8u;
#if DROPOUT
            let keep = keep8(position_of(tile.z) + first - tile.z, position_of(row), sequence_of(row),
                             p.place + head * 65536u, p.key, p.threshold, p.keep);
            #for c in 0..4
            g${c} *= keep.a[${c}];
            g${c+4} *= keep.b[${c}];
            #end
#end
            #for c in 0..8
            let e${c} = select(0.0, exp(min(s${c} * scale - lse, 80.0)) * (g${c} - row_delta) * scale, first + ${c}u <= row);
            #end
            #for x in 0..X
            var o${x} = vec4<f32>();
            #end
            #for j in 0..64
            let e_${j} = subgroupShuffle(e${j%8}, ${j/8}u);
            #for x in 0..X
            o${x} += e_${j} * r${j}_${x};
            #end
            #end
            let at = row * out_quads + q_texel + lane * ${X}u;
            if merge {
                #for x in 0..X
                o${x} += unquad(dqkv[at + ${x}u]);
                #end
            }
            #for x in 0..X
            dqkv[select(NONE, at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(o${x});
            #end
            delta[select(NONE, row * heads + head, lane == 0u)] = row_delta;
        }
    }
}
