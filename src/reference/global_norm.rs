//! The global norm of all gradients, and the scale of clipping.
//!
//! norm = √(Σ over all tensors, all elements g²); scale = min(1, clip/(norm + 1e-6)).
//! Source: `torch.nn.utils.clip_grad_norm_`; docs/spec.md section 2.

/// The norm of several slices together.
pub fn global_norm<T: AsRef<[f64]>>(gradients: &[T]) -> f64 {
    gradients.iter().flat_map(|g| g.as_ref()).map(|g| g * g).sum::<f64>().sqrt()
}

/// The factor by which clipping scales every gradient.
pub fn clip_scale(norm: f64, clip: f64) -> f64 {
    (clip / (norm + 1e-6)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_add_up_and_clipping_is_that_of_torch() {
        assert_eq!(global_norm(&[vec![1.0, 2.0], vec![], vec![2.0, 4.0]]), 5.0);
        assert_eq!(clip_scale(0.5, 1.0), 1.0);
        assert_eq!(clip_scale(0.0, 1.0), 1.0);
        assert_eq!(clip_scale(5.0, 1.0), 1.0 / 5.000001);
        assert_eq!(clip_scale(1.0, 1.0), 1.0 / 1.000001);
    }
}
