//! The norm of all gradients together, and what clipping multiplies them by.
//!
//! norm = √(Σ over all tensors, all elements g²); scale = min(1, clip/(norm + 1e-6)).
//! Source: `torch.nn.utils.clip_grad_norm_`; SPEC 2.

/// The norm of several slices as of one.
pub fn global_norm<T: AsRef<[f64]>>(gradients: &[T]) -> f64 {
    gradients.iter().flat_map(|g| g.as_ref()).map(|g| g * g).sum::<f64>().sqrt()
}

/// The factor of every gradient.
pub fn clip_scale(norm: f64, clip: f64) -> f64 {
    (clip / (norm + 1e-6)).min(1.0)
}
