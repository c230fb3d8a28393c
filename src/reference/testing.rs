//! What the oracles' tests share: random numbers that are a function of a seed, and the gradient check.

use crate::philox::{Stream, Words};

/// `n` normal numbers.
pub fn normal(n: usize, seed: u32) -> Vec<f64> {
    let mut words = Words::new(20260, Stream::Weights, seed, 77);
    (0..n).map(|_| words.normal_pair()[0]).collect()
}

/// ⟨a, b⟩.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Fails unless `gradient` is f's at `x`, by central differences along four random directions of length 1.
///
/// Relative 1e-6 of the slope, or of a typical slope where the direction happens to be nearly level. The step 1e-5
/// leaves an error of about 1e-10 from the cubic term and 1e-11 from rounding.
pub fn check_gradient(what: &str, x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}: the gradient's length");
    let typical = dot(gradient, gradient).sqrt() / (x.len() as f64).sqrt();
    for seed in 0..4 {
        let u = normal(x.len(), 1000 + seed);
        let length = dot(&u, &u).sqrt();
        let h = 1e-5;
        let moved = |by: f64| f(&x.iter().zip(&u).map(|(x, u)| x + by * u / length).collect::<Vec<_>>());
        let numeric = (moved(h) - moved(-h)) / (2.0 * h);
        let exact = dot(gradient, &u) / length;
        let error = (numeric - exact).abs();
        assert!(
            error <= 1e-6 * exact.abs().max(typical),
            "{what}: slope {numeric} by differences, {exact} by the gradient (direction {seed})"
        );
    }
}

/// The largest absolute difference.
pub fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
