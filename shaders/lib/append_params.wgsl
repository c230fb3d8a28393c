// The parameters of cache_append. Row skip + r of x, `columns` columns from column x_at on, is copied to the cache from column
// cache_at on. The cache has sections of `stretch` rows, each a ring buffer: r goes to row (number + r) mod stretch. For section
// s, the row of x is s·apart below. Pitches in floats. Grid (rows folded into y, sections).
struct Params {
    rows: u32, columns: u32, x_pitch: u32, cache_pitch: u32,
    skip: u32, number: u32, stretch: u32, apart: u32,
    x_at: u32, cache_at: u32, pad0: u32, pad1: u32
}
@group(0) @binding(0) var<uniform> p: Params;
