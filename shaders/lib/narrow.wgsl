// f32 to f16, rounded as the device rounds. What exceeds the range of f16 becomes its largest number; not a number stays so.
fn narrow(v: vec4<f32>) -> vec4<f16> {
    return vec4<f16>(select(v, clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)), abs(v) > vec4<f32>(65504.0)));
}
