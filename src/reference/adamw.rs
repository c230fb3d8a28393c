//! One step of AdamW: that of PyTorch, and that of the port of 2018 (`optimizer = "hf2018"`).
//!
//! g = gradient_scale·gradient, m ← β1·m + (1−β1)·g, v ← β2·v + (1−β2)·g², then
//! torch: p ← p − lr·wd·p, p ← p − lr·m̂/(√v̂ + ε), m̂ = m/(1−β1ᵗ), v̂ = v/(1−β2ᵗ);
//! hf2018: p ← p − lr·√(1−β2ᵗ)/(1−β1ᵗ)·m/(√v + ε), then p ← p − lr·wd·p.
//! Element-wise, any shape. All in f64: 1 − 0.999 taken in f32 is already wrong by 1e-5 of itself.
//! Source: Loshchilov & Hutter 2019, torch.optim.AdamW, pytorch_pretrained_bert.OpenAIAdam; docs/spec.md section 2.

/// Where ε and weight decay are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// torch.optim.AdamW.
    #[default]
    Torch,
    /// Hugging Face's port of 2018 of OpenAI's Adam.
    Hf2018,
}

/// The numbers of one step of one tensor.
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
    /// Steps of this tensor, this one included: from 1.
    pub t: u32,
    /// Factor of the gradient: clipping, unscaling.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One number, two steps, worked out by hand for both forms.
    #[test]
    fn two_steps_by_hand() {
        let options = Options {
            lr: 0.1,
            beta1: 0.5,
            beta2: 0.75,
            eps: 1.0,
            weight_decay: 0.5,
            gradient_scale: 0.5,
            ..Default::default()
        };
        let run = |form, steps: u32| {
            let (mut p, mut m, mut v) = ([2.0], [0.0], [0.0]);
            for t in 1..=steps {
                step(&mut p, &[8.0], &mut m, &mut v, &Options { t, form, ..options });
            }
            (p[0], m[0], v[0])
        };
        // g = 4; m = 2, then 3; v = 4, then 7; corrections 1/2, 1/4, then 3/4, 7/16.
        // torch: 2 − 0.1 − 0.1·4/(4+1) = 1.82, then 1.82·0.95 − 0.08.
        let (p, m, v) = run(Form::Torch, 1);
        assert!((p - 1.82).abs() < 1e-15 && m == 2.0 && v == 4.0);
        let (p, m, v) = run(Form::Torch, 2);
        assert!((p - (1.82 * 0.95 - 0.08)).abs() < 1e-15 && m == 3.0 && v == 7.0);
        // hf2018: step 0.1·½/½ = 0.1: (2 − 0.1·2/(2+1))·0.95, then 0.1·√(7/16)/(3/4)·3/(√7+1).
        let first = (2.0 - 0.2 / 3.0) * 0.95;
        assert!((run(Form::Hf2018, 1).0 - first).abs() < 1e-15);
        let second = (first - 0.1 * (7.0f64 / 16.0).sqrt() / 0.75 * 3.0 / (7f64.sqrt() + 1.0)) * 0.95;
        assert!((run(Form::Hf2018, 2).0 - second).abs() < 1e-15);
    }
}
