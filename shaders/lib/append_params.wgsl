// What the kernels of cache_append share. Rows of x from row `skip` on go to the stretches of a cache, each a ring of `stretch`
// rows: row skip + r of x, for stretch s the row s·apart below it, to row (number + r) mod stretch; `columns` columns, from
// column `x_at` of x, to column `cache_at` on. Pitches in floats. Grid (rows folded into y, stretches).
struct Params {
    rows: u32, columns: u32, x_pitch: u32, cache_pitch: u32,
    skip: u32, number: u32, stretch: u32, apart: u32,
    x_at: u32, cache_at: u32, pad0: u32, pad1: u32
}
@group(0) @binding(0) var<uniform> p: Params;
