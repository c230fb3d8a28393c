// half = the numbers of `full`, multiplied by `scale`, a power of two, and narrowed to f16: an operand of `matmul_cooperative`.
//
// full, half: packs of 8. Grid over packs: an invocation narrows one.
enable f16;
#import narrow
struct Params { packs: u32, scale: f32 }
struct Full8 { a: vec4<f32>, b: vec4<f32> }
struct Halves8 { a: vec4<f16>, b: vec4<f16> }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> full: array<Full8>;
@group(0) @binding(2) var<storage, read_write> half: array<Halves8>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.y * GRID_WIDTH + group.x) * GROUP + lane;
    if at >= p.packs { return; }
    let v = full[at];
    half[at] = Halves8(narrow(v.a * p.scale), narrow(v.b * p.scale));
}
