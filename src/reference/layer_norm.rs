//! Layer norm of x + residual, row by row: a post-norm block has two.
//!
//! s = x + residual, μ = mean(s), r = 1/√(var(s) + ε) (biased variance, two passes), x̂ = (s − μ)·r, y = gain∘x̂ + bias.
//! Backward: ds = r·(g∘dy − mean(g∘dy) − x̂·mean(g∘dy∘x̂)), dgain = Σ rows dy∘x̂, dbias = Σ rows dy; ds is the
//! gradient of x and of the residual alike. x, residual, y, dy \[n,c\]; gain, bias \[c\]; mean, rstd \[n\].
//! Source: Ba et al. 2016; docs/spec.md sections 1 and 5.

/// Results of the forward pass, and what the backward pass needs of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// x + residual (x without one), \[n,c\].
    pub sum: Vec<f64>,
    /// The output, \[n,c\].
    pub y: Vec<f64>,
    /// μ, \[n\].
    pub mean: Vec<f64>,
    /// r = 1/√(var + ε), \[n\].
    pub rstd: Vec<f64>,
}

/// Results of the backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// Gradient of the sum, so of x and of the residual, \[n,c\].
    pub dx: Vec<f64>,
    /// \[c\].
    pub dgain: Vec<f64>,
    /// \[c\].
    pub dbias: Vec<f64>,
}

/// The forward pass.
pub fn forward(x: &[f64], residual: Option<&[f64]>, gain: &[f64], bias: &[f64], eps: f64) -> Forward {
    let c = gain.len();
    let sum: Vec<f64> = match residual {
        Some(r) => x.iter().zip(r).map(|(x, r)| x + r).collect(),
        None => x.to_vec(),
    };
    let (mut y, mut mean, mut rstd) = (Vec::with_capacity(x.len()), Vec::new(), Vec::new());
    for row in sum.chunks_exact(c.max(1)) {
        let mu = row.iter().sum::<f64>() / c as f64;
        let variance = row.iter().map(|s| (s - mu) * (s - mu)).sum::<f64>() / c as f64;
        let r = 1.0 / (variance + eps).sqrt();
        y.extend((0..c).map(|i| gain[i] * (row[i] - mu) * r + bias[i]));
        mean.push(mu);
        rstd.push(r);
    }
    Forward { sum, y, mean, rstd }
}

/// The backward pass, from results of the forward pass.
pub fn backward(dy: &[f64], sum: &[f64], mean: &[f64], rstd: &[f64], gain: &[f64]) -> Backward {
    let c = gain.len();
    let mut out = Backward { dx: Vec::with_capacity(dy.len()), dgain: vec![0.0; c], dbias: vec![0.0; c] };
    for (row, (dy, s)) in dy.chunks_exact(c.max(1)).zip(sum.chunks_exact(c.max(1))).enumerate() {
        let (mu, r) = (mean[row], rstd[row]);
        let (mut a, mut b) = (0.0, 0.0);
        for i in 0..c {
            let x_hat = (s[i] - mu) * r;
            a += gain[i] * dy[i];
            b += gain[i] * dy[i] * x_hat;
            out.dgain[i] += dy[i] * x_hat;
            out.dbias[i] += dy[i];
        }
        let (a, b) = (a / c as f64, b / c as f64);
        out.dx.extend((0..c).map(|i| r * (gain[i] * dy[i] - a - (s[i] - mu) * r * b)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, normal};
    use super::*;

    const EPS: f64 = 1e-5;

    #[test]
    fn a_row_by_hand() {
        let out = forward(&[1.0, 2.0, 3.0], Some(&[0.0, 0.0, 3.0]), &[1.0, 1.0, 2.0], &[0.0, 0.5, 0.0], 1.0);
        let r = 1.0 / (14.0f64 / 3.0 + 1.0).sqrt();
        assert_eq!((&out.sum[..], &out.mean[..]), (&[1.0, 2.0, 6.0][..], &[3.0][..]));
        assert!((out.rstd[0] - r).abs() < 1e-15);
        assert!((out.y[0] + 2.0 * r).abs() < 1e-15 && (out.y[1] - 0.5 + r).abs() < 1e-15);
        assert!((out.y[2] - 6.0 * r).abs() < 1e-15);
    }

    #[test]
    fn gradients() {
        let (n, c) = (4, 13);
        let (x, residual, dy) = (normal(n * c, 1), normal(n * c, 2), normal(n * c, 3));
        let (gain, bias) = (normal(c, 4), normal(c, 5));
        let kept = forward(&x, Some(&residual), &gain, &bias, EPS);
        let got = backward(&dy, &kept.sum, &kept.mean, &kept.rstd, &gain);
        let f = |x: &[f64], r: &[f64], g: &[f64], b: &[f64]| dot(&dy, &forward(x, Some(r), g, b, EPS).y);
        check_gradient("x", &x, &got.dx, |x| f(x, &residual, &gain, &bias));
        check_gradient("residual", &residual, &got.dx, |r| f(&x, r, &gain, &bias));
        check_gradient("gain", &gain, &got.dgain, |g| f(&x, &residual, g, &bias));
        check_gradient("bias", &bias, &got.dbias, |b| f(&x, &residual, &gain, b));
    }
}
