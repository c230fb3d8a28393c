// Gradient of grouped's input: C columns of dx [N, ≥ C] from column p.at on,
//   dx[first(s) + tap, base(o) + i] = Σ_o dy[s, o] · weight[tap, i, o], over the channels o of a group.
// The tokens in tail_rows, which fill no slot, get 0.
//
// dy [S, C], weight [f·WIDTH, C]. Grid: one group per SLOTS slots, then one per tail row, folded into y. Variant: as grouped.
#import pack
#import compress_params
#if ALIGNED
#input 1 dy
#input 2 weight
@group(0) @binding(3) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(4) var<storage, read> tail_rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> dx: array<Pack>;
#else
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(4) var<storage, read> tail_rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.y * GRID_WIDTH + group.x;
    let slot_groups = (p.slots + (SLOTS - 1u)) / SLOTS;
    if index >= slot_groups + p.tails { return; }
    if index >= slot_groups {
        let row = tail_rows[index - slot_groups];
        #if ALIGNED
        for (var i = lane; i < p.columns / 8u; i += GROUP) {
            dx[(row * p.x_pitch + p.at) / 8u + i] = pack8(Floats8());
        }
        #else
        for (var i = lane; i < p.columns; i += GROUP) {
            dx[row * p.x_pitch + p.at + i] = 0.0;
        }
        #end
        return;
    }
    let slot = index * SLOTS;
    #for k in 0..SLOTS
    let from${k} = min(slot + ${k}u, p.slots - 1u);
    let first${k} = slot_rows[from${k}];
    #end
    for (var tap = 0u; tap < p.taps; tap++) {
        #if ALIGNED
        let packs = p.pitch / 8u;
        for (var i = lane; i < p.columns / 8u; i += GROUP) {
            #if WIDTH > 1
            let base_pack = i * 8u / WIDTH * WIDTH / 8u;
            #for k in 0..SLOTS
            #for e in 0..8
            var s${k}_${e} = 0.0;
            #end
            #end
            for (var c = 0u; c < WIDTH / 8u; c++) {
                #for k in 0..SLOTS
                let y${k} = load_dy(from${k}, base_pack + c, packs);
                #end
                #for e in 0..8
                {
                    let w = load_weight(tap * WIDTH + (i - base_pack) * 8u + ${e}u, base_pack + c, packs);
                    #for k in 0..SLOTS
                    s${k}_${e} += dot(y${k}.a, w.a) + dot(y${k}.b, w.b);
                    #end
                }
                #end
            }
            #for k in 0..SLOTS
            if slot + ${k}u < p.slots {
                dx[((first${k} + tap) * p.x_pitch + p.at) / 8u + i] =
                    pack8(f8(s${k}_0, s${k}_1, s${k}_2, s${k}_3, s${k}_4, s${k}_5, s${k}_6, s${k}_7));
            }
            #end
            #else
            let w = load_weight(tap, i, packs);
            #for k in 0..SLOTS
            if slot + ${k}u < p.slots {
                let y = load_dy(from${k}, i, packs);
                dx[((first${k} + tap) * p.x_pitch + p.at) / 8u + i] = pack8(Floats8(y.a * w.a, y.b * w.b));
            }
            #end
            #end
        }
        #else
        for (var i = lane; i < p.columns; i += GROUP) {
            let base = i / WIDTH * WIDTH;
            #for k in 0..SLOTS
            var s${k} = 0.0;
            #end
            for (var o = base; o < base + WIDTH; o++) {
                let w = weight[(tap * WIDTH + i - base) * p.pitch + o];
                #for k in 0..SLOTS
                s${k} += dy[from${k} * p.pitch + o] * w;
                #end
            }
            #for k in 0..SLOTS
            if slot + ${k}u < p.slots { dx[(first${k} + tap) * p.x_pitch + p.at + i] = s${k}; }
            #end
        }
        #end
    }
}
