// Epilogue: + bias [N], kept as the pre-activation, then GELU.
#import gelu
@group(0) @binding(4) var<storage, read> bias: array<Pack>;
@group(0) @binding(5) var<storage, read_write> pre: array<Pack>;
fn epilogue_kept(column: u32) -> F8 { return unpack8(bias[column]); }
fn epilogue(value: F8, kept: F8, row: u32, column: u32, packs: u32) -> F8 {
    let x = F8(value.a + kept.a, value.b + kept.b);
    pre[row * packs + column] = pack8(x);
    return F8(gelu4(x.a), gelu4(x.b));
}
