// C = A·B, A·Bᵀ or Aᵀ·B (+ the epilogue) for every GPU: register tiles over workgroup memory.
//
// A [M, K], or [K, M] with A_TRANSPOSED; B [K, N], or [N, K] with B_TRANSPOSED, both in vec4; C [M, N] in packs of 8 columns.
// Grid (⌈M/TILE_M⌉, pitch(N)/64). A group of 2·TILE_M invocations computes TILE_M × 64 elements, an invocation 4 × 8.
// A step covers 16 values of k: its tiles are fetched into registers while the previous step is multiplied, then stored in
// workgroup memory with k as the outer dimension, so that both operands are read as vec4.
// Variant: TILE_M, A_TRANSPOSED, B_TRANSPOSED, ACCUMULATE, the epilogue.
#import pack
#import epilogue
struct Params { m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

const A_QUADS = TILE_M / 4u;
// Rows of workgroup memory are padded by one vec4 to avoid bank conflicts.
var<workgroup> a_tile: array<vec4<f32>, 16u * (TILE_M / 4u + 1u)>;
var<workgroup> b_tile: array<vec4<f32>, 16u * 17u>;

// An operand whose rows run along k is fetched in blocks of 4×4, transposed in registers, and stored as whole vectors by one
// invocation, so that two invocations never write parts of one vector. The first TILE_M invocations fetch A's blocks, the
// next 64 fetch B's.
fn fetch_a_row(row: u32, quad: u32) -> vec4<f32> {
    if row < p.m && quad < p.a_quads { return a[row * p.a_quads + quad]; }
    return vec4<f32>();
}

fn fetch_b_row(column: u32, quad: u32) -> vec4<f32> {
    if column < p.b_rows && quad < p.b_quads { return b[column * p.b_quads + quad]; }
    return vec4<f32>();
}

// Vector `q` of a tile at k0, of an operand whose rows run along m or n. It is stored as it is.
fn fetch_a(q: u32, row0: u32, k0: u32) -> vec4<f32> {
    let k = k0 + q / A_QUADS;
    let quad = row0 / 4u + q % A_QUADS;
    if k < p.k && quad < p.a_quads { return a[k * p.a_quads + quad]; }
    return vec4<f32>();
}

fn fetch_b(q: u32, column0: u32, k0: u32) -> vec4<f32> {
    let k = k0 + q / 16u;
    if k < p.b_rows { return b[k * p.b_quads + column0 / 4u + q % 16u]; }
    return vec4<f32>();
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.x * TILE_M;
    let column0 = group.y * 64u;
    let lane_row = lane / 8u;
    let lane_pack = lane % 8u;
    #for i in 0..4
    var s${i}_0 = vec4<f32>();
    var s${i}_1 = vec4<f32>();
    #end
    let fetches_a = lane < TILE_M;
    let fetches_b = lane >= TILE_M && lane < TILE_M + 64u;
    let a_row = lane / 4u * 4u;
    let b_row = (lane - TILE_M) / 4u * 4u;
    #if A_TRANSPOSED
    var fa0 = fetch_a(lane, row0, 0u);
    var fa1 = fetch_a(lane + GROUP, row0, 0u);
    #else
    #for i in 0..4
    var fa${i} = fetch_a_row(select(0xffffffffu, row0 + a_row + ${i}u, fetches_a), lane % 4u);
    #end
    #end
    #if B_TRANSPOSED
    #for i in 0..4
    var fb${i} = fetch_b_row(select(0xffffffffu, column0 + b_row + ${i}u, fetches_b), lane % 4u);
    #end
    #else
    var fb0 = fetch_b(lane, column0, 0u);
    #if GROUP < 256
    var fb1 = fetch_b(lane + GROUP, column0, 0u);
    #end
    #end
    for (var k0 = 0u; k0 < p.k; k0 += 16u) {
        workgroupBarrier();
        #if A_TRANSPOSED
        a_tile[lane / A_QUADS * (A_QUADS + 1u) + lane % A_QUADS] = fa0;
        a_tile[(lane + GROUP) / A_QUADS * (A_QUADS + 1u) + (lane + GROUP) % A_QUADS] = fa1;
        #else
        if fetches_a {
            #for j in 0..4
            a_tile[(lane % 4u * 4u + ${j}u) * (A_QUADS + 1u) + a_row / 4u] = vec4<f32>(fa0[${j}], fa1[${j}], fa2[${j}], fa3[${j}]);
            #end
        }
        #end
        #if B_TRANSPOSED
        if fetches_b {
            #for j in 0..4
            b_tile[(lane % 4u * 4u + ${j}u) * 17u + b_row / 4u] = vec4<f32>(fb0[${j}], fb1[${j}], fb2[${j}], fb3[${j}]);
            #end
        }
        #else
        b_tile[lane / 16u * 17u + lane % 16u] = fb0;
        #if GROUP < 256
        b_tile[(lane + GROUP) / 16u * 17u + (lane + GROUP) % 16u] = fb1;
        #end
        #end
        workgroupBarrier();
        #if A_TRANSPOSED
        fa0 = fetch_a(lane, row0, k0 + 16u);
        fa1 = fetch_a(lane + GROUP, row0, k0 + 16u);
        #else
        #for i in 0..4
        fa${i} = fetch_a_row(select(0xffffffffu, row0 + a_row + ${i}u, fetches_a), (k0 + 16u) / 4u + lane % 4u);
        #end
        #end
        #if B_TRANSPOSED
        #for i in 0..4
        fb${i} = fetch_b_row(select(0xffffffffu, column0 + b_row + ${i}u, fetches_b), (k0 + 16u) / 4u + lane % 4u);
        #end
        #else
        fb0 = fetch_b(lane, column0, k0 + 16u);
        #if GROUP < 256
        fb1 = fetch_b(lane + GROUP, column0, k0 + 16u);
        #end
        #end
        #for k in 0..16
        {
            let x = a_tile[${k}u * (A_QUADS + 1u) + lane_row];
            let y0 = b_tile[${k*17}u + lane_pack * 2u];
            let y1 = b_tile[${k*17}u + lane_pack * 2u + 1u];
            #for i in 0..4
            s${i}_0 += x[${i}] * y0;
            s${i}_1 += x[${i}] * y1;
            #end
        }
        #end
    }
    let column = group.y * 8u + lane_pack;
    let kept = epilogue_kept(column);
    #for i in 0..4
    {
        let row = row0 + lane_row * 4u + ${i}u;
        if row < p.m {
            var value = Floats8(s${i}_0, s${i}_1);
            #if ACCUMULATE
            let before = unpack8(c[row * p.packs + column]);
            value = Floats8(value.a + before.a, value.b + before.b);
            #end
            c[row * p.packs + column] = pack8(epilogue(value, kept, row, column, p.packs));
        }
    }
    #end
}
