// Causal attention, forward, for CPU adapters: y = softmax(q·kᵀ·scale)·v within a run, and its log-sum-exp ℓ [N, H].
//
// qkv [N, 3C] an image, a texel is four channels; y [N, C] quads. tiles of the table: (first row, end, run's first, run's end) of at most
// 64 queries. Grid (tiles, H), a group is one subgroup of 8. A block of 64 keys is held in named values: its K with eight
// keys a lane, its V with X texels of channels a lane; then a loop over the tile's queries. Blocks after the first are
// merged with what y and ℓ hold. Spec: DQ = D/4, X = ⌈D/32⌉, DROPOUT.
#import quad_u64
#import reduce
#import dropout_words
#import attention_params
@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var qkv_block: texture_2d<f32>;
@group(0) @binding(3) var<storage, read> table: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<Quad>;
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;

// An index past the end of every buffer: robust access drops the store.
const NONE = 0x0fffffffu;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(group.x);
    let head = group.y;
    let heads = p.heads;
    let y_quads = p.y_pitch / 4u;
    let scale = p.scale;
    let q_texel = head * ${DQ}u;
    let k_texel = p.columns / 4u + q_texel;
    let v_texel = p.columns / 2u + q_texel;
    for (var block = tile.z; block < tile.y; block += 64u) {
        #for c in 0..8
        #for q in 0..DQ
        let k${c}_${q} = textureLoad(qkv_block, vec2<u32>(k_texel + ${q}u, block + lane * 8u + ${c}u), 0);
        #end
        #end
        #for j in 0..64
        #for x in 0..X
        let v${j}_${x} = textureLoad(qkv_block, vec2<u32>(v_texel + lane * ${X}u + ${x}u, block + ${j}u), 0);
        #end
        #end
        let merge = block > tile.z;
        for (var row = max(tile.x, block); row < tile.y; row++) {
            #for x in 0..X
            let a${x} = textureLoad(qkv, vec2<u32>(q_texel + ${8*x}u + lane, row));
            #end
            #for c in 0..8
            var s${c} = 0.0;
            #end
            #for q in 0..DQ
            let b${q} = subgroupShuffle(a${q/8}, ${q%8}u);
            #for c in 0..8
            s${c} += b${q}.x * k${c}_${q}.x;
            #end
            #for c in 0..8
            s${c} += b${q}.y * k${c}_${q}.y;
            #end
            #for c in 0..8
            s${c} += b${q}.z * k${c}_${q}.z;
            #end
            #for c in 0..8
            s${c} += b${q}.w * k${c}_${q}.w;
            #end
            #end
            let first = block + lane * 8u;
            #for c in 0..8
            let t${c} = select(-1.0e30, s${c} * scale, first + ${c}u <= row);
            #end
            let top = group_max(max(max(max(t0, t1), max(t2, t3)), max(max(t4, t5), max(t6, t7))), lane);
            #for c in 0..8
            let e${c} = select(0.0, exp(t${c} - top), first + ${c}u <= row);
            #end
            let total = group_sum(((e0 + e1) + (e2 + e3)) + ((e4 + e5) + (e6 + e7)), lane);
#if DROPOUT
            let keep = keep8(position_of(tile.z) + first - tile.z, position_of(row), sequence_of(row),
                             p.place + head * 65536u, p.key, p.threshold, p.keep);
            #for c in 0..4
            let w${c} = e${c} * keep.a[${c}];
            let w${c+4} = e${c+4} * keep.b[${c}];
            #end
#end
#if 1-DROPOUT
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
