// A tensor of attention heads, read as single floats: four channels of a head from channel d on, zero past D.
@group(0) @binding($N) var<storage, read> $NAME: array<f32>;
fn load_$NAME(at: u32, d: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if d < D { v.x = $NAME[at + d]; }
    if d + 1u < D { v.y = $NAME[at + d + 1u]; }
    if d + 2u < D { v.z = $NAME[at + d + 2u]; }
    if d + 3u < D { v.w = $NAME[at + d + 3u]; }
    return v;
}
