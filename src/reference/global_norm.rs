//! The norm of all gradients together, and what clipping multiplies them by.
//!
//! norm = √(Σ over all tensors, all elements g²); scale = min(1, clip/(norm + 1e-6)).
//! Source: `torch.nn.utils.clip_grad_norm_`; docs/spec.md section 2.

/// The norm of several slices as of one.
pub fn global_norm<T: AsRef<[f64]>>(gradients: &[T]) -> f64 {
    gradients.iter().flat_map(|g| g.as_ref()).map(|g| g * g).sum::<f64>().sqrt()
}

/// The factor of every gradient.
pub fn clip_scale(norm: f64, clip: f64) -> f64 {
    (clip / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_slices_are_one_and_clipping_is_torchs() {
        assert_eq!(global_norm(&[vec![1.0, 2.0], vec![], vec![2.0, 4.0]]), 5.0);
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert_eq!(clip_scale(0.0, 1.0), 1.0);
        assert_eq!(clip_scale(5.0, 1.0), 1.0 / 5.000001);
        assert_eq!(clip_scale(1.0, 1.0), 1.0 / 1.000001);
    }
}
