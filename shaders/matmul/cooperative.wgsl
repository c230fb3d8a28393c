// C = A·B, A·Bᵀ or Aᵀ·B (+ the epilogue) on matrix units: operands narrowed to f16, sums in f32.
//
// Tensors, grid, PARTIAL and edges as `matmul_tiled`. A subgroup of 32 invocations has SUB × SUB elements of the tile, in
// fragments of 16 × 16. A step covers 32 values of k: its tiles are fetched into registers while the previous step is
// multiplied, then narrowed and stored in workgroup memory, both with k as the inner dimension. Numbers are multiplied by
// a_scale and b_scale, powers of two, on the way to f16, and the sums by c_scale, so that small gradients keep their digits.
// What exceeds the range of f16 becomes its largest number.
// Variant: TILE_M, TILE_N, SUB, A_TRANSPOSED, B_TRANSPOSED, ACCUMULATE, PARTIAL, the epilogue.
enable f16;
enable wgpu_cooperative_matrix;
#import pack
#import epilogue
struct Params {
    m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32,
    // Values of k in a part, a multiple of 32; packs of C in a part.
    part_k: u32, part_packs: u32,
    columns_first: u32, a_scale: f32, b_scale: f32, c_scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

// Rows of 32 values of k, padded by 8 to avoid bank conflicts: vectors of a row.
const STRIDE = 10u;
var<workgroup> a_tile: array<vec4<f16>, ${TILE_M*10}>;
var<workgroup> b_tile: array<vec4<f16>, ${TILE_N*10}>;
// A fragment of each subgroup.
var<workgroup> fragments: array<vec4<f32>, ${GROUP*2}>;

fn narrow(v: vec4<f32>) -> vec4<f16> {
    // Not a number stays so.
    return vec4<f16>(select(v, clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)), abs(v) > vec4<f32>(65504.0)));
}

// What an invocation fetches of a tile.
struct Fetched {
    #for i in 0..8
    v${i}: vec4<f32>,
    #end
}

// fetch_NAME and store_NAME of an operand whose rows run along k: vectors that are stored as they are. `row0` is the matrix's
// row of the tile's first, of `rows`; `value` is what row `row` has of the vector `found`.
#block along_k(name, tile, rows, value)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> Fetched {
    var f: Fetched;
    #for i in 0..8*$tile/GROUP
    {
        let row = row0 + (lane + ${i}u * GROUP) / 8u;
        let found = $name[min(row, $rows - 1u) * p.$name_quads + k0 / 4u + lane % 8u];
        f.v${i} = $value;
    }
    #end
    return f;
}
fn store_$name(lane: u32, f: Fetched) {
    #for i in 0..8*$tile/GROUP
    $name_tile[(lane + ${i}u * GROUP) / 8u * STRIDE + lane % 8u] = narrow(f.v${i} * p.$name_scale);
    #end
}
#end

// The same where k counts the matrix's rows, `rows`: blocks of 4×4, transposed in registers.
#block across_k(name, tile, rows)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> Fetched {
    var f: Fetched;
    #for i in 0..2*$tile/GROUP
    #for j in 0..4
    {
        let k = k0 + lane % 8u * 4u + ${j}u;
        let quad = min(row0 / 4u + (lane + ${i}u * GROUP) / 8u, p.$name_quads - 1u);
        f.v${4*i+j} = select(vec4<f32>(), $name[min(k, $rows - 1u) * p.$name_quads + quad], k < $rows);
    }
    #end
    #end
    return f;
}
fn store_$name(lane: u32, f: Fetched) {
    #for i in 0..2*$tile/GROUP
    #for j in 0..4
    $name_tile[((lane + ${i}u * GROUP) / 8u * 4u + ${j}u) * STRIDE + lane % 8u] =
        narrow(vec4<f32>(f.v${4*i}[${j}], f.v${4*i+1}[${j}], f.v${4*i+2}[${j}], f.v${4*i+3}[${j}]) * p.$name_scale);
    #end
    #end
}
#end

#if A_TRANSPOSED
#paste across_k(a, TILE_M, p.k)
#else
#paste along_k(a, TILE_M, p.m, found)
#end
#if B_TRANSPOSED
#paste along_k(b, TILE_N, p.b_rows, select(vec4<f32>(), found, row < p.b_rows))
#else
#paste across_k(b, TILE_N, p.b_rows)
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = select(group.yx, group.xy, p.columns_first != 0u);
    let row0 = tile.y * TILE_M;
    let column0 = tile.x * TILE_N;
    let subgroup = lane / 32u;
    let sub_row = subgroup / ${TILE_N/SUB}u * SUB;
    let sub_column = subgroup % ${TILE_N/SUB}u * SUB;
    let k_end = min((group.z + 1u) * p.part_k, p.k);
    var k0 = group.z * p.part_k;
    // Strides have to be names, and fragments variables of their own, not arrays.
    let stride = STRIDE;
    let fragment_stride = 4u;
    #for i in 0..SUB/16
    #for j in 0..SUB/16
    var s${i}_${j}: coop_mat16x16<f32, C>;
    #end
    #end
    var fa: Fetched;
    var fb: Fetched;
    if k0 < k_end {
        fa = fetch_a(lane, row0, k0);
        fb = fetch_b(lane, column0, k0);
    }
    while k0 < k_end {
        workgroupBarrier();
        store_a(lane, fa);
        store_b(lane, fb);
        workgroupBarrier();
        k0 += 32u;
        if k0 < k_end {
            fa = fetch_a(lane, row0, k0);
            fb = fetch_b(lane, column0, k0);
        }
        #for q in 0..2
        {
            #for j in 0..SUB/16
            let b_at${j} = (sub_column + ${16*j}u) * STRIDE + ${4*q}u;
            let y${j} = coopLoad<coop_mat16x16<f16, B>>(&b_tile[b_at${j}], stride);
            #end
            #for i in 0..SUB/16
            let a_at${i} = (sub_row + ${16*i}u) * STRIDE + ${4*q}u;
            let x${i} = coopLoadT<coop_mat16x16<f16, A>>(&a_tile[a_at${i}], stride);
            #for j in 0..SUB/16
            s${i}_${j} = coopMultiplyAdd(x${i}, y${j}, s${i}_${j});
            #end
            #end
        }
        #end
    }
    // A fragment is opaque: through workgroup memory, each invocation gets one pack of it.
    let fragment = subgroup * 64u;
    let row_in = lane % 32u / 2u;
    let pack_in = lane % 2u;
    #for i in 0..SUB/16
    #for j in 0..SUB/16
    {
        coopStoreT(s${i}_${j}, &fragments[fragment], fragment_stride);
        workgroupBarrier();
        let row = row0 + sub_row + ${16*i}u + row_in;
        let column = (column0 + sub_column) / 8u + ${2*j}u + pack_in;
        if row < p.m && column < p.packs {
            let at = row * p.packs + column;
            let found = fragment + row_in * 4u + pack_in * 2u;
            var value = Floats8(fragments[found] * p.c_scale, fragments[found + 1u] * p.c_scale);
            #if PARTIAL
            c[group.z * p.part_packs + at] = pack8(value);
            #else
            #if ACCUMULATE
            let before = unpack8(c[at]);
            value = Floats8(value.a + before.a, value.b + before.b);
            #end
            c[at] = pack8(epilogue(value, epilogue_kept(column), row, column, p.packs));
            #end
        }
        workgroupBarrier();
    }
    #end
    #end
}
