//! `wgpt bench generate`: a token's time beside that of reading the weights once at the rate at which the adapter copies.

use super::middle;
use super::step::{peers_batch, peers_model, peers_parameters};
use crate::cli::arguments::json_flag;
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
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::collections::BTreeMap;
use std::time::Instant;

/// Bytes of a copy.
const COPY: usize = 64 << 20;
/// Tokens before those that count, and in a round, which ends with a copy.
const WARM_UP: usize = 4;
const ROUND: usize = 8;

pub(super) fn command() -> Command {
    let number = |name: &'static str, default: &'static str, most: i64| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .default_value(default)
            .value_parser(value_parser!(u32).range(1..=most))
    };
    Command::new("generate")
        .about("A token's time, and the time of reading the weights once at the adapter's copy rate")
        .arg(Arg::new("preset").long("preset").value_name("NAME").value_parser(PRESETS).help("[default: all of them]"))
        .arg(number("tokens", "64", 100_000).help("Tokens that the median is of, up to the model's positions"))
        .arg(number("samples", "1", 64).help("Texts side by side"))
        .arg(
            Arg::new("attention-pattern")
                .long("attention-pattern")
                .value_name("LETTERS")
                .help("Another attention than the preset's, in blocks and slots of the default sizes"),
        )
        .arg(
            Arg::new("n-positions")
                .long("n-positions")
                .value_name("P")
                .value_parser(value_parser!(u32).range(8..=1 << 20))
                .help("More or fewer positions than the preset's"),
        )
        .arg(
            Arg::new("profile")
                .long("profile")
                .action(clap::ArgAction::SetTrue)
                .conflicts_with("json")
                .help("A token more, dispatch by dispatch, each awaited: where its time goes"),
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
    /// Nats a token of the text that is read, by the logits token by token, and by a pass over the whole of it.
    loss: f64,
    loss_forward: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let presets: Vec<&str> = match matches.get_one::<String>("preset") {
        Some(preset) => vec![preset],
        None => PRESETS.to_vec(),
    };
    let number = |name: &str| matches.get_one::<u32>(name).copied().unwrap_or(1) as usize;
    let (tokens, samples) = (number("tokens"), number("samples"));
    let model = |preset: &&str| -> Result<ModelConfig> {
        let mut model = peers_model(preset)?;
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
        right("ms a token"),
        right("ms to read the weights"),
        right("ratio"),
        right("tokens a second"),
        right("copies, GB/s"),
        right("dispatches"),
        right("keys and values"),
        right("loss"),
        right("of a whole pass"),
    ]);
    let mut profiles = Vec::new();
    for (preset, model) in presets.into_iter().zip(&models) {
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
            profiles.push(profile(&mut generator)?);
        }
    }
    if !matches.get_flag("json") {
        write!(context.out, "{table}")?;
        profiles.iter().try_for_each(|profile| write!(context.out, "\n{profile}"))?;
    }
    note("medians of tokens and of copies in turn; the two losses must be one: the work was done, and rightly");
    Ok(())
}

fn measure(
    device: &Device,
    (preset, model): (&str, &ModelConfig),
    tokens: usize,
    samples: usize,
) -> Result<(Row, Generator)> {
    let count = tokens.min(model.n_positions - WARM_UP - 1);
    let text = peers_batch(1, WARM_UP + count + 1, model.vocab_size)?;
    let begin = Instant::now();
    let mut generator = Generator::new(device, model, &peers_parameters(model), samples)?;
    let copy = Copy::new(device)?;
    let mut logits = generator.start(&text.ids[..1])?;
    let first_token_s = begin.elapsed().as_secs_f64();
    let (mut seconds, mut rates, mut nats) = (Vec::new(), Vec::new(), 0.0);
    // Tokens that end a slot take longer: what counts is the mean of as many as make one.
    let turn = if model.has(AttentionKind::Compressed) { model.kv_factor.min(count) } else { 1 };
    let mut turns = Vec::with_capacity(turn);
    for (i, id) in text.ids.iter().enumerate().skip(1) {
        nats += loss(&logits[..model.vocab_size], *id as usize);
        let start = Instant::now();
        logits = generator.next(&vec![*id; samples])?;
        if i > WARM_UP {
            turns.push(start.elapsed().as_secs_f64());
        }
        if turns.len() == turn {
            seconds.push(turns.drain(..).sum::<f64>() / turn as f64);
        }
        if i % ROUND == 1 {
            rates.push(copy.rate()?);
        }
    }
    // The text's last target is not looked at: its row is one more than was drawn from.
    let capacity = Capacity { rows: text.rows(), sequences: 1 };
    let whole = Inference::with_parameters(device, model, generator.parameters().clone(), capacity)?.losses(&text)?;
    let rows = text.rows() - 1;
    let loss_forward = whole[..rows].iter().map(|x| f64::from(*x)).sum::<f64>() / rows as f64;
    let loss = nats / rows as f64;
    // A NaN is no agreement.
    let close = (loss - loss_forward).abs() <= 1e-4 * loss_forward;
    if !close {
        return Err(Error::device(format!("{preset}: {loss} nats a token, {loss_forward} by a whole pass")));
    }
    let (second, rate) = (middle(&mut seconds), middle(&mut rates));
    let weights_bytes = 4 * weights_read(model) as u64;
    let read = weights_bytes as f64 / rate;
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
        copy_gbps: rate / 1e9,
        dispatches: generator.dispatches(),
        first_token_s,
        loss,
        loss_forward,
    };
    Ok((row, generator))
}

/// −log of the target's probability.
fn loss(logits: &[f32], target: usize) -> f64 {
    let top = logits.iter().fold(f64::NEG_INFINITY, |m, x| m.max(f64::from(*x)));
    let total: f64 = logits.iter().map(|x| (f64::from(*x) - top).exp()).sum();
    top + total.ln() - f64::from(logits[target])
}

/// Weights that a token needs whole: all but the table of positions.
fn weights_read(model: &ModelConfig) -> usize {
    model.parameter_count() - model.n_positions * model.n_embd
}

/// A copy from buffer to buffer.
struct Copy {
    device: Device,
    program: Program<StepValues>,
}

impl Copy {
    fn new(device: &Device) -> Result<Self> {
        let view = |name| View::new(device, name, COPY / 4);
        let mut rec = Recorder::new(device, StepValues::default());
        rec.copy(&view("from")?, &view("to")?);
        let copy = Copy { device: device.clone(), program: rec.finish() };
        copy.rate()?;
        Ok(copy)
    }

    /// Bytes copied a second.
    fn rate(&self) -> Result<f64> {
        self.device.wait()?;
        let start = Instant::now();
        self.program.repeat(&StepValues::default(), 4)?;
        self.device.wait()?;
        Ok((4 * COPY) as f64 / start.elapsed().as_secs_f64())
    }
}

/// A token's time by kernel, the longest first.
fn profile(generator: &mut Generator) -> Result<Table> {
    let mut kernels: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for timing in generator.profile()? {
        let sum = kernels.entry(timing.label).or_default();
        *sum = (sum.0 + 1, sum.1 + timing.ms);
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    let mut table = Table::new(&[("kernel", Align::Left), ("dispatches", Align::Right), ("ms", Align::Right)]);
    for (kernel, (count, ms)) in kernels {
        table.row([kernel, count.to_string(), format!("{ms:.3}")]);
    }
    Ok(table)
}
