// Eight floats of a row in one storage element, for row-wise kernels: two vec4<f32>. `a` holds the columns 0 1 2 3 of the pack
// and `b` the columns 4 5 6 7. pack_u64 has the same functions with another order of columns.
struct Floats8 { a: vec4<f32>, b: vec4<f32> }
alias Pack = mat2x4<f32>;
fn unpack8(p: Pack) -> Floats8 { return Floats8(p[0], p[1]); }
fn pack8(v: Floats8) -> Pack { return Pack(v.a, v.b); }
const PACK_A = vec4<u32>(0u, 1u, 2u, 3u);
const PACK_B = vec4<u32>(4u, 5u, 6u, 7u);
fn f8(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32) -> Floats8 {
    return Floats8(vec4<f32>(c0, c1, c2, c3), vec4<f32>(c4, c5, c6, c7));
}
fn texels8(t: vec4<f32>, u: vec4<f32>) -> Floats8 { return Floats8(t, u); }
fn texel0(v: Floats8) -> vec4<f32> { return v.a; }
fn texel1(v: Floats8) -> vec4<f32> { return v.b; }
