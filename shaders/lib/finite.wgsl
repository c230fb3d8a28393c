// Whether a number is neither NaN nor infinite, decided by its bits, because WGSL implementations may assume that neither occurs.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
