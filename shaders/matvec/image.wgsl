// C = A·B (+ what the epilogue adds) for a few rows, for CPU adapters: B is read once for ROWS rows of A.
//
// A [M, K] an image, C [M, N] an image; B [K, N] an image of panels: layer i holds columns 64i.., which a group reads from
// end to end. With NORM, A is layer norm of what A holds, by `norms` (gain, shift) [2, K], made in passing; with KEEP the
// groups of the first columns write it to `normed` [M, K]. Grid (pitch(N)/64, M / ROWS); a group is one subgroup of 8, each
// lane owns 8 columns; 32 k a turn, spread over the lanes by one load of A and broadcast by constant shuffles.
// Loads past an edge give 0, stores past an edge are left out. Spec: ROWS, NORM, KEEP, epilogue (EXTRA bindings).
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
