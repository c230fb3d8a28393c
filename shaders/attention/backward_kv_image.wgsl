// Causal attention, gradients of k and v, for CPU adapters: dv = Σ_t (p∘m)·dy and dk = scale·Σ_t dS·q over the queries t that
// attend to the key, with p, m and dS as in backward_q_image, whose δ it reads.
//
// A block of 64 queries is held as Q and dY with eight queries per lane, and with X texels of channels per lane. A loop runs
// over the keys of the tile that one of them attends to. dkv has the shape of kv: dk at the place of k, dv at that of v.
// Grid (tiles, H). Variant: as forward_image.
#import attention_image
@group(0) @binding(1) var kv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var q_block: texture_2d<f32>;
@group(0) @binding(3) var dy_block: texture_2d<f32>;
@group(0) @binding(4) var<storage, read> table: array<u32>;
@group(0) @binding(5) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(6) var<storage, read> delta: array<f32>;
@group(0) @binding(7) var<storage, read_write> dkv: array<Quad>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = key_tile(group.x);
    let head = group.y;
    let heads = p.heads;
    let out_quads = p.kv_pitch / 4u;
    let scale = p.scale;
    let k_x = p.k.x;
    let v_x = p.v.x;
    let q_texel = head * ${DQ}u;
    let k_texel = p.k.y / 4u + q_texel;
    let v_texel = p.v.y / 4u + q_texel;
    // The row of query t = 0.
    let to_row = i32(tile.first) - max(seen_from(tile.j), 0);
    for (var block = tile.first; block < tile.end; block += 64u) {
        let first = block + lane * 8u;
        #for c in 0..8
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(q_block, vec2<u32>(q_texel + ${q}u, first + ${c}u), 0);
        let v${c}_${q} = textureLoad(dy_block, vec2<u32>(q_texel + ${q}u, first + ${c}u), 0);
        #end
        let lse${c} = log_sum_exp[select(NONE, (first + ${c}u) * heads + head, first + ${c}u < tile.end)];
        let delta${c} = delta[select(NONE, (first + ${c}u) * heads + head, first + ${c}u < tile.end)];
        #end
        #for j in 0..64
        #for x in 0..X
        let r${j}_${x} = textureLoad(q_block, vec2<u32>(q_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        let h${j}_${x} = textureLoad(dy_block, vec2<u32>(q_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        #end
        #end
        let last = min(tile.j_end, visible(u32(i32(min(block + 64u, tile.end)) - 1 - to_row)));
        for (var j = tile.j; j < last; j++) {
            let key = key_row(j, tile.keys_at, tile.null_row);
            let from_row = to_row + seen_from(j);
            #for x in 0..X
            let a${x} = textureLoad(kv, vec2<u32>(k_texel + ${8*x}u + lane, k_x + key));
            let d${x} = textureLoad(kv, vec2<u32>(v_texel + ${8*x}u + lane, v_x + key));
            #end
            #import attention_scores
            #for c in 0..8
            let seen${c} = i32(first) + ${c} >= from_row && first + ${c}u < tile.end;
            let p${c} = select(0.0, exp(min(s${c} * scale - lse${c}, 80.0)), seen${c});
            #if DROPOUT
            let keep${c} = keep_one(tile.origin + j, tile.origin + first + ${c}u - u32(to_row), tile.sequence,
                                    p.place + head * 65536u, p.key, p.threshold, p.keep);
            let w${c} = p${c} * keep${c};
            let e${c} = select(0.0, p${c} * (g${c} * keep${c} - delta${c}) * scale, seen${c});
            #else
            let w${c} = p${c};
            let e${c} = select(0.0, p${c} * (g${c} - delta${c}) * scale, seen${c});
            #end
            #end
            #for x in 0..X
            var ok${x} = vec4<f32>();
            var ov${x} = vec4<f32>();
            #end
            #for i in 0..64
            let e_${i} = subgroupShuffle(e${i%8}, ${i/8}u);
            let w_${i} = subgroupShuffle(w${i%8}, ${i/8}u);
            #for x in 0..X
            ok${x} += e_${i} * r${i}_${x};
            ov${x} += w_${i} * h${i}_${x};
            #end
            #end
            let k_at = (k_x + key) * out_quads + k_texel + lane * ${X}u;
            let v_at = (v_x + key) * out_quads + v_texel + lane * ${X}u;
            // The first query that attends to the key was in an earlier block: add to what that block stored.
            if max(from_row, to_row) < i32(block) {
                #for x in 0..X
                ok${x} += unquad(dkv[k_at + ${x}u]);
                ov${x} += unquad(dkv[v_at + ${x}u]);
                #end
            }
            #for x in 0..X
            dkv[select(NONE, k_at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(ok${x});
            dkv[select(NONE, v_at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(ov${x});
            #end
        }
    }
}
