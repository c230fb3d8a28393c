//! Products of two matrices in the three forms that a layer needs, and the bias beside them.
//!
//! out [m,n] = A·B | A·Bᵀ | Aᵀ·B, each sum over k. Forward: x·W (AB), logits h·Eᵀ (ABt). Backward of y = x·W + b:
//! dx = dy·Wᵀ (ABt), dW = xᵀ·dy (AtB), db = Σ rows of dy. W is [in, out], Hugging Face's Conv1D.
//! Source: SPEC 1.

/// Which operand is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A [m,k] · B [k,n].
    AB,
    /// A [m,k] · Bᵀ, B [n,k].
    ABt,
    /// Aᵀ · B, A [k,m], B [k,n].
    AtB,
}

/// The product, [m,n].
pub fn matmul(form: Form, a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    assert_eq!(a.len(), m * k, "matmul {form:?}: A holds m·k = {m}·{k} numbers");
    assert_eq!(b.len(), k * n, "matmul {form:?}: B holds k·n = {k}·{n} numbers");
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        let row = &mut out[i * n..(i + 1) * n];
        match form {
            Form::ABt => {
                let a = &a[i * k..(i + 1) * k];
                for (j, o) in row.iter_mut().enumerate() {
                    *o = a.iter().zip(&b[j * k..(j + 1) * k]).map(|(x, y)| x * y).sum();
                }
            }
            Form::AB | Form::AtB => {
                for p in 0..k {
                    let x = if form == Form::AB { a[i * k + p] } else { a[p * m + i] };
                    for (o, y) in row.iter_mut().zip(&b[p * n..(p + 1) * n]) {
                        *o += x * y;
                    }
                }
            }
        }
    }
    out
}

/// Adds `bias` [n] to every row of `y` [rows,n].
pub fn add_bias(y: &[f64], bias: &[f64]) -> Vec<f64> {
    y.chunks_exact(bias.len().max(1)).flat_map(|row| row.iter().zip(bias).map(|(y, b)| y + b)).collect()
}

/// db [n] = the sum of the rows of `dy` [rows,n].
pub fn bias_gradient(dy: &[f64], n: usize) -> Vec<f64> {
    let mut db = vec![0.0; n];
    for row in dy.chunks_exact(n.max(1)) {
        for (d, y) in db.iter_mut().zip(row) {
            *d += y;
        }
    }
    db
}
