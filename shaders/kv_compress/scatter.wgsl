// The inverse of gather: C columns of dx [N, ≥ C] from column p.at on = the tokens' parts of dwindows [S, f·C]. The tokens in
// tail_rows, which fill no slot, get 0.
//
// Grid: one group per slot, then one per tail row, folded into y. Variant: ALIGNED, as gather.
#import pack
#import compress_params
#if ALIGNED
#input 1 dwindows
#else
@group(0) @binding(1) var<storage, read> dwindows: array<f32>;
#end
@group(0) @binding(2) var<storage, read> slot_rows: array<u32>;
@group(0) @binding(3) var<storage, read> tail_rows: array<u32>;
#if ALIGNED
@group(0) @binding(4) var<storage, read_write> dx: array<Pack>;
#else
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let slot = group.y * GRID_WIDTH + group.x;
    if slot >= p.slots + p.tails { return; }
    if slot >= p.slots {
        let row = tail_rows[slot - p.slots];
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
    let first = slot_rows[slot];
    for (var tap = 0u; tap < p.taps; tap++) {
        let out = (first + tap) * p.x_pitch + p.at;
        #if ALIGNED
        let packs = p.columns / 8u;
        for (var i = lane; i < packs; i += GROUP) {
            dx[out / 8u + i] = pack8(load_dwindows(slot, tap * packs + i, p.pitch / 8u));
        }
        #else
        for (var i = lane; i < p.columns; i += GROUP) {
            dx[out + i] = dwindows[slot * p.pitch + tap * p.columns + i];
        }
        #end
    }
}
