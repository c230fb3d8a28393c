// Epilogue: times GELU's derivative at the pre-activation [M, N].
#import gelu
#input 4 pre
fn epilogue_kept(column: u32) -> F8 { return F8(); }
fn epilogue(value: F8, kept: F8, row: u32, column: u32, packs: u32) -> F8 {
    let x = load_pre(row, column, packs);
    return F8(value.a * gelu4_derivative(x.a), value.b * gelu4_derivative(x.b));
}
