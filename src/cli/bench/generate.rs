//! `wgpt bench generate`: the time of one generated token, beside the time of reading the weights once at the adapter's copy
//! rate, which no implementation that keeps f32 weights can beat.

use super::fixture;
use super::profile::by_kernel;
use super::timing::median;
use super::wrong_results::wrong_results;
use crate::Result;
use crate::cli::arguments::{flag, json_flag, required, whole_number};
use crate::cli::context::Context;
use crate::cli::numbers::bytes;
use crate::cli::output::note;
use crate::cli::stop::Done;
use crate::config::{AttentionKind, ModelConfig};
use crate::gpu::{Device, Program, Recorder, View};
use crate::model::{Capacity, Generator, Inference};
use crate::ops::StepValues;
use crate::report::{Align, Table};
use crate::train::settings::PRESETS;
use clap::{Arg, ArgMatches, Command};
use std::time::Instant;

/// Bytes that one copy reads.
const COPY_BYTES: usize = 64 << 20;
/// Copies in one timing.
const COPIES: usize = 4;
/// Tokens before those that are timed.
const WARM_UP: usize = 4;
/// Tokens between two timings of the copy rate.
const TOKENS_PER_COPY: usize = 8;
/// Largest difference of the two losses, as a share, that is taken for rounding.
const TOLERANCE: f64 = 1e-4;

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, most: u32| {
        Arg::new(name).long(name).value_name("N").default_value(default).value_parser(whole_number(1..=most))
    };
    Command::new("generate")
        .about("Time one generated token, and reading the weights once at the adapter's copy rate")
        .after_help(
            "Prints medians of tokens and of copies, timed in turn. The loss of the text is computed token by token\n\
             and again in one pass over the whole text; the benchmark fails if the two differ.",
        )
        .arg(
            Arg::new("preset")
                .long("preset")
                .value_name("NAME")
                .value_parser(PRESETS)
                .help("Preset that gives the model's size [default: each preset in turn]"),
        )
        .arg(
            number("tokens", "64", 100_000)
                .help("Tokens that the median is taken over, at most as many as fit the model's positions"),
        )
        .arg(number("samples", "1", 64).help("Texts that are generated side by side"))
        .arg(
            Arg::new("attention-pattern")
                .long("attention-pattern")
                .value_name("LETTERS")
                .help("Attention kinds of the layers: F full, L local, M memory-compressed [default: the preset's]"),
        )
        .arg(
            Arg::new("n-positions")
                .long("n-positions")
                .value_name("N")
                .value_parser(whole_number(8..=1u32 << 20))
                .help("Positions of the model, in tokens [default: the preset's]"),
        )
        .arg(
            flag("profile")
                .conflicts_with("json")
                .help("Also generate one token that waits for each dispatch, and print its time by kernel"),
        )
        .arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    preset: String,
    adapter: String,
    attention_pattern: String,
    n_positions: usize,
    samples: usize,
    tokens: usize,
    ms_per_token: f64,
    ms_read_weights: f64,
    ratio: f64,
    tokens_per_second: f64,
    weights_bytes: u64,
    cache_bytes: u64,
    copy_gbps: f64,
    dispatches: usize,
    first_token_s: f64,
    /// Loss of the text in nats per token, computed token by token.
    loss: f64,
    /// The same loss, computed in one pass over the whole text.
    loss_forward: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let presets: Vec<&str> = match matches.get_one::<String>("preset") {
        Some(preset) => vec![preset],
        None => PRESETS.to_vec(),
    };
    let number = |name: &str| -> Result<usize> { Ok(*required::<u32>(matches, name)? as usize) };
    let (tokens, samples) = (number("tokens")?, number("samples")?);
    let model = |preset: &&str| -> Result<ModelConfig> {
        let mut model = fixture::model(preset)?;
        if let Some(pattern) = matches.get_one::<String>("attention-pattern") {
            model.attention_pattern.clone_from(pattern);
        }
        if let Some(positions) = matches.get_one::<u32>("n-positions") {
            model.n_positions = *positions as usize;
        }
        model.validate()?;
        Ok(model)
    };
    let models: Vec<ModelConfig> = presets.iter().map(model).collect::<Result<_>>()?;
    let device = context.open()?;
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("preset", Align::Left),
        right("ms per token"),
        right("ms to read the weights"),
        right("ratio"),
        right("tokens per second"),
        right("copy rate, GB/s"),
        right("dispatches"),
        right("keys and values"),
        right("loss, by token"),
        right("loss, one pass"),
    ]);
    let mut profiles = Vec::new();
    for (preset, model) in presets.into_iter().zip(&models) {
        note(format_args!("compiling the kernels of {preset}, then {tokens} tokens"));
        let (row, mut generator) = measure(&device, (preset, model), tokens, samples)?;
        if matches.get_flag("json") {
            context.json(&row)?;
            continue;
        }
        let numbers = [row.ms_per_token, row.ms_read_weights, row.ratio, row.tokens_per_second, row.copy_gbps];
        let numbers = numbers.map(|x| format!("{x:.2}"));
        let losses = [row.loss, row.loss_forward].map(|x| format!("{x:.6}"));
        let counts = [row.dispatches.to_string(), bytes(row.cache_bytes)];
        table.row(std::iter::once(row.preset).chain(numbers).chain(counts).chain(losses));
        if matches.get_flag("profile") {
            profiles.push(by_kernel(generator.profile()?));
        }
    }
    if !matches.get_flag("json") {
        write!(context.out, "{table}")?;
        profiles.iter().try_for_each(|profile| write!(context.out, "\n{profile}"))?;
    }
    Ok(())
}

fn measure(
    device: &Device,
    (preset, model): (&str, &ModelConfig),
    tokens: usize,
    samples: usize,
) -> Result<(Row, Generator)> {
    let count = tokens.min(model.n_positions - WARM_UP - 1);
    let text = fixture::batch(1, WARM_UP + count + 1, model.vocab_size)?;
    let begin = Instant::now();
    let mut generator = Generator::new(device, model, &fixture::parameters(model), samples)?;
    let copy = Copy::new(device)?;
    let mut logits = generator.start(&text.ids[..1])?;
    let first_token_s = begin.elapsed().as_secs_f64();
    let (mut seconds, mut rates, mut nats) = (Vec::new(), Vec::new(), 0.0);
    // A token that completes a slot takes longer, so one timing is the mean over the tokens of a slot.
    let per_timing = if model.has(AttentionKind::Compressed) { model.kv_factor.min(count) } else { 1 };
    let mut timing = Vec::with_capacity(per_timing);
    for (i, id) in text.ids.iter().enumerate().skip(1) {
        nats += loss(&logits[..model.vocab_size], *id as usize);
        let start = Instant::now();
        logits = generator.next(&vec![*id; samples])?;
        if i > WARM_UP {
            timing.push(start.elapsed().as_secs_f64());
        }
        if timing.len() == per_timing {
            seconds.push(timing.drain(..).sum::<f64>() / per_timing as f64);
        }
        if i % TOKENS_PER_COPY == 1 {
            rates.push(copy.bytes_per_second()?);
        }
    }
    // The last row of the batch predicts a target that no token was generated for, so it is left out.
    let capacity = Capacity { rows: text.rows(), sequences: 1 };
    let whole = Inference::with_parameters(device, model, generator.parameters().clone(), capacity)?.losses(&text)?;
    let rows = text.rows() - 1;
    let loss_forward = whole[..rows].iter().map(|x| f64::from(*x)).sum::<f64>() / rows as f64;
    let loss = nats / rows as f64;
    let agrees = (loss - loss_forward).abs() <= TOLERANCE * loss_forward; // false if one is NaN
    if !agrees {
        let fault = format!("{preset}: loss {loss} by token, {loss_forward} in one pass: expected the same loss");
        return Err(wrong_results(device, fault));
    }
    let (second, copy_rate) = (median(&mut seconds), median(&mut rates));
    let weights_bytes = 4 * weights_read(model) as u64;
    let read = weights_bytes as f64 / copy_rate;
    let row = Row {
        preset: preset.into(),
        adapter: device.caps().name.clone(),
        attention_pattern: model.attention_pattern.clone(),
        n_positions: model.n_positions,
        samples,
        tokens: count,
        ms_per_token: second * 1e3,
        ms_read_weights: read * 1e3,
        ratio: second / read,
        tokens_per_second: samples as f64 / second,
        weights_bytes,
        cache_bytes: generator.cache_bytes() as u64,
        copy_gbps: copy_rate / 1e9,
        dispatches: generator.dispatches(),
        first_token_s,
        loss,
        loss_forward,
    };
    Ok((row, generator))
}

/// The cross-entropy loss of one target, in nats.
fn loss(logits: &[f32], target: usize) -> f64 {
    let top = logits.iter().fold(f64::NEG_INFINITY, |m, x| m.max(f64::from(*x)));
    let total: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
    top + total.ln() - f64::from(logits[target])
}

/// Number of weights that one token reads: all but the table of positions.
fn weights_read(model: &ModelConfig) -> usize {
    model.parameter_count() - model.n_positions * model.n_embd
}

/// A copy from one buffer to another.
struct Copy {
    device: Device,
    program: Program<StepValues>,
}

impl Copy {
    fn new(device: &Device) -> Result<Self> {
        let view = |name| View::new(device, name, COPY_BYTES / 4);
        let mut recorder = Recorder::new(device, StepValues::default());
        recorder.copy(&view("from")?, &view("to")?);
        let copy = Copy { device: device.clone(), program: recorder.finish() };
        copy.bytes_per_second()?;
        Ok(copy)
    }

    /// Bytes copied per second.
    fn bytes_per_second(&self) -> Result<f64> {
        self.device.wait()?;
        let start = Instant::now();
        self.program.repeat(&StepValues::default(), COPIES)?;
        self.device.wait()?;
        Ok((COPIES * COPY_BYTES) as f64 / start.elapsed().as_secs_f64())
    }
}
