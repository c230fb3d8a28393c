//! Products of two matrices in the three forms that a layer needs, and the bias beside them.
//!
//! out \[m,n\] = A·B | A·Bᵀ | Aᵀ·B, each sum over k. Forward: x·W (AB), logits h·Eᵀ (ABt). Backward of y = x·W + b:
//! dx = dy·Wᵀ (ABt), dW = xᵀ·dy (AtB), db = Σ rows of dy. W is \[in, out\], Hugging Face's Conv1D.
//! Source: docs/spec.md section 1.

/// Which operand is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A \[m,k\] · B \[k,n\].
    AB,
    /// A \[m,k\] · Bᵀ, B \[n,k\].
    ABt,
    /// Aᵀ · B, A \[k,m\], B \[k,n\].
    AtB,
}

/// The product, \[m,n\].
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

/// Adds `bias` \[n\] to every row of `y` \[rows,n\].
pub fn add_bias(y: &[f64], bias: &[f64]) -> Vec<f64> {
    y.chunks_exact(bias.len().max(1)).flat_map(|row| row.iter().zip(bias).map(|(y, b)| y + b)).collect()
}

/// db \[n\] = the sum of the rows of `dy` \[rows,n\].
pub fn bias_gradient(dy: &[f64], n: usize) -> Vec<f64> {
    let mut db = vec![0.0; n];
    for row in dy.chunks_exact(n.max(1)) {
        for (d, y) in db.iter_mut().zip(row) {
            *d += y;
        }
    }
    db
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, largest_difference, normal};
    use super::*;

    fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
        (0..rows * columns).map(|i| a[(i % rows) * columns + i / rows]).collect()
    }

    #[test]
    fn a_product_by_hand() {
        assert_eq!(matmul(Form::AB, &[1., 2., 3., 4.], &[5., 6., 7., 8.], 2, 2, 2), [19., 22., 43., 50.]);
    }

    #[test]
    fn the_forms_agree() {
        let (m, n, k) = (5, 7, 3);
        let (a, b) = (normal(m * k, 1), normal(k * n, 2));
        let ab = matmul(Form::AB, &a, &b, m, n, k);
        assert!(largest_difference(&ab, &matmul(Form::ABt, &a, &transposed(&b, k, n), m, n, k)) < 1e-14);
        assert!(largest_difference(&ab, &matmul(Form::AtB, &transposed(&a, m, k), &b, m, n, k)) < 1e-14);
    }

    #[test]
    fn gradients_of_a_linear_layer() {
        let (rows, n, k) = (5, 7, 3);
        let (x, w, b, dy) = (normal(rows * k, 1), normal(k * n, 2), normal(n, 3), normal(rows * n, 4));
        let f = |x: &[f64], w: &[f64], b: &[f64]| dot(&dy, &add_bias(&matmul(Form::AB, x, w, rows, n, k), b));
        check_gradient("x", &x, &matmul(Form::ABt, &dy, &w, rows, k, n), |x| f(x, &w, &b));
        check_gradient("w", &w, &matmul(Form::AtB, &x, &dy, k, n, rows), |w| f(&x, w, &b));
        check_gradient("b", &b, &bias_gradient(&dy, n), |b| f(&x, &w, b));
    }
}
