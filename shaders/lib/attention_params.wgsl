// What all attention kernels share: parameters and the layout's words. Kernels bind `table` at a number of their own.
struct Params {
    heads: u32, columns: u32, pitch: u32, y_pitch: u32,
    key: vec2<u32>, threshold: u32, place: u32,
    keep: f32, scale: f32, tiles_at: u32, positions_at: u32,
    sequences_at: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

// (first row, end, run's first, run's end)
fn tile_of(i: u32) -> vec4<u32> {
    let at = p.tiles_at + 4u * i;
    return vec4<u32>(table[at], table[at + 1u], table[at + 2u], table[at + 3u]);
}

fn position_of(row: u32) -> u32 { return table[p.positions_at + row]; }

fn sequence_of(row: u32) -> u32 { return table[p.sequences_at + row]; }
