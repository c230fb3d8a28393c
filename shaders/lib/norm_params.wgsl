// Parameters of layer_norm and layer_norm_backward. `rows` are N, `quads` the vectors of four floats in a row; the backward
// pass sums `block` rows. The rest is for dropout of the branch (docs/spec.md section 5): words of the batch's layout at
// which the rows' positions and sequence numbers begin, and what a mask depends on.
struct Params {
    rows: u32, quads: u32, columns: u32, block: u32,
    eps: f32, scale: f32, threshold: u32, place: u32,
    key: vec2<u32>, positions: u32, sequences: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
#if DROPOUT
#import philox
@group(0) @binding(8) var<storage, read> batch: array<u32>;

// 1/(1-rate) for each kept one of four columns, 0 for a dropped one.
fn keep4(quad: u32, position: u32, sequence: u32) -> vec4<f32> {
    let words = philox(vec4<u32>(quad, position, sequence, p.place), p.key);
    return select(vec4<f32>(), vec4<f32>(p.scale), words >= vec4<u32>(p.threshold));
}
#end
