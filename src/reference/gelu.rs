//! GELU, tanh form: 0.5·x·(1 + tanh u), u = √(2/π)·(x + 0.044715·x³).
//!
//! Written with the logistic function, since 0.5·(1 + tanh u) = σ(2u): no cancellation in the negative tail, finite for
//! every finite x. gelu′ = σ(2u) + x·2u′·σ(2u)·σ(−2u), u′ = √(2/π)·(1 + 3·0.044715·x²).
//! Element-wise, any shape. Source: Hendrycks & Gimpel 2016; docs/spec.md section 1 (`gelu_new` of Hugging Face).

/// √(2/π).
const SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
/// The cubic's weight.
const CUBIC: f64 = 0.044715;

/// σ(z), without overflow into NaN: exp may reach infinity, its reciprocal is 0.
fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// gelu(x).
pub fn gelu(x: f64) -> f64 {
    x * logistic(2.0 * SCALE * (x + CUBIC * x * x * x))
}

/// d gelu / dx.
pub fn gelu_derivative(x: f64) -> f64 {
    let two_u = 2.0 * SCALE * (x + CUBIC * x * x * x);
    let slope = 2.0 * SCALE * (1.0 + 3.0 * CUBIC * x * x);
    logistic(two_u) + x * slope * (logistic(two_u) * logistic(-two_u))
}

/// gelu of every element.
pub fn forward(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| gelu(x)).collect()
}

/// dx = dy·gelu′(x), x the argument of the forward pass.
pub fn backward(dy: &[f64], x: &[f64]) -> Vec<f64> {
    dy.iter().zip(x).map(|(dy, &x)| dy * gelu_derivative(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, normal};
    use super::*;

    #[test]
    fn equals_the_tanh_form_and_its_limits() {
        for i in -400..=400 {
            let x = f64::from(i) / 100.0;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!((gelu(x) - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-14, "gelu({x})");
        }
        assert_eq!((gelu(1000.0), gelu(-1000.0)), (1000.0, 0.0));
        assert_eq!((gelu_derivative(1000.0), gelu_derivative(-1000.0)), (1.0, 0.0));
        assert!((-1000..=1000).all(|x| gelu(f64::from(x)).is_finite() && gelu_derivative(f64::from(x)).is_finite()));
    }

    #[test]
    fn gradient() {
        let (x, dy) = (normal(60, 1).iter().map(|x| 3.0 * x).collect::<Vec<_>>(), normal(60, 2));
        check_gradient("gelu", &x, &backward(&dy, &x), |x| dot(&dy, &forward(x)));
    }
}
