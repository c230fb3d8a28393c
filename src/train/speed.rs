//! The speed of a model's training, from some steps on a device, and the batch that follows from it.

use super::memory::planned;
use super::options::optimizer_options;
use super::settings::Settings;
use crate::config::ModelConfig;
use crate::data::batch::{Batch, Sequence};
use crate::error::DeviceError;
use crate::gpu::Device;
use crate::model::{Capacity, Training};
use crate::philox::{self, Stream, Words};
use crate::{Error, Result};
use std::time::Instant;

/// The most steps that are measured.
const STEPS: f64 = 200.0;
const LEARNING_RATE: f64 = 1e-4;
/// What a batch of twice the size must gain in speed.
const GAIN: f64 = 1.05;
/// Seconds of steps that each size is measured for, about.
const SECONDS_A_SIZE: f64 = 1.0;

/// The times of a model's training on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Seconds until the first step was done: reading shaders, compiling them, and the step.
    pub first_s: f64,
    /// Seconds of an optimizer step.
    pub step_s: f64,
    /// Seconds of an evaluation of a micro-batch.
    pub evaluation_s: f64,
    /// Device memory in use, in bytes.
    pub device_bytes: u64,
}

/// Sequences of random tokens.
fn batch(model: &ModelConfig, sequences: usize) -> Result<Batch> {
    let mut random = Words::new(0, Stream::Sampling, 0, 0);
    let mut id = || random.below(model.vocab_size as u32);
    let mut ids = || (0..model.n_positions).map(|_| id()).collect();
    let all: Vec<Sequence> = (0..sequences).map(|_| Sequence { ids: ids(), targets: ids() }).collect();
    Batch::from_sequences(&all)
}

/// Measures steps of `settings` on random tokens for about so many seconds. `capacity` is that of a micro-batch.
///
/// # Errors
/// [`Error::Device`]; [`Error::NotFinite`] for a loss that is not finite.
pub fn measure(
    device: &Device,
    settings: &Settings,
    parameters: &[Vec<f32>],
    capacity: Capacity,
    seconds: f64,
) -> Result<Speed> {
    let begin = Instant::now();
    let options = optimizer_options(settings, 0.0);
    let mut training = Training::new(device, &settings.model, parameters, capacity, options)?;
    let batch = batch(&settings.model, capacity.sequences)?;
    steps(&mut training, settings, &batch, 1)?;
    let first_s = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    steps(&mut training, settings, &batch, 1)?;
    let count = (seconds / begin.elapsed().as_secs_f64().max(1e-6)).clamp(2.0, STEPS) as usize;
    let begin = Instant::now();
    steps(&mut training, settings, &batch, count)?;
    let step_s = begin.elapsed().as_secs_f64() / count as f64;
    training.evaluate(&batch)?;
    let begin = Instant::now();
    training.evaluate(&batch)?;
    let evaluation_s = begin.elapsed().as_secs_f64();
    Ok(Speed { first_s, step_s, evaluation_s, device_bytes: device.bytes_in_use() })
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
        Some(result) => Err(Error::not_finite_in_step("loss", result.step)),
        None => Ok(()),
    }
}

/// The smallest batch of full speed on a device: the sequences of a micro-batch are doubled, from one, while each doubling
/// raises the tokens per second by more than 5 %, and the settings and the device have memory for them. Returns the sequences
/// of a micro-batch, and the tokens per second of all sizes that were measured.
///
/// # Errors
/// As [`measure`], also when there is too little memory for one sequence.
pub(super) fn fastest_sequences(
    device: &Device,
    settings: &Settings,
    parameters: &[Vec<f32>],
) -> Result<(usize, Vec<(usize, f64)>)> {
    let limit = settings.memory.map_or(u64::MAX, |memory| memory.0);
    let capacity = |sequences| Capacity::of_windows(&settings.model, sequences);
    let bytes =
        |sequences| planned(settings, &settings.model, capacity(sequences), settings.recomputes()).total() as u64;
    let tokens_per_second = |sequences: usize| -> Result<f64> {
        let speed = measure(device, settings, parameters, capacity(sequences), SECONDS_A_SIZE)?;
        Ok((sequences * settings.model.n_positions * settings.micro_batches()) as f64 / speed.step_s)
    };
    let mut all = vec![(1, tokens_per_second(1)?)];
    // The step of twice the size must have less than 2^31 tokens.
    for sequences in (1..).map(|doublings| 1usize << doublings) {
        let most = (1 << 31) / (settings.model.n_positions * settings.micro_batches() * settings.ranks()).max(1);
        if sequences >= most || bytes(sequences) > limit {
            break;
        }
        let speed = match tokens_per_second(sequences) {
            Err(Error::Device(DeviceError::OutOfMemory { .. })) if device.wait().is_ok() => break,
            measured => measured?,
        };
        let gains = all.last().is_none_or(|(_, before)| speed > GAIN * before);
        all.push((sequences, speed));
        if !gains {
            return Ok((sequences / 2, all));
        }
    }
    Ok((all.last().map_or(1, |(sequences, _)| *sequences), all))
}
