// A tensor of attention heads, written as vec4, for head widths that are multiples of 4.
@group(0) @binding($N) var<storage, read_write> $NAME: array<vec4<f32>>;
fn store_$NAME(at: u32, d: u32, v: vec4<f32>) { $NAME[(at + d) / 4u] = v; }
