// Epilogue: times the derivative of GELU at the pre-activation [M, N].
#import gelu
#input 4 pre
fn epilogue_kept(column: u32) -> Floats8 { return Floats8(); }
fn epilogue(value: Floats8, kept: Floats8, row: u32, column: u32, packs: u32) -> Floats8 {
    let x = load_pre(row, column, packs);
    return Floats8(value.a * gelu4_derivative(x.a), value.b * gelu4_derivative(x.b));
}
