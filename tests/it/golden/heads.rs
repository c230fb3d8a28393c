//! Cases c, d and e: logits, losses and gradients of the heads of tasks.

use super::case::{Case, batch, options};
use crate::common::models::capacity_of;
use wgpt::config::{Answers, ModelConfig, Task, TaskKind};
use wgpt::data::batch::{Answer, Batch, Example, IGNORED};
use wgpt::gpu::Device;
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Prediction, Training, TrainingOptions};
use wgpt::ops::optimizer::Arithmetic;
use wgpt::reference::widen;
use wgpt::store::config_json;

/// The case's numbers with a task, and its weights under the names that `rename` gives those of ours.
fn model(case: &Case, task: Task, rename: impl Fn(&str) -> String) -> (ModelConfig, Vec<Vec<f32>>) {
    let path = case.folder.join("config.json");
    let config = config_json::from_json(&std::fs::read(&path).expect("config.json"), &path).expect("a config");
    let config = ModelConfig { task: Some(task), ..config };
    let weights = |name: &str| case.weight(&rename(name)).iter().map(|x| *x as f32).collect();
    let all = config.parameters().iter().map(|shape| weights(&shape.name)).collect();
    (config, all)
}

fn labels(n: usize) -> Answers {
    Answers::Labels((0..n).map(|i| format!("LABEL_{i}")).collect())
}

/// Sequences without LM targets, `of_example` of them an example.
fn examples(case: &Case, lengths: &[usize], of_example: usize, answer: impl Fn(f64) -> Answer, key: &str) -> Batch {
    let ids = case.values("in.input_ids");
    let t = ids.len() / lengths.len();
    let targets = match case.data.get("in.labels") {
        Some((_, labels)) if key != "in.labels" => labels.clone(),
        _ => vec![-100.0; ids.len()],
    };
    let mut batch = batch(ids, &targets, lengths, t);
    let answers = case.values(key).iter().enumerate();
    batch.examples =
        answers.map(|(i, y)| Example { sequences: i * of_example..(i + 1) * of_example, answer: answer(*y) }).collect();
    batch
}

/// The mask's lengths; the head must read what is the last token of each sequence.
fn lengths(case: &Case, extracts: &str) -> Vec<usize> {
    let mask = &case.data["in.attention_mask"];
    let t = *mask.0.last().expect("a width");
    let lengths: Vec<usize> = mask.1.chunks_exact(t).map(|m| m.iter().sum::<f64>() as usize).collect();
    assert!(case.values(extracts).iter().zip(&lengths).all(|(at, n)| *at as usize + 1 == *n), "{extracts}");
    lengths
}

/// Runs a step and an inference: the largest error of gradients, logits and losses, and L1 and L2.
fn judge(
    device: &Device,
    case: &Case,
    (config, weights): &(ModelConfig, Vec<Vec<f32>>),
    batch: &Batch,
    lm_coef: f64,
    rename: impl Fn(&str) -> String,
) -> (f64, Vec<Prediction>, [f64; 2]) {
    let capacity = capacity_of(batch);
    let options = TrainingOptions { lm_coef, ..options(0.0, 0.0, Arithmetic::Torch) };
    let mut training = Training::new(device, config, weights, capacity, options).expect("a recording");
    training.accumulate_gradients(batch, batch.loss_counts(), [0; 2]).expect("a step");
    let mut worst = 0.0f64;
    for (shape, got) in config.parameters().iter().zip(&training.read(ParameterData::Gradients).expect("gradients")) {
        worst = worst.max(case.judge(&format!("grad.{}", rename(&shape.name)), &widen(got), |_| true));
    }
    let answers = training.inference(capacity).expect("a recording").answers(batch).expect("answers");
    training.optimizer_step(0.0).expect("an update");
    let result = training.wait_for_results().expect("a result")[0];
    let l2 = result.task_loss;
    let own = answers.iter().map(|a| f64::from(a.loss)).sum::<f64>() / answers.len() as f64;
    assert!((l2 - own).abs() <= 1e-5 * own.abs(), "training's loss {l2}, inference's {own}");
    (worst, answers, [result.loss, l2])
}

fn logits(answers: &[Prediction]) -> Vec<f64> {
    answers.iter().flat_map(|answer| widen(&answer.logits)).collect()
}

fn class(y: f64) -> Answer {
    Answer::Class(y as u32)
}

fn score(y: f64) -> Answer {
    Answer::Score(y as f32)
}

/// Multiple choice beside the language model's loss.
pub fn double_heads(device: &Device, case: &Case) -> f64 {
    let task = Task { kind: TaskKind::Choose, answers: Answers::Candidate };
    let model = model(case, task, str::to_string);
    let choices = case.shape("in.mc_token_ids")[1];
    let batch = examples(case, &lengths(case, "in.mc_token_ids"), choices, class, "in.mc_labels");
    assert!(batch.targets.iter().any(|target| *target != IGNORED));
    let (worst, answers, [l1, l2]) = judge(device, case, &model, &batch, 0.5, str::to_string);
    worst
        .max(case.judge("out.mc_logits", &logits(&answers), |_| true))
        .max(case.scalar("lm_loss", l1))
        .max(case.scalar("mc_loss", l2))
        .max(case.scalar("l3", l2 + 0.5 * l1))
}

/// Sequence classification, or regression.
pub fn sequence_classification(device: &Device, case: &Case) -> f64 {
    let outputs = *case.shape("out.logits").last().expect("outputs");
    let (answers, answer): (_, fn(f64) -> Answer) =
        if outputs == 1 { (Answers::Score, score) } else { (labels(outputs), class) };
    let model = model(case, Task { kind: TaskKind::Classify, answers }, str::to_string);
    let batch = examples(case, &lengths(case, "in.last_token"), 1, answer, "in.labels");
    let (worst, answers, [_, l2]) = judge(device, case, &model, &batch, 0.0, str::to_string);
    worst.max(case.judge("out.logits", &logits(&answers), |_| true)).max(case.scalar("loss", l2))
}

/// Both orders of a pair, their states added.
pub fn similarity(device: &Device, case: &Case) -> f64 {
    let outputs = *case.shape("out.logits").last().expect("outputs");
    let (answers, answer): (_, fn(f64) -> Answer) =
        if outputs == 1 { (Answers::Score, score) } else { (labels(outputs), class) };
    let rename = |name: &str| name.replace("similarity_head.", "head.");
    let model = model(case, Task { kind: TaskKind::Similar, answers }, rename);
    let batch = examples(case, &lengths(case, "in.extract_pos"), 2, answer, "in.labels");
    let (worst, answers, [_, l2]) = judge(device, case, &model, &batch, 0.0, rename);
    worst.max(case.judge("out.logits", &logits(&answers), |_| true)).max(case.scalar("loss", l2))
}
