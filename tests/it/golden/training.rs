//! Cases b: twenty training steps.

use super::case::{Case, batch, model, options};
use wgpt::config::{ModelConfig, ParameterKind, ParameterShape};
use wgpt::data::batch::Batch;
use wgpt::gpu::Device;
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Capacity, Training};
use wgpt::ops::optimizer::Arithmetic;
use wgpt::reference::widen;

/// Twenty steps: losses, norms, weights, moments.
pub fn training(device: &Device, case: &Case) -> f64 {
    let (config, weights) = model(case);
    let shape = case.shape("in.batches").to_vec();
    let (count, b, t) = (shape[0], shape[1], shape[2]);
    let late = case.manifest["config"]["optimizer"].as_str().is_some_and(|o| o.contains("OpenAIAdam"));
    let key = ["weight_decay_ndim_ge_2", "weight_decay"];
    let decay = key.iter().find_map(|k| case.manifest["config"][k].as_f64()).expect("a decay");
    let arithmetic = if late { Arithmetic::Hf2018 } else { Arithmetic::Torch };
    let options = options(case.number("clip_global_norm"), decay, arithmetic);
    let capacity = Capacity { rows: b * t, sequences: b };
    let mut training = Training::new(device, &config, &weights, capacity, options).expect("a recording");
    let ids = case.values("in.batches");
    let batches: Vec<Batch> = (0..count)
        .map(|i| {
            let part = &ids[i * b * t..(i + 1) * b * t];
            batch(part, part, &vec![t; b], t)
        })
        .collect();
    let mut worst = 0.0f64;
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (step, lr) in case.values("out.lr").iter().enumerate() {
        let batch = &batches[step % count];
        training.accumulate_gradients(batch, batch.target_count, [0; 2]).expect("a step");
        training.optimizer_step(*lr).expect("an update");
        for result in training.wait_for_results().expect("a result") {
            losses.push(result.loss);
            norms.push(f64::from(result.grad_norm));
        }
        for (prefix, at) in [("out.after_step2.", 2)] {
            if step + 1 == at && case.data.keys().any(|k| k.starts_with(prefix)) {
                worst = worst.max(judge_tensors(case, prefix, &config, &training.parameters().expect("weights")));
            }
        }
    }
    worst = worst.max(case.judge("out.loss", &losses, |_| true));
    worst = worst.max(case.judge("out.grad_norm", &norms, |_| true));
    let last = training.parameters().expect("weights");
    worst = worst.max(judge_tensors(case, "out.final.", &config, &last));
    for (prefix, flat) in
        [("out.exp_avg.", ParameterData::FirstMoments), ("out.exp_avg_sq.", ParameterData::SecondMoments)]
    {
        if case.data.keys().any(|k| k.starts_with(prefix)) {
            worst = worst.max(judge_tensors(case, prefix, &config, &training.read(flat).expect("moments")));
        }
    }
    // The whole run by the relative L2 of its update, key biases left out.
    if let Some(limit) = case.manifest["suggest"]["update_rel_l2"].as_f64() {
        let (mut error, mut size) = (0.0, 0.0);
        for ((shape, got), start) in config.parameters().iter().zip(&last).zip(&weights) {
            let expected = case.values(&format!("out.final.{}", shape.name));
            for i in (0..got.len()).filter(|i| !key_bias(&shape.name, *i, config.n_embd)) {
                error += (f64::from(got[i]) - expected[i]).powi(2);
                size += (expected[i] - f64::from(start[i])).powi(2);
            }
        }
        worst = worst.max((error / size).sqrt() / limit);
    }
    let end = training.evaluate(&batches[0]).expect("losses");
    let mean = end.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(batches[0].target_count);
    if case.manifest["scalars"].get("final_loss_batch0").is_some() {
        worst = worst.max(case.scalar("final_loss_batch0", mean));
    }
    worst
}

/// Whether a number is a bias of keys, whose gradient is 0 but for rounding.
fn key_bias(name: &str, i: usize, c: usize) -> bool {
    name.ends_with("c_attn.bias") && (c..2 * c).contains(&i)
}

/// The largest error of all parameters but the biases of keys.
fn judge_tensors(case: &Case, prefix: &str, config: &ModelConfig, got: &[Vec<f32>]) -> f64 {
    let of = |(shape, got): (ParameterShape, &Vec<f32>)| {
        debug_assert!(shape.kind != ParameterKind::Weight || shape.rows > 0);
        case.judge(&format!("{prefix}{}", shape.name), &widen(got), |i| !key_bias(&shape.name, i, config.n_embd))
    };
    config.parameters().into_iter().zip(got).map(of).fold(0.0, f64::max)
}
