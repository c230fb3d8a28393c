// windows [S, f·C]: row s holds the f tokens of slot s one after another, C columns each, taken from x [N, ≥ C] from column
// p.at on. slot_rows[s] is the row of the slot's first token.
//
// Grid: one group per slot, folded into y; the lanes step over packs of 8 columns.
// Variant: ALIGNED, 8 divides C and the first column; else the lanes step over single columns.
#import pack
#import compress_params
#if ALIGNED
#input 1 x
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#end
@group(0) @binding(2) var<storage, read> slot_rows: array<u32>;
#if ALIGNED
@group(0) @binding(3) var<storage, read_write> windows: array<Pack>;
#else
@group(0) @binding(3) var<storage, read_write> windows: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let slot = group.y * GRID_WIDTH + group.x;
    if slot >= p.slots { return; }
    let first = slot_rows[slot];
    #if ALIGNED
    let packs = p.columns / 8u;
    let out = slot * (p.pitch / 8u);
    for (var tap = 0u; tap < p.taps; tap++) {
        for (var i = lane; i < packs; i += GROUP) {
            windows[out + tap * packs + i] = pack8(load_x(first + tap, p.at / 8u + i, p.x_pitch / 8u));
        }
    }
    for (var i = p.taps * packs + lane; i < p.pitch / 8u; i += GROUP) {
        windows[out + i] = pack8(Floats8());
    }
    #else
    for (var tap = 0u; tap < p.taps; tap++) {
        for (var i = lane; i < p.columns; i += GROUP) {
            windows[slot * p.pitch + tap * p.columns + i] = x[(first + tap) * p.x_pitch + p.at + i];
        }
    }
    #end
}
