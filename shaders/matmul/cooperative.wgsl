// C = A·B, A·Bᵀ or Aᵀ·B (+ the epilogue) on matrix units: operands narrowed to f16, sums in f32.
//
// Tensors, grid, PARTIAL and edges as `matmul_tiled`. A subgroup of 32 invocations has SUB × SUB elements of the tile, in
// fragments of 16 × 16. A step covers 32 values of k: its tiles are fetched into registers while the previous step is
// multiplied, then stored in workgroup memory in f16, both with k as the inner dimension. What is stored in f32 is multiplied
// by a_scale or b_scale, a power of two, and narrowed on the way, as `to_half` does it; A_HALF and B_HALF: that operand is such
// a copy already. The sums are multiplied by c_scale, so that small gradients keep their digits.
// Variant: TILE_M, TILE_N, SUB, A_TRANSPOSED, B_TRANSPOSED, A_HALF, B_HALF, ACCUMULATE, PARTIAL, the epilogue.
enable f16;
enable wgpu_cooperative_matrix;
#import pack
#import narrow
#import epilogue
struct Params {
    m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32,
    // Values of k in a part, a multiple of 32; packs of C in a part.
    part_k: u32, part_packs: u32,
    columns_first: u32, a_scale: f32, b_scale: f32, c_scale: f32,
}
// Two vectors that are loaded at once.
struct Halves8 { a: vec4<f16>, b: vec4<f16> }
@group(0) @binding(0) var<uniform> p: Params;
#if A_HALF
alias A4 = vec4<f16>;
#if A_TRANSPOSED
@group(0) @binding(1) var<storage, read> a: array<vec4<f16>>;
#else
@group(0) @binding(1) var<storage, read> a: array<Halves8>;
#end
fn ready_a(v: vec4<f16>) -> vec4<f16> { return v; }
#else
alias A4 = vec4<f32>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
fn ready_a(v: vec4<f32>) -> vec4<f16> { return narrow(v * p.a_scale); }
#end
#if B_HALF
alias B4 = vec4<f16>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f16>>;
fn ready_b(v: vec4<f16>) -> vec4<f16> { return v; }
#else
alias B4 = vec4<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
fn ready_b(v: vec4<f32>) -> vec4<f16> { return narrow(v * p.b_scale); }
#end
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

// A row of the tiles: 32 values of k, padded by 8; 16 rows, which are a fragment's, padded by 8 once more. Then the stores and
// the loads of fragments below have no bank conflicts.
const STRIDE = 10u;
const FRAGMENT = 162u;
var<workgroup> a_tile: array<vec4<f16>, ${TILE_M/16*162}>;
var<workgroup> b_tile: array<vec4<f16>, ${TILE_N/16*162}>;
// A fragment of each subgroup.
var<workgroup> fragments: array<vec4<f32>, ${GROUP*2}>;

// What an invocation fetches of a tile.
struct FetchedA {
    #for i in 0..8*TILE_M/GROUP
    v${i}: A4,
    #end
}
struct FetchedB {
    #for i in 0..8*TILE_N/GROUP
    v${i}: B4,
    #end
}

// The row of a tile that invocations load together as the `i`-th: neighbors store four rows apart, in other banks.
fn spread(i: u32) -> u32 {
    return (i & ~7u) | ((i & 1u) << 2u) | ((i & 6u) >> 1u);
}
// Where row `row` of a tile is.
fn at_row(row: u32) -> u32 {
    return row / 16u * FRAGMENT + row % 16u * STRIDE;
}

// fetch_NAME and store_NAME of an operand whose rows run along k: vectors that are stored as they are. `row0` is the matrix's
// row of the tile's first, of `rows`; `value` is what row `row` has of the vector `found`. Eight invocations load 128 bytes of
// a row.
#block along_k(name, Fetched, tile, rows, value)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> $Fetched {
    var f: $Fetched;
    #for i in 0..8*$tile/GROUP
    {
        let row = row0 + spread(lane / 8u) + ${i*GROUP/8}u;
        let found = $name[min(row, $rows - 1u) * p.$name_quads + k0 / 4u + lane % 8u];
        f.v${i} = $value;
    }
    #end
    return f;
}
fn store_$name(lane: u32, f: $Fetched) {
    #for i in 0..8*$tile/GROUP
    $name_tile[at_row(spread(lane / 8u) + ${i*GROUP/8}u) + lane % 8u] = ready_$name(f.v${i});
    #end
}
#end

// The same for an operand in f16: eight invocations load 64 bytes of two rows, two vectors each.
#block along_k_half(name, Fetched, tile, rows)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> $Fetched {
    var f: $Fetched;
    #for i in 0..4*$tile/GROUP
    {
        let row = row0 + spread(lane / 4u) + ${i*GROUP/4}u;
        let found = $name[min(row, $rows - 1u) * (p.$name_quads / 2u) + k0 / 8u + lane % 4u];
        f.v${2*i} = found.a;
        f.v${2*i+1} = found.b;
    }
    #end
    return f;
}
fn store_$name(lane: u32, f: $Fetched) {
    #for i in 0..4*$tile/GROUP
    {
        let at = at_row(spread(lane / 4u) + ${i*GROUP/4}u) + lane % 4u * 2u;
        $name_tile[at] = f.v${2*i};
        $name_tile[at + 1u] = f.v${2*i+1};
    }
    #end
}
#end

// The same where k counts the matrix's rows, `rows`: blocks of 4×4, transposed in registers. Eight invocations load vectors of
// a row beside each other, a line of memory. So that their stores, of one column each, fall into other banks, column
// 8g + 4h + j of 16 is kept as row 4g + 2h + j % 2 + 8(j / 2) of its fragment; that of C is found in the same way below.
#block across_k(name, Fetched, Vector, tile, rows)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> $Fetched {
    var f: $Fetched;
    #for i in 0..2*$tile/GROUP
    #for j in 0..4
    {
        let k = k0 + lane / 8u % 8u * 4u + ${j}u;
        let quad = min(row0 / 4u + lane / 64u * 8u + ${i*GROUP/8}u + lane % 8u, p.$name_quads - 1u);
        f.v${4*i+j} = select($Vector(), $name[min(k, $rows - 1u) * p.$name_quads + quad], k < $rows);
    }
    #end
    #end
    return f;
}
fn store_$name(lane: u32, f: $Fetched) {
    let at = (lane / 64u * 2u + lane % 8u / 4u) * FRAGMENT + lane % 4u * ${2*10}u + lane / 8u % 8u;
    #for i in 0..2*$tile/GROUP
    #for j in 0..4
    $name_tile[at + ${i*GROUP/32*162 + (j%2 + j/2*8)*10}u] =
        ready_$name($Vector(f.v${4*i}[${j}], f.v${4*i+1}[${j}], f.v${4*i+2}[${j}], f.v${4*i+3}[${j}]));
    #end
    #end
}
#end

#if A_TRANSPOSED
#paste across_k(a, FetchedA, A4, TILE_M, p.k)
#else
#if A_HALF
#paste along_k_half(a, FetchedA, TILE_M, p.m)
#else
#paste along_k(a, FetchedA, TILE_M, p.m, found)
#end
#end
#if B_TRANSPOSED
#paste along_k(b, FetchedB, TILE_N, p.b_rows, select(B4(), found, row < p.b_rows))
#else
#paste across_k(b, FetchedB, B4, TILE_N, p.b_rows)
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
    var fa: FetchedA;
    var fb: FetchedB;
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
            let b_at${j} = (sub_column / 16u + ${j}u) * FRAGMENT + ${4*q}u;
            let y${j} = coopLoad<coop_mat16x16<f16, B>>(&b_tile[b_at${j}], stride);
            #end
            #for i in 0..SUB/16
            let a_at${i} = (sub_row / 16u + ${i}u) * FRAGMENT + ${4*q}u;
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
    let kept_row = lane % 32u / 2u;
    #if A_TRANSPOSED
    let row_in = (kept_row & 1u) | ((kept_row & 8u) >> 2u) | ((kept_row & 6u) << 1u);
    #else
    let row_in = kept_row;
    #end
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
            #if B_TRANSPOSED
            let found = fragment + kept_row * 4u + pack_in * 2u;
            var value = Floats8(fragments[found] * p.c_scale, fragments[found + 1u] * p.c_scale);
            #else
            let found = fragment + kept_row * 4u + pack_in;
            let v = fragments[found] * p.c_scale;
            let w = fragments[found + 2u] * p.c_scale;
            var value = Floats8(vec4<f32>(v.xy, w.xy), vec4<f32>(v.zw, w.zw));
            #end
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
