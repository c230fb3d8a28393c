// B [C, R] = Aᵀ of A [R, C], for CPU adapters: an invocation turns 8 rows × 4 columns, eight image loads into four stores.
// Rows of A past p.k become zeros. Grid (packs of B's rows / 8, texels of A's rows).
#import pack
struct Params { k: u32, packs: u32, columns: u32, live_packs: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var<storage, read_write> b: array<Pack>;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let pack = group.x * 8u + lane;
    #for i in 0..8
    let t${i} = select(vec4<f32>(), textureLoad(a, vec2<u32>(group.y, pack * 8u + ${i}u)), pack * 8u + ${i}u < p.k);
    #end
    let column = group.y * 4u;
    // An index past the end of the buffer is how a store is left out: robust access drops it.
    let none = 0x3ffffffu;
    let live = pack < p.live_packs;
    b[select(none, column * p.packs + pack, live)] = pack8(f8(t0.x, t1.x, t2.x, t3.x, t4.x, t5.x, t6.x, t7.x));
    b[select(none, (column + 1u) * p.packs + pack, live && column + 1u < p.columns)] =
        pack8(f8(t0.y, t1.y, t2.y, t3.y, t4.y, t5.y, t6.y, t7.y));
    b[select(none, (column + 2u) * p.packs + pack, live && column + 2u < p.columns)] =
        pack8(f8(t0.z, t1.z, t2.z, t3.z, t4.z, t5.z, t6.z, t7.z));
    b[select(none, (column + 3u) * p.packs + pack, live && column + 3u < p.columns)] =
        pack8(f8(t0.w, t1.w, t2.w, t3.w, t4.w, t5.w, t6.w, t7.w));
}
