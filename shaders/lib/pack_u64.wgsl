// Eight floats of a row in one storage element, for row-wise kernels: four 64-bit words, the widest load and store of software
// drivers. `a` holds the even columns 0 2 4 6 of the pack and `b` the odd ones.
struct Floats8 { a: vec4<f32>, b: vec4<f32> }
alias Pack = vec4<u64>;
fn unpack8(p: Pack) -> Floats8 {
    return Floats8(bitcast<vec4<f32>>(vec4<u32>(p)), bitcast<vec4<f32>>(vec4<u32>(p >> vec4<u32>(32u))));
}
fn pack8(v: Floats8) -> Pack {
    return vec4<u64>(bitcast<vec4<u32>>(v.a)) | (vec4<u64>(bitcast<vec4<u32>>(v.b)) << vec4<u32>(32u));
}
const PACK_A = vec4<u32>(0u, 2u, 4u, 6u);
const PACK_B = vec4<u32>(1u, 3u, 5u, 7u);
fn f8(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32) -> Floats8 {
    return Floats8(vec4<f32>(c0, c2, c4, c6), vec4<f32>(c1, c3, c5, c7));
}
fn texels8(t: vec4<f32>, u: vec4<f32>) -> Floats8 { return Floats8(vec4<f32>(t.xz, u.xz), vec4<f32>(t.yw, u.yw)); }
fn texel0(v: Floats8) -> vec4<f32> { return vec4<f32>(v.a.x, v.b.x, v.a.y, v.b.y); }
fn texel1(v: Floats8) -> vec4<f32> { return vec4<f32>(v.a.z, v.b.z, v.a.w, v.b.w); }
