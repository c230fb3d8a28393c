//! Cross-entropy of rows of logits, and its gradient.
//!
//! loss[r] = log Σ exp(logits[r]) − logits[r, target]; dlogits[r] = (softmax − onehot)/count, count = the real targets of
//! the whole step. A row whose target is [`IGNORED`] has loss 0 and gradient 0; a count of 0 gives gradient 0.
//! logits, dlogits [n,v]; targets, losses [n]. Source: SPEC 1 and 5.

/// The target that is none (Hugging Face's −100).
pub const IGNORED: u32 = u32::MAX;

/// Loss and gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Σ losses: divide by the count for the mean.
    pub loss_sum: f64,
    /// Each row's loss, [n]; 0 where ignored.
    pub losses: Vec<f64>,
    /// [n,v].
    pub dlogits: Vec<f64>,
}

/// Real targets: those that are not [`IGNORED`].
pub fn count(targets: &[u32]) -> usize {
    targets.iter().filter(|&&t| t != IGNORED).count()
}

/// Loss and gradient of logits [n,v].
pub fn cross_entropy(logits: &[f64], v: usize, targets: &[u32], count: usize) -> CrossEntropy {
    assert_eq!(logits.len(), targets.len() * v, "cross_entropy: logits hold n·v = {}·{v} numbers", targets.len());
    let scale = if count == 0 { 0.0 } else { 1.0 / count as f64 };
    let mut out = CrossEntropy { loss_sum: 0.0, losses: vec![0.0; targets.len()], dlogits: vec![0.0; logits.len()] };
    for (row, &target) in targets.iter().enumerate().filter(|(_, t)| **t != IGNORED) {
        let (logits, target) = (&logits[row * v..(row + 1) * v], target as usize);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
        out.losses[row] = log_sum_exp - logits[target];
        out.loss_sum += out.losses[row];
        let dlogits = &mut out.dlogits[row * v..(row + 1) * v];
        for (d, l) in dlogits.iter_mut().zip(logits) {
            *d = scale * (l - log_sum_exp).exp();
        }
        dlogits[target] -= scale;
    }
    out
}
