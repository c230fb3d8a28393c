// The convolution that makes compressed keys or values, in groups of WIDTH channels:
//   y[s, o] = bias[o] + Σ_tap Σ_i x[first(s) + tap, p.at + base(o) + i] · weight[tap, i, o]
// where i runs over the channels of o's group, which begin at channel base(o), and first(s) = slot_rows[s].
//
// x [N, ≥ C], weight [f·WIDTH, C], bias [1, C], y [S, C].
// Grid: one group per SLOTS slots, folded into y, so that a weight is read once for all of them; the lanes step over packs of 8
// columns. Variant: WIDTH; ALIGNED, 8 divides C and the first column, and WIDTH is 1 or a multiple of 8; else single columns.
#import pack
#import compress_params
#if ALIGNED
#input 1 x
#input 2 weight
@group(0) @binding(3) var<storage, read> bias: array<Pack>;
@group(0) @binding(4) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<Pack>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let slot = (group.y * GRID_WIDTH + group.x) * SLOTS;
    if slot >= p.slots { return; }
    #for k in 0..SLOTS
    let first${k} = slot_rows[min(slot + ${k}u, p.slots - 1u)];
    #end
    #if ALIGNED
    let x_packs = p.x_pitch / 8u;
    let packs = p.pitch / 8u;
    for (var i = lane; i < p.columns / 8u; i += GROUP) {
        let b = unpack8(bias[i]);
        #for k in 0..SLOTS
        var s${k} = b;
        #end
        for (var tap = 0u; tap < p.taps; tap++) {
            #if WIDTH > 1
            let x_pack = (p.at + i * 8u / WIDTH * WIDTH) / 8u;
            for (var c = 0u; c < WIDTH / 8u; c++) {
                #for k in 0..SLOTS
                let x${k} = load_x(first${k} + tap, x_pack + c, x_packs);
                #end
                #for e in 0..4
                {
                    let wa = load_weight(tap * WIDTH + c * 8u + PACK_A[${e}], i, packs);
                    let wb = load_weight(tap * WIDTH + c * 8u + PACK_B[${e}], i, packs);
                    #for k in 0..SLOTS
                    s${k} = Floats8(s${k}.a + x${k}.a[${e}] * wa.a + x${k}.b[${e}] * wb.a,
                               s${k}.b + x${k}.a[${e}] * wa.b + x${k}.b[${e}] * wb.b);
                    #end
                }
                #end
            }
            #else
            let w = load_weight(tap, i, packs);
            #for k in 0..SLOTS
            {
                let x = load_x(first${k} + tap, p.at / 8u + i, x_packs);
                s${k} = Floats8(s${k}.a + x.a * w.a, s${k}.b + x.b * w.b);
            }
            #end
            #end
        }
        #for k in 0..SLOTS
        if slot + ${k}u < p.slots { y[(slot + ${k}u) * packs + i] = pack8(s${k}); }
        #end
    }
    #else
    for (var o = lane; o < p.columns; o += GROUP) {
        let base = p.at + o / WIDTH * WIDTH;
        #for k in 0..SLOTS
        var s${k} = bias[o];
        #end
        for (var tap = 0u; tap < p.taps; tap++) {
            for (var c = 0u; c < WIDTH; c++) {
                let w = weight[(tap * WIDTH + c) * p.pitch + o];
                #for k in 0..SLOTS
                s${k} += x[(first${k} + tap) * p.x_pitch + base + c] * w;
                #end
            }
        }
        #for k in 0..SLOTS
        if slot + ${k}u < p.slots { y[(slot + ${k}u) * p.pitch + o] = s${k}; }
        #end
    }
    #end
}
