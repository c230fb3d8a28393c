//! Cross-entropy of rows of logits, and its gradient.
//!
//! loss\[r\] = log Σ exp(logits\[r\]) − logits\[r, target\]; dlogits\[r\] = (softmax − onehot)/count, count = the
//! targets of the whole optimizer step. A row whose target is [`IGNORED`] has loss 0 and gradient 0; with a count of 0 all gradients are 0.
//! logits, dlogits \[n,v\]; targets, losses \[n\]. Source: docs/spec.md sections 1 and 5.

/// The target of a row that has no target (−100 in Hugging Face's code).
pub const IGNORED: u32 = u32::MAX;

/// Loss and gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Σ losses: divide by the count for the mean.
    pub loss_sum: f64,
    /// Each row's loss, \[n\]; 0 where ignored.
    pub losses: Vec<f64>,
    /// \[n,v\].
    pub dlogits: Vec<f64>,
}

/// The number of targets that are not [`IGNORED`].
pub fn count(targets: &[u32]) -> usize {
    targets.iter().filter(|&&t| t != IGNORED).count()
}

/// Loss and gradient of logits \[n,v\].
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

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, largest_difference, normal};
    use super::*;

    #[test]
    fn gradient_with_ignored_rows() {
        let (v, targets) = (11, [3, IGNORED, 0, 10, IGNORED]);
        let logits: Vec<f64> = normal(v * targets.len(), 1).iter().map(|l| 5.0 * l).collect();
        let count = count(&targets);
        assert_eq!(count, 3);
        let out = cross_entropy(&logits, v, &targets, count);
        check_gradient("logits", &logits, &out.dlogits, |l| cross_entropy(l, v, &targets, 3).loss_sum / 3.0);
        assert!(out.losses[1] == 0.0 && out.losses[4] == 0.0 && out.dlogits[v..2 * v].iter().all(|d| *d == 0.0));
        assert!((out.losses.iter().sum::<f64>() - out.loss_sum).abs() < 1e-14);
    }

    #[test]
    fn uniform_logits_and_a_thousand() {
        let out = cross_entropy(&[7.0; 4], 4, &[2], 1);
        assert!((out.loss_sum - 4f64.ln()).abs() < 1e-15);
        assert!(largest_difference(&out.dlogits, &[0.25, 0.25, -0.75, 0.25]) < 1e-15);
        assert_eq!(cross_entropy(&[1000.0, 0.0], 2, &[1], 1).loss_sum, 1000.0);
    }

    #[test]
    fn without_targets_all_is_zero() {
        let out = cross_entropy(&normal(6, 1), 3, &[IGNORED; 2], 0);
        assert_eq!(out, CrossEntropy { loss_sum: 0.0, losses: vec![0.0; 2], dlogits: vec![0.0; 6] });
        let out = cross_entropy(&normal(6, 1), 3, &[0, 1], 0);
        assert_eq!(out.dlogits, [0.0; 6], "a count of 0 divides nothing");
    }
}
