// GELU in its tanh form (Hendrycks & Gimpel 2016; SPEC 1) and its derivative. tanh by exp of a clamped argument: some
// drivers return NaN for tanh beyond 44, and at 10 it is 1 to the last digit of f32.
fn tanh_safe(x: f32) -> f32 {
    let e = exp(-2.0 * clamp(abs(x), 0.0, 10.0));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + tanh_safe(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

fn gelu_derivative(x: f32) -> f32 {
    let t = tanh_safe(0.7978845608028654 * (x + 0.044715 * x * x * x));
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * x * x);
}

fn gelu4(x: vec4<f32>) -> vec4<f32> {
    let e = exp(-2.0 * min(abs(0.7978845608028654 * (x + 0.044715 * x * x * x)), vec4<f32>(10.0)));
    return 0.5 * x * (1.0 + sign(x) * (1.0 - e) / (1.0 + e));
}

fn gelu4_derivative(x: vec4<f32>) -> vec4<f32> {
    let e = exp(-2.0 * min(abs(0.7978845608028654 * (x + 0.044715 * x * x * x)), vec4<f32>(10.0)));
    let t = sign(x) * (1.0 - e) / (1.0 + e);
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608028654 * (1.0 + 3.0 * 0.044715 * x * x);
}
