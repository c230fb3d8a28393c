// Epilogue: + bias [N], stored as the pre-activation, then GELU.
#import gelu
@group(0) @binding(4) var<storage, read> bias: array<Pack>;
@group(0) @binding(5) var<storage, read_write> pre: array<Pack>;
fn epilogue_kept(column: u32) -> Floats8 { return unpack8(bias[column]); }
fn epilogue(value: Floats8, kept: Floats8, row: u32, column: u32, packs: u32) -> Floats8 {
    let x = Floats8(value.a + kept.a, value.b + kept.b);
    pre[row * packs + column] = pack8(x);
    return Floats8(gelu4(x.a), gelu4(x.b));
}
