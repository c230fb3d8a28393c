//! One update of AdamW, as PyTorch does it, and of the older port that `optimizer = "hf2018"` names.
//!
//! g = gradient_scale·gradient, m ← β1·m + (1−β1)·g, v ← β2·v + (1−β2)·g², then
//! torch: p ← p − lr·wd·p, p ← p − lr·m̂/(√v̂ + ε), m̂ = m/(1−β1ᵗ), v̂ = v/(1−β2ᵗ);
//! hf2018: p ← p − lr·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + ε), then p ← p − lr·wd·p.
//! Element-wise, any shape. All in f64: 1 − 0.999 taken in f32 is already wrong by 1e-5 of itself.
//! Source: Loshchilov & Hutter 2019, torch.optim.AdamW, pytorch_pretrained_bert.OpenAIAdam; SPEC 2.

/// Where ε and the decay stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// torch.optim.AdamW.
    #[default]
    Torch,
    /// Hugging Face's port of 2018 of OpenAI's Adam.
    Hf2018,
}

/// The numbers of one update of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Learning rate.
    pub lr: f64,
    /// β1.
    pub beta1: f64,
    /// β2.
    pub beta2: f64,
    /// ε.
    pub eps: f64,
    /// wd: 0 for vectors.
    pub weight_decay: f64,
    /// Updates of this tensor, this one included: from 1.
    pub t: u32,
    /// What the gradient is multiplied by first: clipping, unscaling.
    pub gradient_scale: f64,
    /// Which arithmetic.
    pub form: Form,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            t: 1,
            gradient_scale: 1.0,
            form: Form::Torch,
        }
    }
}

/// Updates parameters and both moments in place.
pub fn step(parameters: &mut [f64], gradients: &[f64], m: &mut [f64], v: &mut [f64], options: &Options) {
    let Options { lr, beta1, beta2, eps, weight_decay, t, gradient_scale, form } = *options;
    let (correction1, correction2) = (1.0 - beta1.powi(t as i32), 1.0 - beta2.powi(t as i32));
    for i in 0..parameters.len() {
        let g = gradient_scale * gradients[i];
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        let p = &mut parameters[i];
        match form {
            Form::Torch => {
                *p -= lr * weight_decay * *p;
                *p -= lr * (m[i] / correction1) / ((v[i] / correction2).sqrt() + eps);
            }
            Form::Hf2018 => {
                *p -= lr * correction2.sqrt() / correction1 * m[i] / (v[i].sqrt() + eps);
                *p -= lr * weight_decay * *p;
            }
        }
    }
}
