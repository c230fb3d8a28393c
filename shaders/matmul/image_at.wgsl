// C = Aᵀ·B, or C += Aᵀ·B with ADD, for CPU adapters: operands are images, and eight lanes form one vector register.
//
// A [K, M] is a storage image, four values of m per texel. B [K, N] is a sampled image. C [M, N] is a buffer of packs.
// K = p.depth is live. Grid (pitch(N)/64, ⌈M/p.rows_a_group⌉). A group is one subgroup of 8, each lane computes 8 columns.
// A block of B of 128 k × 64 columns is loaded into named values, as in image.wgsl. Sixteen loads hold 128 values of k for four
// rows of C, k = 8i + lane; the inner loop takes one of the four components, and shuffles with constant lanes broadcast it.
//
// One dispatch covers 128 values of k, starting at p.k0; all but the first ADD to C, which is read as an image. C may be a part
// of a matrix whose rows are too many for one texture: it starts at texel p.a_texel of A's rows.
#import pack
struct Params { m: u32, k0: u32, depth: u32, rows_a_group: u32, packs: u32, a_texel: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_2d<f32>;
#if ADD
#update 3 c 9
#else
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;
#end

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 8u + lane;
    let first = group.y * p.rows_a_group;
    let last = min(first + p.rows_a_group, p.m);
    let packs = p.packs;
    let k0 = p.k0;
    let depth = p.depth;
    let a_texel = p.a_texel;
    #for q in 0..128
    let b${q}_0 = textureLoad(b, vec2<u32>(column * 2u, k0 + ${q}u), 0);
    let b${q}_1 = textureLoad(b, vec2<u32>(column * 2u + 1u, k0 + ${q}u), 0);
    #end
    for (var quad = first; quad < last; quad += 4u) {
        #for i in 0..16
        let a${i} = select(vec4<f32>(), textureLoad(a, vec2<u32>(a_texel + quad / 4u, k0 + ${8*i}u + lane)), k0 + ${8*i}u + lane < depth);
        #end
        for (var j = 0u; j < 4u; j++) {
            let odd = (j & 1u) == 1u;
            let high = j >= 2u;
            var sa = vec4<f32>();
            var sb = vec4<f32>();
            #for i in 0..16
            let y${i} = select(select(a${i}.x, a${i}.y, odd), select(a${i}.z, a${i}.w, odd), high);
            #for l in 0..8
            let x${8*i+l} = subgroupShuffle(y${i}, ${l}u);
            sa += x${8*i+l} * b${8*i+l}_0;
            sb += x${8*i+l} * b${8*i+l}_1;
            #end
            #end
            let row = quad + j;
            var value = f8(sa.x, sa.y, sa.z, sa.w, sb.x, sb.y, sb.z, sb.w);
            #if ADD
            let before = load_c(row, column, packs);
            value = Floats8(value.a + before.a, value.b + before.b);
            #end
            // Rows past the last are stored past the end of the buffer, which drops them: see Variant::relies_on_robust_access.
            c[select(0x3ffffffu, row * packs + column, row < last)] = pack8(value);
        }
    }
}
