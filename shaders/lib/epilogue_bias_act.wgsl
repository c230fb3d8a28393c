// Epilogue: + bias [N], then GELU. The pre-activation is not stored.
#import gelu
@group(0) @binding(4) var<storage, read> bias: array<Pack>;
fn epilogue_kept(column: u32) -> Floats8 { return unpack8(bias[column]); }
fn epilogue(value: Floats8, kept: Floats8, row: u32, column: u32, packs: u32) -> Floats8 {
    return Floats8(gelu4(value.a + kept.a), gelu4(value.b + kept.b));
}
