//! `wgpt bench step`: one training step as the peers measure it: weights and batch from one hash, no dropout, no clipping,
//! AdamW decays all. So the losses must be theirs (nano: 6.2754, after five updates 6.0952), and the work is the same.

use super::middle;
use crate::cli::arguments::json_flag;
use crate::cli::context::Context;
use crate::cli::stop::Done;
use crate::config::{ModelConfig, ParameterKind};
use crate::data::batch::{Batch, Sequence};
use crate::gpu::Device;
use crate::model::{Capacity, Training, TrainingOptions, step_flops};
use crate::report::{Align, Table};
use crate::train::settings::PRESETS;
use crate::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::collections::BTreeMap;
use std::time::Instant;

const LR: f64 = 2.5e-4;
/// Steps before those that count.
const WARM_UP: usize = 3;

pub(super) fn command() -> Command {
    Command::new("step")
        .about("A whole training step, with the peers' weights and batch")
        .arg(Arg::new("preset").long("preset").value_name("NAME").default_value("nano").value_parser(PRESETS))
        .arg(
            Arg::new("batch")
                .long("batch")
                .value_name("B")
                .default_value("8")
                .value_parser(value_parser!(u32).range(1..=1 << 16))
                .help("Sequences"),
        )
        .arg(
            Arg::new("steps")
                .long("steps")
                .value_name("N")
                .default_value("10")
                .value_parser(value_parser!(u32).range(3..=100_000))
                .help("Steps that the median is of; three more come before them"),
        )
        .arg(
            Arg::new("profile")
                .long("profile")
                .action(ArgAction::SetTrue)
                .conflicts_with("json")
                .help("A step more, dispatch by dispatch, each awaited: where its time goes"),
        )
        .arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    preset: String,
    batch: usize,
    adapter: String,
    step_ms: f64,
    tokens_per_second: f64,
    gflops: f64,
    peak_bytes: u64,
    loss_first: f32,
    loss_5: f32,
    first_step_s: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let preset = matches.get_one::<String>("preset").map_or("nano", String::as_str);
    let number = |name: &str, default: u32| matches.get_one::<u32>(name).copied().unwrap_or(default) as usize;
    let (batch, steps) = (number("batch", 8), number("steps", 10));
    let model = peers_model(preset)?;
    let data = peers_batch(batch, model.n_positions, model.vocab_size)?;
    let parameters = peers_parameters(&model);
    let (row, mut training) = measure(context, preset, &model, &data, &parameters, steps)?;
    if matches.get_flag("json") {
        return context.json(&row);
    }
    let mut table = Table::new(&[("a step", Align::Left), ("", Align::Right)]);
    table.row(["ms".to_string(), format!("{:.2}", row.step_ms)]);
    table.row(["tokens a second".to_string(), format!("{:.0}", row.tokens_per_second)]);
    table.row(["GFLOP/s".to_string(), format!("{:.1}", row.gflops)]);
    table.row(["memory".to_string(), crate::cli::numbers::bytes(row.peak_bytes)]);
    table.row(["first loss".to_string(), format!("{:.4}", row.loss_first)]);
    table.row(["loss after five updates".to_string(), format!("{:.4}", row.loss_5)]);
    table.row(["first step, with compilation, s".to_string(), format!("{:.2}", row.first_step_s)]);
    write!(context.out, "{table}")?;
    if matches.get_flag("profile") {
        write!(context.out, "\n{}", profile(&mut training, &data)?)?;
    }
    Ok(())
}

fn measure(
    context: &Context<'_>,
    preset: &str,
    model: &ModelConfig,
    data: &Batch,
    parameters: &[Vec<f32>],
    steps: usize,
) -> Result<(Row, Training)> {
    let begin = Instant::now();
    let device: Device = context.open()?;
    let options = TrainingOptions { decay_all: true, clip: 0.0, ..TrainingOptions::default() };
    let capacity = Capacity { rows: data.rows(), sequences: data.sequences() };
    let mut training = Training::new(&device, model, parameters, capacity, options)?;
    let (mut losses, mut times, mut first_step_s) = (Vec::new(), Vec::new(), 0.0);
    for step in 0..WARM_UP + steps {
        let start = Instant::now();
        training.accumulate_gradients(data, data.target_count, [0, 0])?;
        training.optimizer_step(LR)?;
        // As the peers do, each step's loss is read before the next.
        let results = training.wait_for_results()?;
        times.push(start.elapsed().as_secs_f64());
        if step == 0 {
            first_step_s = begin.elapsed().as_secs_f64();
        }
        for result in results {
            let loss = result.loss as f32;
            if !loss.is_finite() || result.halted.is_some() {
                return Err(Error::NotFinite(format!("step {}: the loss is {loss}", result.step)));
            }
            losses.push(loss);
        }
    }
    let (Some(loss_first), Some(loss_5)) = (losses.first().copied(), losses.get(5).copied()) else {
        return Err(Error::device(format!("{} losses came back of {} steps", losses.len(), WARM_UP + steps)));
    };
    let seconds = middle(&mut times[WARM_UP..]);
    let tokens = data.rows() as f64;
    let row = Row {
        preset: preset.into(),
        batch: data.sequences(),
        adapter: device.caps().name.clone(),
        step_ms: seconds * 1e3,
        tokens_per_second: tokens / seconds,
        gflops: step_flops(model, data.rows()) / seconds / 1e9,
        peak_bytes: device.bytes_allocated(),
        loss_first,
        loss_5,
        first_step_s,
    };
    Ok((row, training))
}

/// A step's time by kernel, the longest first.
fn profile(training: &mut Training, data: &Batch) -> Result<Table> {
    let mut kernels: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
    for timing in training.profile(data)? {
        let sum = kernels.entry(timing.label).or_default();
        *sum = (sum.0 + 1, sum.1 + timing.ms, sum.2 + timing.flops);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let right = |head| (head, Align::Right);
    let mut table =
        Table::new(&[("kernel", Align::Left), right("dispatches"), right("ms"), right("share"), right("GFLOP/s")]);
    let all: f64 = kernels.iter().map(|(_, (_, ms, _))| ms).sum();
    for (kernel, (count, ms, flops)) in kernels {
        let speed = if flops > 0.0 { format!("{:.1}", flops / ms / 1e6) } else { String::new() };
        table.row([kernel, count.to_string(), format!("{ms:.2}"), format!("{:.1} %", 100.0 * ms / all), speed]);
    }
    Ok(table)
}

/// The preset without dropout; gpt1 has the peers' vocabulary there, with three special tokens.
pub(super) fn peers_model(preset: &str) -> Result<ModelConfig> {
    let no_preset = || Error::input(format!("--preset {preset}: expected nano, mini or gpt1"));
    let mut model = ModelConfig::preset(preset).ok_or_else(no_preset)?;
    model.set_dropout(0.0);
    if preset == "gpt1" {
        model.vocab_size = 40481;
    }
    Ok(model)
}

/// splitmix64's step.
fn mix64(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Uniform numbers of standard deviation 0.02.
fn peers_weights(ident: u64, count: usize) -> Vec<f32> {
    let number = |i: u64| {
        let h = mix64(i.wrapping_add(ident << 40)) >> 40;
        ((h as f64 / f64::from(1u32 << 24) - 0.5) * 2.0 * 3f64.sqrt() * 0.02) as f32
    };
    (0..count as u64).map(number).collect()
}

/// Weights are numbered in the order of the tensors; biases are 0, gains 1.
pub(super) fn peers_parameters(model: &ModelConfig) -> Vec<Vec<f32>> {
    let mut ident = 0;
    let one = |shape: crate::config::ParameterShape| match shape.kind {
        ParameterKind::Weight | ParameterKind::Convolution(_) => {
            ident += 1;
            peers_weights(ident - 1, shape.count())
        }
        ParameterKind::Bias => vec![0.0; shape.count()],
        ParameterKind::Gain => vec![1.0; shape.count()],
    };
    model.parameters().into_iter().map(one).collect()
}

/// B sequences of T inputs, and the ids after them as targets.
pub(super) fn peers_batch(batch: usize, positions: usize, vocab: usize) -> Result<Batch> {
    let id = |i: usize| (mix64((i as u64).wrapping_add(1 << 62)) % vocab as u64) as u32;
    let ids: Vec<u32> = (0..batch * (positions + 1)).map(id).collect();
    let sequence = |row: &[u32]| Sequence { ids: row[..positions].to_vec(), targets: row[1..].to_vec() };
    let all: Vec<Sequence> = ids.chunks_exact(positions + 1).map(sequence).collect();
    Batch::from_sequences(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first output of splitmix64 from seed 0, and the peers' order: two tables, then four weights a layer.
    #[test]
    fn the_peers_numbers() {
        assert_eq!(mix64(0), 0xE220_A839_7B1D_CDAF);
        let model = peers_model("nano").expect("nano");
        let parameters = peers_parameters(&model);
        assert_eq!(parameters.len(), model.parameters().len());
        assert_eq!(parameters[2][..8], peers_weights(2, 8));
        assert_eq!(parameters[4][..8], peers_weights(3, 8));
        assert_eq!(parameters[2 + 12][..8], peers_weights(6, 8));
        let batch = peers_batch(8, 128, 512).expect("batch");
        assert_eq!((batch.rows(), batch.target_count, batch.ids[1]), (1024, 1024, batch.targets[0]));
        batch.validate(512, 128).expect("valid");
    }
}
