// C = A·Bᵀ (+ the epilogue) for few rows, for CPU adapters. B is read once for ROWS rows of A.
//
// A [M, K] is an image; B [N, K] is an image in layers of p.high rows; C [M, N] is a buffer of packs. NORM and KEEP as in
// image.wgsl. Grid (pitch(N)/64, ⌈M/ROWS⌉). A group is one subgroup of 8 and computes 64 columns, eight at a time: the lanes
// share the rows of B, read eight rows side by side, and lane i keeps the sums of step i. Image loads past an edge give 0; rows
// past the last are stored past the end of the buffer, which drops them.
// Variant: ROWS, NORM, KEEP, the epilogue with EXTRA bindings.
#import pack
#import reduce
#import epilogue
struct Params { m: u32, k: u32, packs: u32, high: u32, eps: f32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var b: texture_storage_2d_array<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;
#import matvec_norm

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 8u + lane;
    let layer = group.x * 64u / p.high;
    let first = group.x * 64u % p.high;
    #for r in 0..ROWS
    let row${r} = group.y * ROWS + ${r}u;
    let norm${r} = norm_of(row${r}, group.x == 0u, lane);
    #for j in 0..8
    var out${r}_${j} = 0.0;
    #end
    #end
    for (var turn = 0u; turn < 8u; turn++) {
        let at = first + turn * 8u;
        #for r in 0..ROWS
        #for j in 0..8
        var sum${r}_${j} = vec4<f32>();
        #end
        #end
        for (var texel = 0u; texel * 4u < p.k; texel += 8u) {
            #for r in 0..ROWS
            let x${r} = load_normed(row${r}, texel + lane, norm${r});
            #end
            #for j in 0..8
            let w${j} = textureLoad(b, vec2<u32>(texel + lane, at + ${j}u), layer);
            #for r in 0..ROWS
            sum${r}_${j} += x${r} * w${j};
            #end
            #end
        }
        #for r in 0..ROWS
        #for j in 0..8
        let all${r}_${j} = group_sum((sum${r}_${j}.x + sum${r}_${j}.y) + (sum${r}_${j}.z + sum${r}_${j}.w), lane);
        out${r}_${j} = select(out${r}_${j}, all${r}_${j}, turn == lane);
        #end
        #end
    }
    let kept = epilogue_kept(column);
    #for r in 0..ROWS
    {
        let sums = f8(out${r}_0, out${r}_1, out${r}_2, out${r}_3, out${r}_4, out${r}_5, out${r}_6, out${r}_7);
        // Rows past the last are stored past the end of the buffer, which drops them: see Variant::relies_on_robust_access.
        let value = epilogue(sums, kept, row${r}, column, p.packs);
        c[select(0x3ffffffu, row${r} * p.packs + column, row${r} < p.m)] = pack8(value);
    }
    #end
}
