// GELU by the tanh approximation (Hendrycks & Gimpel 2016; docs/spec.md section 1) and its derivative, written with the logistic
// function: 0.5·(1 + tanh u) = 1/(1 + exp(-2u)), u = √(2/π)·(x + 0.044715·x³). This form has no cancellation in the negative
// tail and avoids tanh, which some drivers turn into NaN beyond 44. The exponent is clamped, since infinities may not occur.
fn gelu4_gate(x: vec4<f32>) -> vec4<f32> {
    let u = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 1.0 / (1.0 + exp(clamp(-2.0 * u, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

fn gelu4(x: vec4<f32>) -> vec4<f32> {
    return x * gelu4_gate(x);
}

fn gelu4_derivative(x: vec4<f32>) -> vec4<f32> {
    let s = gelu4_gate(x);
    return s + x * s * (1.0 - s) * (2.0 * 0.7978845608028654) * (1.0 + 3.0 * 0.044715 * x * x);
}
