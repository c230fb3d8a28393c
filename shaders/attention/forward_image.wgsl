// Causal attention, forward, for CPU adapters: y = softmax(q·kᵀ·scale)·v over the keys that a query attends to, and the
// log-sum-exp ℓ [N, H] of its scores.
//
// queries and kv are images; y [N, C] is a buffer of four channels per element. Grid (tiles, H). A block of 64 keys is held in
// named values: K with eight keys per lane, V with X texels of channels per lane. A loop runs over the queries of the tile that
// attend to one of the keys. From the second block on, the result is merged with what y and ℓ hold.
// Variant: DQ = D/4, X = ⌈D/32⌉, DROPOUT.
#import attention_image
@group(0) @binding(1) var queries: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var kv_block: texture_2d<f32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<Quad>;
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = query_tile(group.x);
    let head = group.y;
    let heads = p.heads;
    let y_quads = p.y_pitch / 4u;
    let scale = p.scale;
    let q_texel = head * ${DQ}u;
    let k_texel = p.k.y / 4u + q_texel;
    let v_texel = p.v.y / 4u + q_texel;
    let to_row = i32(tile.first) - i32(tile.t);
    for (var block = 0u; block < tile.keys; block += 64u) {
        #for c in 0..8
        let row${c} = p.k.x + key_row(block + lane * 8u + ${c}u, tile.keys_at, tile.null_row);
        let from${c} = to_row + seen_from(block + lane * 8u + ${c}u);
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(kv_block, vec2<u32>(k_texel + ${q}u, row${c}), 0);
        #end
        #end
        #for j in 0..64
        let v_row${j} = p.v.x + key_row(block + ${j}u, tile.keys_at, tile.null_row);
        #for x in 0..X
        let v${j}_${x} = textureLoad(kv_block, vec2<u32>(v_texel + lane * ${X}u + ${x}u, v_row${j}), 0);
        #end
        #end
        let merge = block > 0u;
        let start = max(to_row + seen_from(block), i32(tile.first));
        for (var row = u32(start); row < tile.end; row++) {
            #for x in 0..X
            let a${x} = textureLoad(queries, vec2<u32>(q_texel + ${8*x}u + lane, row));
            #end
            #import attention_scores
            #for c in 0..8
            let t${c} = select(-1.0e30, s${c} * scale, from${c} <= i32(row));
            #end
            let top = group_max(max(max(max(t0, t1), max(t2, t3)), max(max(t4, t5), max(t6, t7))), lane);
            #for c in 0..8
            let e${c} = select(0.0, exp(t${c} - top), from${c} <= i32(row));
            #end
            let total = group_sum(((e0 + e1) + (e2 + e3)) + ((e4 + e5) + (e6 + e7)), lane);
            #if DROPOUT
            let keep = keep8(tile.origin + block + lane * 8u, tile.origin + row - u32(to_row), tile.sequence,
                             p.place + head * 65536u, p.key, p.threshold, p.keep);
            #for c in 0..4
            let w${c} = e${c} * keep.a[${c}];
            let w${c+4} = e${c+4} * keep.b[${c}];
            #end
            #else
            #for c in 0..8
            let w${c} = e${c};
            #end
            #end
            #for x in 0..X
            var o${x} = vec4<f32>();
            #end
            #for j in 0..64
            let w_${j} = subgroupShuffle(w${j%8}, ${j/8}u);
            #for x in 0..X
            o${x} += w_${j} * v${j}_${x};
            #end
            #end
            let at = row * y_quads + q_texel + lane * ${X}u;
            var sum = top + log(total);
            var new_share = 1.0 / total;
            var old_share = 0.0;
            #for x in 0..X
            var old${x} = vec4<f32>();
            #end
            if merge {
                let before = log_sum_exp[row * heads + head];
                let both = max(before, sum) + log(1.0 + exp(-abs(before - sum)));
                old_share = exp(before - both);
                new_share *= exp(sum - both);
                sum = both;
                #for x in 0..X
                old${x} = unquad(y[at + ${x}u]);
                #end
            }
            #for x in 0..X
            y[select(NONE, at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(old${x} * old_share + o${x} * new_share);
            #end
            log_sum_exp[select(NONE, row * heads + head, lane == 0u)] = sum;
        }
    }
}
