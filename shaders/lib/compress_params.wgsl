// What the kernels of kv_compress share. Pitches in floats: x_pitch of the tensor whose C `columns` begin at column `at`,
// pitch of the others. `block` is what a group of a partial sum adds up.
struct Params { slots: u32, tails: u32, taps: u32, columns: u32, at: u32, x_pitch: u32, pitch: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
