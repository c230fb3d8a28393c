// C = A·B or A·Bᵀ (+ the epilogue) for few rows, as when one token is generated. B is read once for ROWS rows of A, in whole
// memory transactions.
//
// A [M, K]; B [K, N], or [N, K] with B_TRANSPOSED, in vec4; C [M, N] in packs of 8 columns. With NORM, the product reads layer
// norm of A by gain and shift [K]; with KEEP, the groups of the first columns also write it to normed [M, K].
// Grid (pitch(N)/8/PACKS, ⌈M/ROWS⌉). A group of GROUP invocations computes PACKS packs of ROWS rows: an invocation sums one
// pack over its slice of K, neighboring invocations read neighboring parts of a row of B, and the slices are added in a fixed
// tree. Variant: GROUP, PACKS, ROWS, B_TRANSPOSED, ACCUMULATE, NORM, KEEP, the epilogue with EXTRA bindings.
#import pack
#import epilogue
#if NORM
#import reduce
#end
struct Params { m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32, eps: f32, pad: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;
#if NORM
@group(0) @binding(${4+EXTRA}) var<storage, read> gain: array<vec4<f32>>;
@group(0) @binding(${5+EXTRA}) var<storage, read> shift: array<vec4<f32>>;
#end
#if KEEP
@group(0) @binding(${6+EXTRA}) var<storage, read_write> normed: array<vec4<f32>>;
#end

var<workgroup> partial: array<Floats8, GROUP>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let quads = (p.k + 3u) / 4u;
    #if B_TRANSPOSED
    let slice = lane % ${GROUP/PACKS}u;
    let pack = lane / ${GROUP/PACKS}u;
    #else
    let slice = lane / PACKS;
    let pack = lane % PACKS;
    #end
    let column = group.x * PACKS + pack;
    #for r in 0..ROWS
    // A row past the last one repeats the last one and is not stored.
    let row${r} = min(group.y * ROWS + ${r}u, p.m - 1u);
    var sum${r} = Floats8();
    #if NORM
    var total${r} = vec4<f32>();
    for (var quad = lane; quad < quads; quad += GROUP) { total${r} += a[row${r} * p.a_quads + quad]; }
    let mean${r} = group_sum(total${r}.x + total${r}.y + total${r}.z + total${r}.w, lane) / f32(p.k);
    total${r} = vec4<f32>();
    for (var quad = lane; quad < quads; quad += GROUP) {
        let real = quad * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.k);
        let d = select(vec4<f32>(), a[row${r} * p.a_quads + quad] - mean${r}, real);
        total${r} += d * d;
    }
    let variance${r} = group_sum(total${r}.x + total${r}.y + total${r}.z + total${r}.w, lane) / f32(p.k);
    let rstd${r} = 1.0 / sqrt(variance${r} + p.eps);
    #if KEEP
    if group.x == 0u {
        for (var quad = lane; quad < p.a_quads; quad += GROUP) {
            normed[row${r} * p.a_quads + quad] =
                (a[row${r} * p.a_quads + quad] - mean${r}) * rstd${r} * gain[quad] + shift[quad];
        }
    }
    #end
    #end
    #end
    for (var quad = slice; quad < quads; quad += ${GROUP/PACKS}u) {
        #for r in 0..ROWS
        var x${r} = a[row${r} * p.a_quads + quad];
        #if NORM
        x${r} = (x${r} - mean${r}) * rstd${r} * gain[quad] + shift[quad];
        #end
        #end
        #if B_TRANSPOSED
        #for j in 0..8
        let w${j} = b[min(column * 8u + ${j}u, p.b_rows - 1u) * p.b_quads + quad];
        #end
        #for r in 0..ROWS
        sum${r}.a += vec4<f32>(dot(x${r}, w0), dot(x${r}, w1), dot(x${r}, w2), dot(x${r}, w3));
        sum${r}.b += vec4<f32>(dot(x${r}, w4), dot(x${r}, w5), dot(x${r}, w6), dot(x${r}, w7));
        #end
        #else
        // A's padding is zero, so a row of B past the last one may repeat the last one.
        #for j in 0..4
        let at${j} = min(quad * 4u + ${j}u, p.b_rows - 1u) * p.b_quads + column * 2u;
        let w${j} = b[at${j}];
        let v${j} = b[at${j} + 1u];
        #end
        #for r in 0..ROWS
        #for j in 0..4
        sum${r}.a += x${r}[${j}] * w${j};
        sum${r}.b += x${r}[${j}] * v${j};
        #end
        #end
        #end
    }
    let slot = slice * PACKS + pack;
    #for r in 0..ROWS
    workgroupBarrier();
    partial[slot] = sum${r};
    for (var width = ${GROUP/PACKS/2}u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if slice < width {
            let other = partial[slot + width * PACKS];
            partial[slot] = Floats8(partial[slot].a + other.a, partial[slot].b + other.b);
        }
    }
    if slice == 0u && group.y * ROWS + ${r}u < p.m {
        var value = partial[slot];
        #if B_TRANSPOSED
        let at = column * 8u;
        value = Floats8(select(vec4<f32>(), value.a, at + PACK_A < vec4<u32>(p.b_rows)),
                   select(vec4<f32>(), value.b, at + PACK_B < vec4<u32>(p.b_rows)));
        #end
        #if ACCUMULATE
        let before = unpack8(c[row${r} * p.packs + column]);
        value = Floats8(value.a + before.a, value.b + before.b);
        #end
        c[row${r} * p.packs + column] = pack8(epilogue(value, epilogue_kept(column), row${r}, column, p.packs));
    }
    #end
}
