// Attention of one query per sequence over the keys and values in its cache, for CPU adapters: y = softmax(q·kᵀ·scale)·v.
//
// qkv [B, 3C], y [B, C] and cache (rows of k | v, 2C floats) are images. spans: (first row, rows, own row, unused) per sequence.
// The keys are `rows` rows of the cache from `first row` on and, with OWN, the token's own key, which is also written to
// `own row` of the cache.
// Grid (B, H). A group is one subgroup of 8: eight keys at a time, one per lane, with a running maximum and sum; then eight
// values, X texels of channels per lane. Image loads past an edge give 0, and image stores past an edge are dropped.
// Variant: DQ = D/4, X = ⌈D/32⌉, OWN.
#import pack
#import reduce
struct Params { columns: u32, pad: u32, scale: f32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var qkv: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read> spans: array<vec4<u32>>;
#if OWN
@group(0) @binding(3) var cache: texture_storage_2d<rgba32float, read_write>;
#else
@group(0) @binding(3) var cache: texture_storage_2d<rgba32float, read>;
#end
@group(0) @binding(4) var y: texture_storage_2d<rgba32float, write>;

// A texel past the edge of every image.
const NONE = 0xffffffu;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let span = spans[group.x];
    let first = span.x;
    let rows = span.y;
    let scale = p.scale;
    let head = group.y * ${DQ}u;
    let across = p.columns / 4u;
    #for x in 0..X
    // This lane's channels: texels lane·X + x of the head.
    let texel${x} = lane * ${X}u + ${x}u;
    let mine${x} = texel${x} < ${DQ}u;
    let q_own${x} = select(vec4<f32>(), textureLoad(qkv, vec2<u32>(head + texel${x}, group.x)), mine${x});
    #end
    #for q in 0..DQ
    let q${q} = subgroupShuffle(q_own${q%X}, ${q/X}u) * scale;
    #end
    #if OWN
    var dots = vec4<f32>();
    #for x in 0..X
    let k_own${x} = select(vec4<f32>(), textureLoad(qkv, vec2<u32>(across + head + texel${x}, group.x)), mine${x});
    let v_own${x} = textureLoad(qkv, vec2<u32>(2u * across + head + texel${x}, group.x));
    textureStore(cache, vec2<u32>(select(NONE, head + texel${x}, mine${x}), span.z), k_own${x});
    textureStore(cache, vec2<u32>(select(NONE, across + head + texel${x}, mine${x}), span.z), v_own${x});
    dots += q_own${x} * k_own${x};
    #end
    var top = group_sum((dots.x + dots.y) + (dots.z + dots.w), lane) * scale;
    var total = 1.0;
    #for x in 0..X
    var sum${x} = v_own${x};
    #end
    #else
    var top = -1.0e30;
    var total = 0.0;
    #for x in 0..X
    var sum${x} = vec4<f32>();
    #end
    #end
    for (var block = 0u; block < rows; block += 8u) {
        let row = first + block;
        var s = vec4<f32>();
        #for q in 0..DQ
        s += q${q} * textureLoad(cache, vec2<u32>(head + ${q}u, row + lane));
        #end
        let real = block + lane < rows;
        let score = select(-1.0e30, (s.x + s.y) + (s.z + s.w), real);
        let best = max(top, group_max(score, lane));
        let weight = select(0.0, exp(score - best), real);
        let shrink = exp(top - best);
        total = total * shrink + group_sum(weight, lane);
        top = best;
        #for x in 0..X
        var turn${x} = sum${x} * shrink;
        #end
        #for j in 0..8
        let w${j} = subgroupShuffle(weight, ${j}u);
        // Rows of the cache past the keys hold arbitrary values and must not be loaded.
        let at${j} = select(NONE, row + ${j}u, block + ${j}u < rows);
        #for x in 0..X
        turn${x} += w${j} * textureLoad(cache, vec2<u32>(across + head + texel${x}, at${j}));
        #end
        #end
        #for x in 0..X
        sum${x} = turn${x};
        #end
    }
    #for x in 0..X
    textureStore(y, vec2<u32>(select(NONE, head + texel${x}, mine${x}), group.x), sum${x} / max(total, 1.0e-30));
    #end
}
