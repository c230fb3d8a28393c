// A tensor of attention heads, written as single floats: the channels of a head from channel d on that are below D.
@group(0) @binding($N) var<storage, read_write> $NAME: array<f32>;
fn store_$NAME(at: u32, d: u32, v: vec4<f32>) {
    if d < D { $NAME[at + d] = v.x; }
    if d + 1u < D { $NAME[at + d + 1u] = v.y; }
    if d + 2u < D { $NAME[at + d + 2u] = v.z; }
    if d + 3u < D { $NAME[at + d + 3u] = v.w; }
}
