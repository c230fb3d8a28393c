// C = A·B, A·Bᵀ or Aᵀ·B (+ the epilogue) for every GPU: register tiles over workgroup memory.
//
// A [M, K], or [K, M] with A_TRANSPOSED; B [K, N], or [N, K] with B_TRANSPOSED, both in vec4; C [M, N] in packs of 8 columns.
// Tiles of TILE_M × TILE_N elements, ROWS × 8 an invocation. Grid (⌈pitch(N)/TILE_N⌉, ⌈M/TILE_M⌉, parts of K), x and y swapped
// unless p.columns_first. With PARTIAL, each part of K has its own C, one after another, which `matmul_sum` adds up.
// A step covers 16 values of k: its tiles are fetched into registers while the previous step is multiplied, then stored in
// workgroup memory with k as the outer dimension, so that both operands are read as vec4. Rows of A past M and vectors past
// the pitch are read from inside the matrix instead: what they add up to is not stored.
// Variant: TILE_M, TILE_N, ROWS, A_TRANSPOSED, B_TRANSPOSED, ACCUMULATE, PARTIAL, LOOP (over the values of k of a step, four at a
// time), the epilogue.
#import pack
#import epilogue
struct Params {
    m: u32, k: u32, packs: u32, a_quads: u32, b_quads: u32, b_rows: u32,
    // Values of k in a part, a multiple of 16; packs of C in a part.
    part_k: u32, part_packs: u32,
    columns_first: u32, pad0: u32, pad1: u32, pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<Pack>;

// Rows of workgroup memory are padded by one vec4 to avoid bank conflicts. Those of B hold the first halves of all packs, then
// the second halves, so that neighboring invocations read neighboring vectors.
const A_QUADS = ${TILE_M/4}u;
const B_QUADS = ${TILE_N/4}u;
const A_STRIDE = A_QUADS + 1u;
const B_STRIDE = B_QUADS + 1u;
var<workgroup> a_tile: array<vec4<f32>, ${16*(TILE_M/4+1)}>;
var<workgroup> b_tile: array<vec4<f32>, ${16*(TILE_N/4+1)}>;

// What an invocation fetches of a tile: four vectors at most.
struct Fetched { v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32> }

// fetch_NAME and store_NAME of an operand whose rows run along the tile: vectors that are stored as they are, where `place` says.
// SIDE: the prefix of its constants; `column0`: the tile's first column in the matrix; `depth`: rows of k that it has.
#block across_k(name, SIDE, tile, depth, place)
fn fetch_$name(lane: u32, column0: u32, k0: u32) -> Fetched {
    var f: Fetched;
    #for i in 0..4*$tile/GROUP
    {
        let q = lane + ${i}u * GROUP;
        let k = k0 + q / $SIDE_QUADS;
        let quad = min(column0 / 4u + q % $SIDE_QUADS, p.$name_quads - 1u);
        f.v${i} = select(vec4<f32>(), $name[min(k, $depth - 1u) * p.$name_quads + quad], k < $depth);
    }
    #end
    return f;
}
fn store_$name(lane: u32, f: Fetched) {
    #for i in 0..4*$tile/GROUP
    {
        let q = lane + ${i}u * GROUP;
        let quad = q % $SIDE_QUADS;
        $name_tile[q / $SIDE_QUADS * $SIDE_STRIDE + $place] = f.v${i};
    }
    #end
}
#end

// The same for an operand whose rows run along k: blocks of 4×4, transposed in registers and stored as whole vectors by one
// invocation, so that two invocations never write parts of one vector. `first`: the invocation of the first block; `row0`: the
// matrix's row of the tile's first, of `rows`; `value`: what row `row` has of the vector `found`.
#block along_k(name, SIDE, tile, first, rows, value, place)
fn fetch_$name(lane: u32, row0: u32, k0: u32) -> Fetched {
    var f: Fetched;
    if lane - $first < $tile {
        #for i in 0..4
        {
            let row = row0 + (lane - $first) / 4u * 4u + ${i}u;
            let found = $name[min(row, $rows - 1u) * p.$name_quads + k0 / 4u + lane % 4u];
            f.v${i} = $value;
        }
        #end
    }
    return f;
}
fn store_$name(lane: u32, f: Fetched) {
    if lane - $first < $tile {
        let quad = (lane - $first) / 4u;
        #for j in 0..4
        $name_tile[(lane % 4u * 4u + ${j}u) * $SIDE_STRIDE + $place] = vec4<f32>(f.v0[${j}], f.v1[${j}], f.v2[${j}], f.v3[${j}]);
        #end
    }
}
#end

#if A_TRANSPOSED
#paste across_k(a, A, TILE_M, p.k, quad)
#else
#paste along_k(a, A, TILE_M, 0u, p.m, found, quad)
#end

// Where the vector `quad` of a row of B's tile is.
fn b_place(quad: u32) -> u32 { return quad % 2u * ${TILE_N/8}u + quad / 2u; }

#if B_TRANSPOSED
// By the invocations that fetch none of A, where there are enough.
#if GROUP >= TILE_M+TILE_N
const FIRST_B = TILE_M;
#else
const FIRST_B = 0u;
#end
#paste along_k(b, B, TILE_N, FIRST_B, p.b_rows, select(vec4<f32>(), found, row < p.b_rows), b_place(quad))
#else
#paste across_k(b, B, TILE_N, p.b_rows, b_place(quad))
#end

// The sums += the products of one value of k in the tiles.
#block multiply(k)
{
    #for h in 0..ROWS/4
    let x${h} = a_tile[$k * A_STRIDE + ${h*(TILE_M/8)}u + lane_row];
    #end
    let y0 = b_tile[$k * B_STRIDE + lane_pack];
    let y1 = b_tile[$k * B_STRIDE + ${TILE_N/8}u + lane_pack];
    #for i in 0..ROWS
    s${i}_0 = fma(vec4<f32>(x${i/4}[${i%4}]), y0, s${i}_0);
    s${i}_1 = fma(vec4<f32>(x${i/4}[${i%4}]), y1, s${i}_1);
    #end
}
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = select(group.yx, group.xy, p.columns_first != 0u);
    let row0 = tile.y * TILE_M;
    let column0 = tile.x * TILE_N;
    // Four rows of eight invocations are neighbors, which read four vectors of A and eight of B.
    let octet = lane / 8u;
    let lane_row = octet / ${4*(TILE_N/64)}u * 4u + octet % 4u;
    let lane_pack = octet / 4u % ${TILE_N/64}u * 8u + lane % 8u;
    let k_end = min((group.z + 1u) * p.part_k, p.k);
    var k0 = group.z * p.part_k;
    #for i in 0..ROWS
    var s${i}_0 = vec4<f32>();
    var s${i}_1 = vec4<f32>();
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
        k0 += 16u;
        if k0 < k_end {
            fa = fetch_a(lane, row0, k0);
            fb = fetch_b(lane, column0, k0);
        }
        #if LOOP
        // The tiles have zeros past the last k. A bound that the compiler does not know keeps it from unrolling.
        for (var k = 0u; k < min(16u, k_end + 16u - k0); k += 4u) {
            #for i in 0..4
            #paste multiply((k + ${i}u))
            #end
        }
        #else
        #for k in 0..16
        #paste multiply(${k}u)
        #end
        #end
    }
    let column = tile.x * ${TILE_N/8}u + lane_pack;
    if column >= p.packs { return; }
    let kept = epilogue_kept(column);
    #for i in 0..ROWS
    {
        let row = row0 + ${i/4*(TILE_M/2)}u + lane_row * 4u + ${i%4}u;
        if row < p.m {
            let at = row * p.packs + column;
            var value = Floats8(s${i}_0, s${i}_1);
            #if PARTIAL
            c[group.z * p.part_packs + at] = pack8(value);
            #else
            #if ACCUMULATE
            let before = unpack8(c[at]);
            value = Floats8(value.a + before.a, value.b + before.b);
            #end
            c[at] = pack8(epilogue(value, kept, row, column, p.packs));
            #end
        }
    }
    #end
}
