// C = A·B or A·Bᵀ (+ what the epilogue adds) for a few rows: one token, thin shapes.
//
// A [M, K], B [K, N] or [N, K] (B_TRANSPOSED) in vec4, C [M, N] in packs of 8 columns. Grid (M, pitch(N)/64); a group of 64
// makes 64 columns of one row: invocation = pack (8 of them) × slice of K (8), each slice steps through K by 32 floats;
// the slices are added in a fixed order. Spec: B_TRANSPOSED, ACCUMULATE, epilogue.
#import pack
#import epilogue
struct Params { m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

var<workgroup> partial: array<F8, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x;
    let column = group.y * 8u + lane / 8u;
    let slice = lane % 8u;
    var sum = F8();
    for (var quad = slice; quad < (p.k + 3u) / 4u; quad += 8u) {
        let x = a[row * p.a_quads + quad];
#if B_TRANSPOSED
        #for j in 0..4
        if column * 8u + ${j}u < p.b_rows { sum.a[${j}] += dot(x, b[(column * 8u + ${j}u) * p.b_quads + quad]); }
        if column * 8u + ${j+4}u < p.b_rows { sum.b[${j}] += dot(x, b[(column * 8u + ${j+4}u) * p.b_quads + quad]); }
        #end
#end
#if 1-B_TRANSPOSED
        #for j in 0..4
        if quad * 4u + ${j}u < p.b_rows {
            sum.a += x[${j}] * b[(quad * 4u + ${j}u) * p.b_quads + column * 2u];
            sum.b += x[${j}] * b[(quad * 4u + ${j}u) * p.b_quads + column * 2u + 1u];
        }
        #end
#end
    }
    partial[lane] = sum;
    workgroupBarrier();
    if slice == 0u {
        for (var i = 1u; i < 8u; i++) {
            sum = F8(sum.a + partial[lane + i].a, sum.b + partial[lane + i].b);
        }
        #if ACCUMULATE
        let before = unpack8(c[row * p.packs + column]);
        sum = F8(sum.a + before.a, sum.b + before.b);
        #end
        c[row * p.packs + column] = pack8(epilogue(sum, epilogue_kept(column), row, column, p.packs));
    }
}
