// Epilogue: + bias [N] + residual [M, N].
@group(0) @binding(4) var<storage, read> bias: array<Pack>;
#input 5 residual
fn epilogue_kept(column: u32) -> Floats8 { return unpack8(bias[column]); }
fn epilogue(value: Floats8, kept: Floats8, row: u32, column: u32, packs: u32) -> Floats8 {
    let add = load_residual(row, column, packs);
    return Floats8(value.a + kept.a + add.a, value.b + kept.b + add.b);
}
