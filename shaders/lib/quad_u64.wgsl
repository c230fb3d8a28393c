// Four floats of a row in one storage element, for software drivers: two 64-bit words.
alias Quad = vec2<u64>;
fn unquad(q: Quad) -> vec4<f32> {
    let low = bitcast<vec2<f32>>(vec2<u32>(q));
    let high = bitcast<vec2<f32>>(vec2<u32>(q >> vec2<u32>(32u)));
    return vec4<f32>(low.x, high.x, low.y, high.y);
}
fn quad(v: vec4<f32>) -> Quad {
    return vec2<u64>(bitcast<vec2<u32>>(v.xz)) | (vec2<u64>(bitcast<vec2<u32>>(v.yw)) << vec2<u32>(32u));
}
