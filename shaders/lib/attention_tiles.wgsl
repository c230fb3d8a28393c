// Products of tiles in workgroup memory, for the attention kernels of GPUs. A group has 64 rows (of queries, or of keys in
// backward_kv) and takes KEYS others a step. LANES neighboring invocations share four of its rows, 4·y to 4·y + 3. Each holds
// their products with every LANES-th four of the others, and their sums for every LANES-th four channels: x, x + LANES, …
// The names that the blocks use and do not define are the kernel's: lane, x, y, and block, the first of the KEYS others.
// A block of the kernel that reads rows has the number of a row and a channel, and sets `found` to four channels.

// Two blocks of workgroup memory, each used in turn for the channels of a chunk and for the rows of a piece.
var<workgroup> left: array<vec4<f32>, ${64*CHUNK}>;
var<workgroup> right: array<vec4<f32>, ${64*CHUNK}>;

// sum{row}_{four of the others} += the dot products of the group's rows with KEYS others, by chunks of 4·CHUNK channels.
// `left` and `right` read the rows of both; `multiply` is the block for the products of four channels: four_keys or one_key.
// The others of a chunk are stored in an order in which neighboring invocations read from different banks.
#block products(sum, left, right, multiply)
for (var first = 0u; first < p.quads; first += CHUNK) {
    workgroupBarrier();
    #for s in 0..4*CHUNK/LANES
    {
        let i = lane + ${s*16*LANES}u;
        let quad = first + i % CHUNK;
        #if DQ % CHUNK > 0
        if quad < DQ {
        #end
        let to = i ^ (i / (4u * CHUNK) & 7u);
        #paste $left(i / CHUNK, 4u * quad)
        left[to] = found;
        #if DQ % CHUNK > 0
        }
        #end
    }
    #end
    #for s in 0..KEYS*CHUNK/(16*LANES)
    {
        let i = lane + ${s*16*LANES}u;
        let slot = i / CHUNK;
        let quad = first + i % CHUNK;
        #if DQ % CHUNK > 0
        if quad < DQ {
        #end
        let other = block + slot % ${KEYS/4}u * 4u + slot / ${KEYS/4}u;
        let to = slot * CHUNK + (i % CHUNK ^ (slot & 7u));
        #paste $right(other, 4u * quad)
        right[to] = found;
        #if DQ % CHUNK > 0
        }
        #end
    }
    #end
    workgroupBarrier();
    // Bounds from the parameters keep compilers from unrolling, which takes registers.
    for (var q = 0u; q < min(CHUNK, p.quads - first); q++) {
        let at = x * CHUNK + (q ^ (x & 7u));
        let left_at = 4u * y * CHUNK + (q ^ (y & 7u));
        #for r in 0..4
        let a${r} = left[left_at + ${r*CHUNK}u];
        #end
        #for g in 0..KEYS/(4*LANES)
        #paste $multiply($sum, g)
        #end
    }
}
#end

#block four_keys(sum, g)
#for i in 0..4
let b${$g}_${i} = right[at + ${(i*KEYS/4+$g*LANES)*CHUNK}u];
#end
#for r in 0..4
#for d in 0..4
$sum${r}_${$g} += a${r}[${d}] * vec4<f32>(b${$g}_0[${d}], b${$g}_1[${d}], b${$g}_2[${d}], b${$g}_3[${d}]);
#end
#end
#end

// Needs fewer registers and more instructions.
#block one_key(sum, g)
#for i in 0..4
let b${$g}_${i} = right[at + ${(i*KEYS/4+$g*LANES)*CHUNK}u];
#for r in 0..4
#for d in 0..4
$sum${r}_${$g}[${i}] += a${r}[${d}] * b${$g}_${i}[${d}];
#end
#end
#end
#end

// sum{row}_{four channels} += weight{row}_{four of the others} · the others up to `end`, by pieces of PIECE rows, which `read`
// reads. Both operands of a piece go through workgroup memory.
#block weighted_sum(sum, weight, read, end)
#for g in 0..KEYS/(4*LANES)
#if PIECE < 4*LANES
for (var piece = block + ${4*g*LANES}u; piece < min($end, block + ${4*(g+1)*LANES}u); piece += PIECE) {
#else
if block + ${4*g*LANES}u < $end {
    let piece = block + ${4*g*LANES}u;
#end
    workgroupBarrier();
    #for s in 0..(PIECE*DQ+16*LANES-1)/(16*LANES)
    {
        let i = lane + ${s*16*LANES}u;
        #if PIECE*DQ % (16*LANES) > 0
        if i < ${PIECE*DQ}u {
        #end
        #paste $read(piece + i / DQ, i % DQ * 4u)
        right[i] = found;
        #if PIECE*DQ % (16*LANES) > 0
        }
        #end
    }
    #end
    #if PIECE < 4*LANES
    if x / ${PIECE/4}u == (piece - block) % ${4*LANES}u / PIECE {
    #end
    #for r in 0..4
    left[(4u * y + ${r}u) * ${PIECE/4}u + (x ^ (y & ${PIECE/4-1}u)) % ${PIECE/4}u] = $weight${r}_${g};
    #end
    #if PIECE < 4*LANES
    }
    #end
    workgroupBarrier();
    for (var k = 0u; k < (min($end - piece, PIECE) + 3u) / 4u; k++) {
        let at = 4u * k * DQ + x;
        let left_at = y * PIECE + (k ^ (y & ${PIECE/4-1}u));
        #for r in 0..4
        let e${r} = left[left_at + ${r*PIECE/4}u];
        #end
        #for i in 0..4
        #for j in 0..(DQ+LANES-1)/LANES
        let v${i}_${j} = right[at + ${i*DQ+j*LANES}u];
        #for r in 0..4
        $sum${r}_${j} += e${r}[${i}] * v${i}_${j};
        #end
        #end
        #end
    }
}
#end
#end
