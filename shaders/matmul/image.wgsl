// C = A·B (+ the epilogue) for CPU adapters: operands are images, and eight lanes form one vector register.
//
// A [M, K] is a storage image, four values of k per texel. B is a sampled image, [K, N], or [N, K] with TRANSPOSED.
// C [M, N] is a buffer of packs. Grid (pitch(N)/64, ⌈M/p.rows_a_group⌉). A group is one subgroup of 8, each lane computes 8
// columns. A block of B of 128 k × 64 columns is loaded into named values before the loop over rows, which the driver turns
// into memory operands; a row of A is distributed over the lanes by four loads and broadcast by shuffles with constant lanes.
//
// One dispatch covers 128 values of k, starting at texel p.texel; all but the first ADD to C, which is read as an image. B may
// be a part of a matrix whose rows are too many for one texture: p.b_row is the row of B where the first k is, or, with
// TRANSPOSED, p.first_pack is the first pack of C that this part computes. Variant: TRANSPOSED, ADD, the epilogue.
#import pack
#import epilogue
struct Params { m: u32, texel: u32, rows_a_group: u32, packs: u32, first_pack: u32, b_row: u32, pad0: u32, pad1: u32 }
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
    let b_pack = group.x * 8u + lane;
    let column = p.first_pack + b_pack;
    let first = group.y * p.rows_a_group;
    let last = min(first + p.rows_a_group, p.m);
    let packs = p.packs;
    let texel = p.texel;
    let kept = epilogue_kept(column);
    #if TRANSPOSED
    #for q in 0..32
    #for j in 0..8
    let b${q}_${j} = textureLoad(b, vec2<u32>(texel + ${q}u, b_pack * 8u + ${j}u), 0);
    #end
    #end
    #else
    #for q in 0..128
    let b${q}_0 = textureLoad(b, vec2<u32>(column * 2u, p.b_row + ${q}u), 0);
    let b${q}_1 = textureLoad(b, vec2<u32>(column * 2u + 1u, p.b_row + ${q}u), 0);
    #end
    #end
    for (var row = first; row < last; row++) {
        #for g in 0..4
        let a${g} = textureLoad(a, vec2<u32>(texel + ${8*g}u + lane, row));
        #end
        #if TRANSPOSED
        #for j in 0..8
        var s${j} = 0.0;
        #end
        #for q in 0..32
        let x${q} = subgroupShuffle(a${q/8}, ${q%8}u);
        #for j in 0..8
        s${j} += x${q}.x * b${q}_${j}.x;
        #end
        #for j in 0..8
        s${j} += x${q}.y * b${q}_${j}.y;
        #end
        #for j in 0..8
        s${j} += x${q}.z * b${q}_${j}.z;
        #end
        #for j in 0..8
        s${j} += x${q}.w * b${q}_${j}.w;
        #end
        #end
        var value = f8(s0, s1, s2, s3, s4, s5, s6, s7);
        #else
        var sa = vec4<f32>();
        var sb = vec4<f32>();
        #for q in 0..32
        let x${q} = subgroupShuffle(a${q/8}, ${q%8}u);
        sa += x${q}.x * b${4*q}_0;
        sb += x${q}.x * b${4*q}_1;
        sa += x${q}.y * b${4*q+1}_0;
        sb += x${q}.y * b${4*q+1}_1;
        sa += x${q}.z * b${4*q+2}_0;
        sb += x${q}.z * b${4*q+2}_1;
        sa += x${q}.w * b${4*q+3}_0;
        sb += x${q}.w * b${4*q+3}_1;
        #end
        var value = f8(sa.x, sa.y, sa.z, sa.w, sb.x, sb.y, sb.z, sb.w);
        #end
        #if ADD
        let before = load_c(row, column, packs);
        value = Floats8(value.a + before.a, value.b + before.b);
        #end
        c[row * packs + column] = pack8(epilogue(value, kept, row, column, packs));
    }
}
