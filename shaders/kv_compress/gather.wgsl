// windows [S, f·C]: a row holds the f tokens of a slot one after another, taken from C columns of x [N, ..] from column p.at on.
// slot_rows: the first row of each slot. A group a slot (folded into y), lanes step over packs of 8 columns.
// Spec: ALIGNED (8 | C), else element by element.
#import pack
#import compress_params
#if ALIGNED
#input 1 x
#end
#if 1-ALIGNED
@group(0) @binding(1) var<storage, read> x: array<f32>;
#end
@group(0) @binding(2) var<storage, read> slot_rows: array<u32>;
#if ALIGNED
@group(0) @binding(3) var<storage, read_write> windows: array<Pack>;
#end
#if 1-ALIGNED
@group(0) @binding(3) var<storage, read_write> windows: array<f32>;
#end

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let slot = group.y * 32768u + group.x;
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
#end
#if 1-ALIGNED
    for (var tap = 0u; tap < p.taps; tap++) {
        for (var i = lane; i < p.columns; i += GROUP) {
            windows[slot * p.pitch + tap * p.columns + i] = x[(first + tap) * p.x_pitch + p.at + i];
        }
    }
#end
}
