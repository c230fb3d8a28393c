//! Cases a: hidden states, logits, losses and gradients of a language model.

use super::case::{Case, batch, model, options};
use crate::common::models::capacity_of;
use wgpt::gpu::Device;
use wgpt::model::Training;
use wgpt::model::parameters::ParameterData;
use wgpt::ops::optimizer::Arithmetic;
use wgpt::reference::widen;

/// A language model: hidden states, logits, losses, gradients.
pub fn language_model(device: &Device, case: &Case) -> f64 {
    let (config, weights) = model(case);
    let shape = case.shape("in.input_ids").to_vec();
    let (b, t) = (shape[0], shape[1]);
    let lengths: Vec<usize> = match case.data.get("in.attention_mask") {
        Some((_, mask)) => mask.chunks_exact(t).map(|m| m.iter().sum::<f64>() as usize).collect(),
        None => vec![t; b],
    };
    let batch = batch(case.values("in.input_ids"), case.values("in.labels"), &lengths, t);
    let options = options(0.0, 0.0, Arithmetic::Torch);
    let mut training = Training::new(device, &config, &weights, capacity_of(&batch), options).expect("a recording");
    training.accumulate_gradients(&batch, batch.target_count, [0; 2]).expect("a step");
    let mut worst = 0.0f64;
    // Packed rows back to [B, T, columns]. Padding is not compared.
    let real = |columns: usize| {
        let lengths = lengths.clone();
        move |i: usize| (i / columns) % t < lengths[i / columns / t]
    };
    let spread = |packed: &[f32], columns: usize| {
        let mut out = vec![0.0; b * t * columns];
        for (s, n) in lengths.iter().enumerate() {
            let from = batch.rows_of(s).start * columns;
            for j in 0..n * columns {
                out[s * t * columns + j] = f64::from(packed[from + j]);
            }
        }
        out
    };
    for i in 0..=config.n_layer {
        let hidden = training.hidden(i, batch.rows()).expect("hidden");
        let c = config.n_embd;
        worst = worst.max(case.judge(&format!("out.hidden_{i}"), &spread(&hidden, c), real(c)));
    }
    let gradients = training.read(ParameterData::Gradients).expect("gradients");
    for (shape, got) in config.parameters().iter().zip(&gradients) {
        worst = worst.max(case.judge(&format!("grad.{}", shape.name), &widen(got), |_| true));
    }
    let v = config.vocab_size;
    let logits = training.logits(&batch).expect("logits");
    worst = worst.max(case.judge("out.logits", &spread(&logits, v), real(v)));
    let losses = training.evaluate(&batch).expect("losses");
    let spread_losses = spread(&losses, 1);
    let per_token: Vec<f64> = (0..b).flat_map(|s| spread_losses[s * t..s * t + t - 1].to_vec()).collect();
    worst = worst.max(case.judge("out.per_token_loss", &per_token, |_| true));
    let mean = losses.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(batch.target_count.max(1));
    worst.max(case.scalar("mean_loss", mean))
}
