// A tensor of attention heads, read as vec4, for head widths that are multiples of 4.
@group(0) @binding($N) var<storage, read> $NAME: array<vec4<f32>>;
fn load_$NAME(at: u32, d: u32) -> vec4<f32> { return $NAME[(at + d) / 4u]; }
