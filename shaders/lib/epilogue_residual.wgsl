// Epilogue: + residual [M, N].
#input 4 residual
fn epilogue_kept(column: u32) -> Floats8 { return Floats8(); }
fn epilogue(value: Floats8, kept: Floats8, row: u32, column: u32, packs: u32) -> Floats8 {
    let add = load_residual(row, column, packs);
    return Floats8(value.a + add.a, value.b + add.b);
}
