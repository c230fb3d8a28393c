// Causal attention, backward to k and v, for CPU adapters: dv = Σ_t (p∘m)·dy, dk = scale·Σ_t dS·q over the queries t that
// see the key; p and dS as backward_q_image, whose δ it reads. Tiles are at most 64 keys. The block of 64 queries is held as
// Q and dY with eight queries a lane and with X texels of channels a lane; then a loop over the tile's keys.
// dk and dv go to columns C..3C of dqkv [N, 3C]. Grid (tiles, H); Spec as forward_image.
#import quad_u64
#import reduce
#import dropout_words
#import attention_params
@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var qkv_block: texture_2d<f32>;
@group(0) @binding(3) var dy_block: texture_2d<f32>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dqkv: array<Quad>;

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
    for (var block = tile.x; block < tile.w; block += 64u) {
        let first = block + lane * 8u;
        #for c in 0..8
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(qkv_block, vec2<u32>(q_texel + ${q}u, first + ${c}u), 0);
        let v${c}_${q} = textureLoad(dy_block, vec2<u32>(q_texel + ${q}u, first + ${c}u), 0);
        #end
        let lse${c} = log_sum_exp[select(NONE, (first + ${c}u) * heads + head, first + ${c}u < tile.w)];
        let delta${c} = delta[select(NONE, (first + ${c}u) * heads + head, first + ${c}u < tile.w)];
#if DROPOUT
        let position${c} = position_of(select(NONE, first + ${c}u, first + ${c}u < tile.w));
#end
        #end
        #for j in 0..64
        #for x in 0..X
        let r${j}_${x} = textureLoad(qkv_block, vec2<u32>(q_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        let h${j}_${x} = textureLoad(dy_block, vec2<u32>(q_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        #end
        #end
        let merge = block > tile.x;
        let last = min(tile.y, block + 64u);
        for (var row = tile.x; row < last; row++) {
            #for x in 0..X
            let a${x} = textureLoad(qkv, vec2<u32>(k_texel + ${8*x}u + lane, row));
            let d${x} = textureLoad(qkv, vec2<u32>(v_texel + ${8*x}u + lane, row));
            #end
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
#if DROPOUT
            let sequence = sequence_of(row);
            let position = position_of(row);
#end
            #for c in 0..8
            let seen${c} = first + ${c}u >= row && first + ${c}u < tile.w;
            let p${c} = select(0.0, exp(min(s${c} * scale - lse${c}, 80.0)), seen${c});
#if DROPOUT
            let keep${c} = keep_one(position, position${c}, sequence, p.place + head * 65536u, p.key, p.threshold, p.keep);
            let w${c} = p${c} * keep${c};
            let e${c} = select(0.0, p${c} * (g${c} * keep${c} - delta${c}) * scale, seen${c});
#end
#if 1-DROPOUT
            let w${c} = p${c};
            let e${c} = select(0.0, p${c} * (g${c} - delta${c}) * scale, seen${c});
#end
            #end
            #for x in 0..X
            var ok${x} = vec4<f32>();
            var ov${x} = vec4<f32>();
            #end
            #for j in 0..64
            let e_${j} = subgroupShuffle(e${j%8}, ${j/8}u);
            let w_${j} = subgroupShuffle(w${j%8}, ${j/8}u);
            #for x in 0..X
            ok${x} += e_${j} * r${j}_${x};
            ov${x} += w_${j} * h${j}_${x};
            #end
            #end
            let k_at = row * out_quads + k_texel + lane * ${X}u;
            let v_at = row * out_quads + v_texel + lane * ${X}u;
            if merge {
                #for x in 0..X
                ok${x} += unquad(dqkv[k_at + ${x}u]);
                ov${x} += unquad(dqkv[v_at + ${x}u]);
                #end
            }
            #for x in 0..X
            dqkv[select(NONE, k_at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(ok${x});
            dqkv[select(NONE, v_at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(ov${x});
            #end
        }
    }
}
