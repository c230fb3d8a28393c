// Partial gradients of grouped's weight over blocks of p.block slots:
//   partial[b·f·WIDTH + tap·WIDTH + i, o] = Σ_s x[first(s) + tap, p.at + base(o) + i] · dy[s, o]
//
// x [N, ≥ C], dy [S, C], partial [blocks·f·WIDTH, C].
// Grid (⌈packs/GROUP⌉, f·⌈WIDTH/8⌉, blocks): an invocation sums a pack of 8 columns for 8 channels i. Without ALIGNED:
// (⌈C/GROUP⌉, f·WIDTH, blocks), one column and one channel. Variant: as grouped.
#import pack
#import compress_params
#if ALIGNED
#input 1 x
#input 2 dy
@group(0) @binding(3) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> partial: array<Pack>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = group.x * GROUP + lane;
    let first = group.z * p.block;
    let end = min(first + p.block, p.slots);
    #if ALIGNED
    if i >= p.columns / 8u { return; }
    let x_packs = p.x_pitch / 8u;
    let packs = p.pitch / 8u;
    #if WIDTH > 1
    let tap = group.y / (WIDTH / 8u);
    let c = group.y % (WIDTH / 8u);
    let x_pack = (p.at + i * 8u / WIDTH * WIDTH) / 8u + c;
    #for e in 0..8
    var s${e} = Floats8();
    #end
    for (var slot = first; slot < end; slot++) {
        let x = load_x(slot_rows[slot] + tap, x_pack, x_packs);
        let y = load_dy(slot, i, packs);
        #for e in 0..4
        s${e} = Floats8(s${e}.a + x.a[${e}] * y.a, s${e}.b + x.a[${e}] * y.b);
        s${e+4} = Floats8(s${e+4}.a + x.b[${e}] * y.a, s${e+4}.b + x.b[${e}] * y.b);
        #end
    }
    let out = ((group.z * p.taps + tap) * WIDTH + c * 8u) * packs + i;
    #for e in 0..4
    partial[out + PACK_A[${e}] * packs] = pack8(s${e});
    partial[out + PACK_B[${e}] * packs] = pack8(s${e+4});
    #end
    #else
    let tap = group.y;
    var s = Floats8();
    for (var slot = first; slot < end; slot++) {
        let x = load_x(slot_rows[slot] + tap, p.at / 8u + i, x_packs);
        let y = load_dy(slot, i, packs);
        s = Floats8(s.a + x.a * y.a, s.b + x.b * y.b);
    }
    partial[(group.z * p.taps + tap) * packs + i] = pack8(s);
    #end
    #else
    if i >= p.columns { return; }
    let tap = group.y / WIDTH;
    let channel = p.at + i / WIDTH * WIDTH + group.y % WIDTH;
    var s = 0.0;
    for (var slot = first; slot < end; slot++) {
        s += x[(slot_rows[slot] + tap) * p.x_pitch + channel] * dy[slot * p.pitch + i];
    }
    partial[(group.z * p.taps * WIDTH + group.y) * p.pitch + i] = s;
    #end
}
