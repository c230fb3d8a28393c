//! Layer norm of x + residual, row by row: what a post-norm block does twice.
//!
//! s = x + residual, μ = mean(s), r = 1/√(var(s) + ε) (biased variance, two passes), x̂ = (s − μ)·r, y = gain∘x̂ + bias.
//! Backward: ds = r·(g∘dy − mean(g∘dy) − x̂·mean(g∘dy∘x̂)), dgain = Σ rows dy∘x̂, dbias = Σ rows dy; ds is the
//! gradient of x and of the residual alike. x, residual, y, dy [n,c]; gain, bias [c]; mean, rstd [n].
//! Source: Ba et al. 2016; SPEC 1 and 5.

/// What the forward pass gives and keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// x + residual (x without one), [n,c].
    pub sum: Vec<f64>,
    /// The output, [n,c].
    pub y: Vec<f64>,
    /// μ, [n].
    pub mean: Vec<f64>,
    /// r = 1/√(var + ε), [n].
    pub rstd: Vec<f64>,
}

/// What the backward pass gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// Gradient of the sum, so of x and of the residual, [n,c].
    pub dx: Vec<f64>,
    /// [c].
    pub dgain: Vec<f64>,
    /// [c].
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

/// The backward pass, from what the forward pass kept.
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
