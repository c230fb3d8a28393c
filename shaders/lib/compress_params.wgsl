// The parameters of kv_compress. x_pitch is the pitch in floats of the tensor whose C `columns` begin at column `at`; `pitch` is
// that of the others. `block` is the number of slots in a partial sum.
struct Params { slots: u32, tails: u32, taps: u32, columns: u32, at: u32, x_pitch: u32, pitch: u32, block: u32 }
@group(0) @binding(0) var<uniform> p: Params;
