// The arithmetic of AdamW on four numbers; shaders/adamw.wgsl has the formula.
#import state
struct Params {
    first: u32, end: u32, rate: f32, root: f32,
    rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(5) var<storage, read> state: State;

struct Updated { w: vec4<f32>, m: vec4<f32>, v: vec4<f32> }

// g is the gradient after clipping.
fn adamw4(w0: vec4<f32>, g: vec4<f32>, m0: vec4<f32>, v0: vec4<f32>) -> Updated {
    let m = m0 + p.rest1 * (g - m0);
    let v = p.beta2 * v0 + p.rest2 * g * g;
    var w = w0;
    #if !LATE_DECAY
    w -= p.decay * w;
    #end
    w -= p.rate * m / (sqrt(v) * p.root + p.eps);
    #if LATE_DECAY
    w -= p.decay * w;
    #end
    return Updated(w, m, v);
}
