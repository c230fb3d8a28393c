//! `wgpt plan --time`: some steps of the run on the adapter, and how long the run will take by them.

use super::bench::fixture;
use super::context::Context;
use super::numbers::{bytes, duration, grouped};
use super::output::note;
use super::stop::Done;
use super::texts::note_long_text;
use super::user_cache::token_cache;
use crate::data::batch::Batch;
use crate::gpu::Device;
use crate::model::{self, Capacity, Training, initial_parameters};
use crate::philox;
use crate::report::{Align, Table};
use crate::train::settings::Settings;
use crate::train::{Length, Pretraining, engine};
use crate::{Error, Result};
use std::path::Path;
use std::time::Instant;

/// Seconds of steps that are measured, about.
const SECONDS: f64 = 3.0;
/// The most steps that are measured.
const STEPS: f64 = 200.0;
const LEARNING_RATE: f64 = 1e-4;

/// What a run takes on an adapter.
struct Speed {
    /// Seconds until the first step was done: reading shaders, compiling them, and the step.
    first_s: f64,
    /// Seconds of an optimizer step.
    step_s: f64,
    /// Seconds of an evaluation of a micro-batch.
    evaluation_s: f64,
    device_bytes: u64,
}

/// The text of the run, read as by `pretrain`; `None` where `data` is not set.
///
/// # Errors
/// As [`Pretraining::read`].
pub(super) fn text(settings: &Settings) -> Result<Option<Pretraining>> {
    if settings.data.is_empty() {
        return Ok(None);
    }
    note_long_text(&settings.data);
    // Nothing is written there.
    Pretraining::read(settings.clone(), None, Path::new("plan"), &token_cache()).map(Some)
}

/// Prints the time of a step and of the run and, where its text is known, of its first epoch and evaluations.
pub(super) fn run(
    context: &mut Context<'_>,
    settings: &Settings,
    capacity: Capacity,
    text: Option<Pretraining>,
) -> Done {
    let device = context.open()?;
    let speed = measure(&device, settings, capacity)?;
    let rows = capacity.rows * settings.micro_batches();
    let name = device.caps().name.clone();
    let mut table = Table::new(&[(&format!("time on {name}"), Align::Left), ("", Align::Right)]);
    table.row(["start, with compilation".to_string(), format!("{:.1} s", speed.first_s)]);
    table.row(["optimizer step".to_string(), format!("{:.1} ms", speed.step_s * 1e3)]);
    table.row(["tokens per second".to_string(), grouped((rows as f64 / speed.step_s) as u64)]);
    let gflops = model::step_flops(&settings.model, rows) / speed.step_s / 1e9;
    table.row(["GFLOP/s".to_string(), format!("{gflops:.1}")]);
    table.row(["device memory".to_string(), bytes(speed.device_bytes)]);
    let steps = match (&text, settings.length) {
        (Some(text), _) => Some(text.steps),
        (None, Length::Steps(steps)) => Some(steps),
        (None, Length::Epochs(_)) => None,
    };
    if let Some(text) = &text {
        let epoch = text.data_loader()?.steps_in(1)?;
        let length = format!("first epoch, {} steps", grouped(epoch));
        table.row([length, duration(epoch as f64 * speed.step_s)]);
    }
    if let Some(steps) = steps {
        let (name, seconds) = (format!("{} steps", grouped(steps.into())), f64::from(steps) * speed.step_s);
        table.row([name, duration(seconds)]);
        if let Some(text) = &text {
            let evaluations = 1 + steps.div_ceil(settings.eval_every.max(1));
            let batches = text.held_out.tokens().len().div_ceil(capacity.rows);
            let more = f64::from(evaluations) * batches as f64 * speed.evaluation_s;
            table.row([format!("{} evaluations", grouped(evaluations.into())), duration(more)]);
            table.row(["the run".to_string(), duration(speed.first_s + seconds + more)]);
        }
    }
    write!(context.out, "\n{table}")?;
    if text.is_none() {
        note("with --data, the length of an epoch and the time of evaluations are computed too");
    }
    Ok(())
}

/// Takes some steps of the run from random weights on random tokens.
fn measure(device: &Device, settings: &Settings, capacity: Capacity) -> Result<Speed> {
    let (config, begin) = (&settings.model, Instant::now());
    let options = engine::optimizer_options(settings, 0.0);
    let mut training = Training::new(device, config, &initial_parameters(config, settings.seed), capacity, options)?;
    let batch = fixture::batch(capacity.sequences, config.n_positions, config.vocab_size)?;
    steps(&mut training, settings, &batch, 1)?;
    let first_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    steps(&mut training, settings, &batch, 1)?;
    let count = (SECONDS / begin.elapsed().as_secs_f64().max(1e-6)).clamp(2.0, STEPS) as usize;
    let begin = Instant::now();
    steps(&mut training, settings, &batch, count)?;
    let step_s = begin.elapsed().as_secs_f64() / count as f64;
    training.evaluate(&batch)?;
    let begin = Instant::now();
    training.evaluate(&batch)?;
    Ok(Speed { first_s, step_s, evaluation_s: begin.elapsed().as_secs_f64(), device_bytes: device.bytes_in_use() })
}

/// Takes `count` optimizer steps without waiting between them, as a run does, and waits for their results.
fn steps(training: &mut Training, settings: &Settings, batch: &Batch, count: usize) -> Result<()> {
    let parts = settings.micro_batches();
    for _ in 0..count {
        if parts == 1 {
            training.step(batch, LEARNING_RATE, settings.seed)?;
            continue;
        }
        let key = philox::step_key(settings.seed, training.progress().step);
        for _ in 0..parts {
            training.accumulate_gradients(batch, batch.target_count * parts as u32, key)?;
        }
        training.optimizer_step(LEARNING_RATE)?;
    }
    let results = training.wait_for_results()?;
    match results.iter().find(|result| !result.loss.is_finite() || result.halted.is_some()) {
        Some(result) => Err(Error::NotFinite(format!("step {}: the loss is {}", result.step, result.loss))),
        None => Ok(()),
    }
}
