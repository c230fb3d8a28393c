// Causal attention, gradient of q, for CPU adapters: dq = scale·Σ dS·k, with dS = p∘(m∘(dy·vᵀ) - δ), p = exp(q·kᵀ·scale - ℓ),
// the dropout mask m, and δ [N, H] = Σ_d dy∘y, which backward_kv_image reads.
//
// Shapes, grid and variants as forward_image. The block of 64 keys is held as K and V with eight keys per lane, and as K with X
// texels of channels per lane. dq has the pitch of the queries.
#import attention_image
@group(0) @binding(1) var queries: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var kv_block: texture_2d<f32>;
@group(0) @binding(3) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var<storage, read> table: array<u32>;
@group(0) @binding(6) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> dq: array<Quad>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = query_tile(group.x);
    let head = group.y;
    let heads = p.heads;
    let out_quads = p.q_pitch / 4u;
    let scale = p.scale;
    let q_texel = head * ${DQ}u;
    let k_texel = p.k.y / 4u + q_texel;
    let v_texel = p.v.y / 4u + q_texel;
    let to_row = i32(tile.first) - i32(tile.t);
    for (var block = 0u; block < tile.keys; block += 64u) {
        #for c in 0..8
        let row${c} = key_row(block + lane * 8u + ${c}u, tile.keys_at, tile.null_row);
        let from${c} = to_row + seen_from(block + lane * 8u + ${c}u);
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(kv_block, vec2<u32>(k_texel + ${q}u, p.k.x + row${c}), 0);
        let v${c}_${q} = textureLoad(kv_block, vec2<u32>(v_texel + ${q}u, p.v.x + row${c}), 0);
        #end
        #end
        #for j in 0..64
        let k_row${j} = p.k.x + key_row(block + ${j}u, tile.keys_at, tile.null_row);
        #for x in 0..X
        let r${j}_${x} = textureLoad(kv_block, vec2<u32>(k_texel + lane * ${X}u + ${x}u, k_row${j}), 0);
        #end
        #end
        let merge = block > 0u;
        let start = max(to_row + seen_from(block), i32(tile.first));
        for (var row = u32(start); row < tile.end; row++) {
            var product = 0.0;
            #for x in 0..X
            let a${x} = textureLoad(queries, vec2<u32>(q_texel + ${8*x}u + lane, row));
            let d${x} = textureLoad(dy, vec2<u32>(q_texel + ${8*x}u + lane, row));
            let z${x} = textureLoad(y, vec2<u32>(q_texel + ${8*x}u + lane, row));
            product += select(0.0, dot(d${x}, z${x}), ${8*x}u + lane < ${DQ}u);
            #end
            let row_delta = group_sum(product, lane);
            let lse = log_sum_exp[row * heads + head];
            #import attention_scores
            #if DROPOUT
            let keep = keep8(tile.origin + block + lane * 8u, tile.origin + row - u32(to_row), tile.sequence,
                             p.place + head * 65536u, p.key, p.threshold, p.keep);
            #for c in 0..4
            g${c} *= keep.a[${c}];
            g${c+4} *= keep.b[${c}];
            #end
            #end
            #for c in 0..8
            let e${c} = select(0.0, exp(min(s${c} * scale - lse, 80.0)) * (g${c} - row_delta) * scale, from${c} <= i32(row));
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
                o${x} += unquad(dq[at + ${x}u]);
                #end
            }
            #for x in 0..X
            dq[select(NONE, at + ${x}u, lane * ${X}u + ${x}u < ${DQ}u)] = quad(o${x});
            #end
            delta[select(NONE, row * heads + head, lane == 0u)] = row_delta;
        }
    }
}
