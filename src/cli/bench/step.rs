//! `wgpt bench step`: the time of one training step with the weights and batch of [`fixture`].
//!
//! The step has no dropout and no clipping, and AdamW's weight decay applies to every tensor, so that a program in another
//! framework is easily written to do the same work. Its losses are therefore known (see the help below and docs/performance.md).

use super::fixture::{self, LEARNING_RATE};
use super::profile::{KernelTime, by_grid, by_kernel};
use super::timing::median;
use super::wrong_results::wrong_results;
use crate::cli::arguments::{flag, json_flag, required, whole_number};
use crate::cli::context::Context;
use crate::cli::numbers::bytes;
use crate::cli::output::note;
use crate::cli::stop::Done;
use crate::config::ModelConfig;
use crate::data::batch::Batch;
use crate::gpu::Device;
use crate::model::{Capacity, Training, TrainingOptions, step_flops};
use crate::ops::kernels::Precision;
use crate::report::{Align, Table};
use crate::train::settings::PRESETS;
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::time::Instant;

/// Steps before those that are timed.
const WARM_UP: usize = 3;

pub(super) fn command() -> Command {
    let number = |name: &'static str, value_name: &'static str, default: &'static str| {
        Arg::new(name).long(name).value_name(value_name).default_value(default)
    };
    Command::new("step")
        .about("Time a whole training step, with fixed weights and a fixed batch")
        .after_help(
            "Weights and batch are computed from a hash, so some losses are known, the first and after five optimizer \
             steps:\n\
             nano with batch 8: 6.2754, 6.0952; with batch 64: 6.2713, 6.2047\n\
             mini with batch 8: 9.1125, 7.8474\n\
             gpt1 with batch 64: 10.7682, 9.3201\n\
             With other losses, the results are printed, and the exit code is 1.",
        )
        .arg(number("preset", "NAME", "nano").value_parser(PRESETS).help("Preset that gives the model's size"))
        .arg(
            number("batch", "B", "8")
                .value_parser(whole_number(1..=1u32 << 16))
                .help("Sequences in the batch, each as long as the model's positions"),
        )
        .arg(
            number("steps", "N", "10")
                .value_parser(whole_number(3..=100_000u32))
                .help("Steps that the median is taken over; three more run before them"),
        )
        .arg(
            number("precision", "f32|mixed|auto", "f32")
                .value_parser(["f32", "mixed", "auto"])
                .help("Number types of matrix products, as in `wgpt pretrain`"),
        )
        .arg(
            flag("profile")
                .help("Also time each dispatch of one step, and print the times by kernel, with --json by grid, too"),
        )
        .arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    preset: String,
    batch: usize,
    precision: String,
    adapter: String,
    step_ms: f64,
    step_ms_pipelined: f64,
    tokens_per_second: f64,
    gflops: f64,
    peak_bytes: u64,
    loss_first: f32,
    loss_5: f32,
    /// Whether the losses are those that are known; `None` where none are known.
    losses_ok: Option<bool>,
    first_step_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<KernelTime>>,
}

/// Losses that a batch is known to have: the first, and that after five steps.
fn known_losses(preset: &str, sequences: usize) -> Option<[f32; 2]> {
    match (preset, sequences) {
        ("nano", 8) => Some([6.2754, 6.0952]),
        ("nano", 64) => Some([6.2713, 6.2047]),
        ("mini", 8) => Some([9.1125, 7.8474]),
        ("gpt1", 64) => Some([10.7682, 9.3201]),
        _ => None,
    }
}

/// Largest difference to a known loss: its rounding, and that of sums in another order.
const TOLERANCE: f32 = 3e-4;
/// The same where operands are rounded to f16.
const MIXED_TOLERANCE: f32 = 1e-2;

/// Whether losses are the known ones of this batch; `None` where none are known.
fn losses_ok(work: &Work, found: [f32; 2]) -> Option<bool> {
    let known = known_losses(&work.preset, work.batch.sequences())?;
    let tolerance = if work.precision == Precision::F32 { TOLERANCE } else { MIXED_TOLERANCE };
    Some(found.iter().zip(known).all(|(a, b)| (a - b).abs() <= tolerance))
}

impl Row {
    /// Where the losses are known and differ, the device has not done the work: returns how they differ.
    fn check_losses(&self) -> Result<(), String> {
        let (Some([first, fifth]), Some(false)) = (known_losses(&self.preset, self.batch), self.losses_ok) else {
            return Ok(());
        };
        Err(format!(
            "losses {:.4} and {:.4} after five steps, expected {first:.4} and {fifth:.4}; `wgpt check` says which kernel is wrong",
            self.loss_first, self.loss_5
        ))
    }
}

/// What is measured.
struct Work {
    preset: String,
    model: ModelConfig,
    parameters: Vec<Vec<f32>>,
    batch: Batch,
    /// Steps that are timed.
    steps: usize,
    precision: Precision,
}

impl Work {
    fn new(preset: &str, sequences: usize, steps: usize, precision: Precision) -> Result<Self> {
        let model = fixture::model(preset)?;
        let batch = fixture::batch(sequences, model.n_positions, model.vocab_size)?;
        let parameters = fixture::parameters(&model);
        Ok(Work { preset: preset.into(), model, parameters, batch, steps, precision })
    }
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let number = |name: &str| -> Result<usize> { Ok(*required::<u32>(matches, name)? as usize) };
    let precision = match required::<String>(matches, "precision")?.as_str() {
        "mixed" => Precision::Mixed,
        "auto" => Precision::Auto,
        _ => Precision::F32,
    };
    let work = Work::new(required::<String>(matches, "preset")?, number("batch")?, number("steps")?, precision)?;
    let begin = Instant::now();
    let device = context.open()?;
    note(format_args!("compiling the kernels of {}, then {} steps", work.preset, WARM_UP + 2 * work.steps));
    let (mut row, mut training) = measure(&device, &work, begin)?;
    let timings = matches.get_flag("profile").then(|| training.profile(&work.batch)).transpose()?;
    if matches.get_flag("json") {
        row.profile = timings.map(by_grid);
        context.json(&row)?;
        return Ok(row.check_losses().map_err(|fault| wrong_results(&device, fault))?);
    }
    let mut table = Table::new(&[("training step", Align::Left), ("", Align::Right)]);
    table.row(["time, ms".to_string(), format!("{:.2}", row.step_ms)]);
    table.row(["time without waiting between steps, ms".to_string(), format!("{:.2}", row.step_ms_pipelined)]);
    table.row(["tokens per second".to_string(), format!("{:.0}", row.tokens_per_second)]);
    table.row(["GFLOP/s".to_string(), format!("{:.1}", row.gflops)]);
    table.row(["device memory".to_string(), bytes(row.peak_bytes)]);
    table.row(["first loss".to_string(), format!("{:.4}", row.loss_first)]);
    table.row(["loss after five steps".to_string(), format!("{:.4}", row.loss_5)]);
    table.row(["first step, with compilation, s".to_string(), format!("{:.2}", row.first_step_s)]);
    write!(context.out, "{table}")?;
    if let Some(timings) = timings {
        write!(context.out, "\n{}", by_kernel(timings))?;
    }
    Ok(row.check_losses().map_err(|fault| wrong_results(&device, fault))?)
}

/// Trains for the steps of the warm-up and those that are timed. `begin`: when the first step counts from.
fn measure(device: &Device, work: &Work, begin: Instant) -> Result<(Row, Training)> {
    let Work { preset, model, parameters, batch, steps, precision } = work;
    let precision = *precision;
    let options = TrainingOptions { decay_all: true, clip: 0.0, precision, ..TrainingOptions::default() };
    let capacity = Capacity { rows: batch.rows(), sequences: batch.sequences() };
    let mut training = Training::new(device, model, parameters, capacity, options)?;
    let (mut losses, mut times, mut first_step_s) = (Vec::new(), Vec::new(), 0.0);
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        training.step(batch, LEARNING_RATE, 0)?;
        // The loss is read before the next step, as a simple loop in PyTorch does with loss.item().
        let results = training.wait_for_results()?;
        times.push(start.elapsed().as_secs_f64());
        if step == 0 {
            first_step_s = begin.elapsed().as_secs_f64();
        }
        for result in results {
            let loss = result.loss as f32;
            if !loss.is_finite() || result.halted.is_some() {
                return Err(Error::not_finite_in_step("loss", result.step));
            }
            losses.push(loss);
        }
    }
    let (Some(loss_first), Some(loss_5)) = (losses.first().copied(), losses.get(5).copied()) else {
        return Err(Error::rejected(
            "readback of the steps",
            format!("{} losses of {}", losses.len(), WARM_UP + steps),
        ));
    };
    let seconds = median(&mut times[WARM_UP..]);
    // The same steps without reading a loss between them, as in a training run.
    let start = Instant::now();
    for _ in 0..*steps {
        training.step(batch, LEARNING_RATE, 0)?;
    }
    let results = training.wait_for_results()?;
    let step_ms_pipelined = start.elapsed().as_secs_f64() * 1e3 / *steps as f64;
    if let Some(result) = results.iter().find(|result| !result.loss.is_finite() || result.halted.is_some()) {
        return Err(Error::not_finite_in_step("loss", result.step));
    }
    let tokens = batch.rows() as f64;
    let row = Row {
        preset: preset.clone(),
        batch: batch.sequences(),
        precision: format!("{precision:?}").to_lowercase(),
        adapter: device.caps().name.clone(),
        step_ms: seconds * 1e3,
        step_ms_pipelined,
        tokens_per_second: tokens / seconds,
        gflops: step_flops(model, batch.rows()) / seconds / 1e9,
        peak_bytes: device.bytes_allocated(),
        loss_first,
        loss_5,
        losses_ok: losses_ok(work, [loss_first, loss_5]),
        first_step_s,
        profile: None,
    };
    Ok((row, training))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The losses that PyTorch has with the same weights, batch and options (docs/performance.md).
    #[test]
    fn nano_has_the_known_losses() {
        let device = Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter");
        let work = Work::new("nano", 8, 3, Precision::F32).expect("nano");
        let (row, _) = measure(&device, &work, Instant::now()).expect("steps");
        let losses = [row.loss_first, row.loss_5].map(|loss| format!("{loss:.4}"));
        assert_eq!(losses, ["6.2754", "6.0952"]);
        row.check_losses().expect("the known losses");
        let wrong = Row { loss_5: 0.0, losses_ok: losses_ok(&work, [row.loss_first, 0.0]), ..row };
        assert!(wrong.check_losses().expect_err("another loss").contains("expected 6.2754 and 6.0952"));
    }
}
