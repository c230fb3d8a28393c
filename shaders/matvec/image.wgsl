// C = A·B (+ the epilogue) for few rows, for CPU adapters. B is read once for ROWS rows of A.
//
// A [M, K] and C [M, N] are images. B [K, N] is an image of panels: layer i holds the columns from 64i on, which one group reads
// from end to end. With NORM, the product reads layer norm of A by norms (gain, shift) [2, K]; with KEEP, the groups of the
// first columns also write it to normed [M, K].
// Grid (pitch(N)/64, ⌈M/ROWS⌉). A group is one subgroup of 8, each lane computes 8 columns. A loop step covers 32 values of k,
// distributed over the lanes by one load of A and broadcast by shuffles with constant lanes. Image loads past an edge give 0,
// and image stores past an edge are dropped. Variant: ROWS, NORM, KEEP, the epilogue with EXTRA bindings.
#import pack
#import reduce
#import epilogue
struct Params { m: u32, k: u32, packs: u32, high: u32, eps: f32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d_array<rgba32float, read>;
@group(0) @binding(3) var c: texture_storage_2d<rgba32float, write>;
#import matvec_norm

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let panel = group.x;
    let column = panel * 8u + lane;
    #for r in 0..ROWS
    let row${r} = group.y * ROWS + ${r}u;
    let norm${r} = norm_of(row${r}, panel == 0u, lane);
    #end
    #for r in 0..ROWS
    var sum${r}_0 = vec4<f32>();
    var sum${r}_1 = vec4<f32>();
    #end
    for (var k = 0u; k < p.k; k += 32u) {
        #for r in 0..ROWS
        let x${r} = load_normed(row${r}, k / 4u + lane, norm${r});
        var s${r}_0 = vec4<f32>();
        var s${r}_1 = vec4<f32>();
        #end
        #for q in 0..8
        #for j in 0..4
        let w${q}_${j}_0 = textureLoad(b, vec2<u32>(lane * 2u, k + ${4*q+j}u), panel);
        let w${q}_${j}_1 = textureLoad(b, vec2<u32>(lane * 2u + 1u, k + ${4*q+j}u), panel);
        #for r in 0..ROWS
        let x${r}_${q}_${j} = subgroupShuffle(x${r}[${j}], ${q}u);
        s${r}_0 += x${r}_${q}_${j} * w${q}_${j}_0;
        s${r}_1 += x${r}_${q}_${j} * w${q}_${j}_1;
        #end
        #end
        #end
        #for r in 0..ROWS
        sum${r}_0 += s${r}_0;
        sum${r}_1 += s${r}_1;
        #end
    }
    let kept = epilogue_kept(column);
    #for r in 0..ROWS
    {
        let value = epilogue(texels8(sum${r}_0, sum${r}_1), kept, row${r}, column, p.packs);
        let row = select(0xffffffu, row${r}, row${r} < p.m);
        textureStore(c, vec2<u32>(column * 2u, row), texel0(value));
        textureStore(c, vec2<u32>(column * 2u + 1u, row), texel1(value));
    }
    #end
}
