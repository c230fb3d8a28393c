//! `wgpt bench batching`: a training step on the same batches packed, grouped and padded: the share of rows with a real
//! token, the time, and the loss, which must be the same in each layout.

use super::timing::median;
use super::wrong_results::wrong_results;
use crate::cli::arguments::json_flag;
use crate::cli::context::Context;
use crate::cli::options;
use crate::cli::output::note;
use crate::cli::stop::Done;
use crate::cli::user_cache::token_cache;
use crate::data::batch::Batch;
use crate::data::data_loader::DataLoader;
use crate::data::padding::Padding;
use crate::gpu::Device;
use crate::model::{Capacity, Training, initial_parameters};
use crate::philox::step_key;
use crate::report::{Align, Table};
use crate::train::{Pretraining, Stage, optimizer_options};
use crate::{Error, Result};
use clap::{ArgMatches, Command};
use std::path::Path;
use std::time::Instant;

/// Batches that are timed.
const BATCHES: usize = 8;
/// Batches of a run's own order that its share of real rows is computed from: one bucket of sequences.
const BUCKET: usize = 50;
/// Largest difference of losses and gradient norms of one batch, as a share, that is taken for rounding.
const TOLERANCE: f64 = 1e-4;

pub(super) fn command() -> Command {
    let command = Command::new("batching")
        .about("Time a training step on the same batches packed, grouped and padded; weights do not change")
        .after_help(
            "Prints, for the same batches in each layout, the share of rows with a real token and the median time of a step,\n\
             and the share in a run with this layout, which groups sequences of similar length into buckets.\n\
             The benchmark fails if the losses differ.",
        );
    options::add(command, Stage::Pretraining).arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    batching: Padding,
    real_share: f64,
    step_ms: f64,
    /// Share of real rows in a run with this layout, which groups sequences of similar length into buckets.
    real_share_in_buckets: f64,
    /// Loss before the first optimizer step, in nats per target.
    loss: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let mut settings = options::layers(matches, Stage::Pretraining)?.settings()?;
    settings.batching = Padding::Packed;
    let run = Pretraining::read(settings, None, Path::new("bench"), &token_cache())?;
    run.warnings().iter().for_each(|warning| note(format_args!("warning: {warning}")));
    let mut loader = run.data_loader()?;
    let batches = (0..BATCHES).map(|_| loader.next_batch()).collect::<Result<Vec<Batch>>>()?;
    let shares = Padding::ALL.iter().map(|padding| share_in_run(&run, *padding)).collect::<Result<Vec<f64>>>()?;
    let device = context.open()?;
    let rows = measure(&device, &run, &loader, &batches, &shares)?;
    if matches.get_flag("json") {
        return rows.iter().try_for_each(|row| context.json(row));
    }
    let right = |head| (head, Align::Right);
    let mut table = Table::new(&[
        ("batching", Align::Left),
        right("real rows"),
        right("ms per step"),
        right("real rows in a run"),
        right("loss"),
    ]);
    for row in rows {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let numbers = [percent(row.real_share), format!("{:.2}", row.step_ms), percent(row.real_share_in_buckets)];
        table.row([row.batching.to_string()].into_iter().chain(numbers).chain([format!("{:.6}", row.loss)]));
    }
    write!(context.out, "{table}")?;
    note(format_args!("{BATCHES} batches in random order, each in every layout in turn; ms: median"));
    note("real rows in a run: with this layout's own order, which groups sequences of similar length into buckets");
    Ok(())
}

/// The share of real rows in a run with this layout, in its own order.
fn share_in_run(run: &Pretraining, padding: Padding) -> Result<f64> {
    let mut run = run.clone();
    run.settings.batching = padding;
    let (mut loader, mut real, mut all) = (run.data_loader()?, 0, 0);
    for _ in 0..BUCKET {
        let batch = loader.next_batch()?;
        // In pretraining every real row has a target.
        real += batch.target_count as usize;
        all += batch.rows();
    }
    Ok(real as f64 / all.max(1) as f64)
}

/// The batches in one layout, and the results of their steps.
struct PaddedBatches {
    padding: Padding,
    /// The micro-batches of each batch.
    micro_batches: Vec<Vec<Batch>>,
    seconds: Vec<f64>,
    nats: f64,
}

fn measure(
    device: &Device,
    run: &Pretraining,
    loader: &DataLoader,
    batches: &[Batch],
    shares: &[f64],
) -> Result<Vec<Row>> {
    let mut layouts = Vec::new();
    for padding in Padding::ALL {
        let split = |batch: &Batch| Ok(loader.micro_batches(padding.apply(batch.clone())?));
        let micro_batches = batches.iter().map(split).collect::<Result<Vec<_>>>()?;
        layouts.push(PaddedBatches { padding, micro_batches, seconds: Vec::new(), nats: 0.0 });
    }
    let all = || layouts.iter().flat_map(|layout| &layout.micro_batches).flatten();
    let most = |count: fn(&Batch) -> usize| all().map(count).max().unwrap_or(1);
    let capacity = Capacity { rows: most(Batch::rows), sequences: most(Batch::sequences) };
    let (model, seed) = (&run.settings.model, run.settings.seed);
    let parameters = run.weights.clone().unwrap_or_else(|| initial_parameters(model, seed));
    let mut training = Training::new(device, model, &parameters, capacity, optimizer_options(&run.settings, 1.0))?;
    let mut targets = 0.0;
    for (i, batch) in batches.iter().enumerate() {
        // The first batch runs once more before, untimed.
        for timed in if i == 0 { &[false, true][..] } else { &[true] } {
            let mut outcomes = Vec::new();
            for layout in &mut layouts {
                let key = step_key(seed, i as u32);
                let (seconds, outcome) = step(&mut training, &layout.micro_batches[i], batch.target_count, key)?;
                outcomes.push(outcome);
                if *timed {
                    layout.seconds.push(seconds);
                    layout.nats += outcome.nats;
                }
            }
            check_agreement(&outcomes, i).map_err(|fault| wrong_results(device, fault))?;
        }
        targets += f64::from(batch.target_count);
    }
    let real: usize = batches.iter().map(Batch::rows).sum();
    let row = |(layout, share): (PaddedBatches, &f64)| {
        let rows: usize = layout.micro_batches.iter().flatten().map(Batch::rows).sum();
        let PaddedBatches { padding: batching, mut seconds, nats, .. } = layout;
        Row {
            batching,
            real_share: real as f64 / rows.max(1) as f64,
            step_ms: median(&mut seconds) * 1e3,
            real_share_in_buckets: *share,
            loss: nats / targets,
        }
    };
    Ok(layouts.into_iter().zip(shares).map(row).collect())
}

/// The numbers of a step that must be the same in each layout.
#[derive(Clone, Copy)]
struct Outcome {
    /// Loss, summed over all targets.
    nats: f64,
    grad_norm: f64,
}

/// Takes one step with learning rate 0. Returns its seconds, from the first micro-batch until its result is read, and its
/// numbers.
fn step(training: &mut Training, micro_batches: &[Batch], targets: u32, key: [u32; 2]) -> Result<(f64, Outcome)> {
    let start = Instant::now();
    for micro_batch in micro_batches {
        training.accumulate_gradients(micro_batch, targets, key)?;
    }
    training.optimizer_step(0.0)?;
    let results = training.wait_for_results()?;
    let seconds = start.elapsed().as_secs_f64();
    let Some(result) = results.last() else { return Err(Error::rejected("readback of a step", "nothing was read")) };
    let (nats, grad_norm) = (result.loss * f64::from(result.tokens), f64::from(result.grad_norm));
    Ok((seconds, Outcome { nats, grad_norm }))
}

/// Checks that all layouts of a batch have the loss and the gradient of the first, which is packed.
fn check_agreement(outcomes: &[Outcome], batch: usize) -> Result<(), String> {
    let [packed, others @ ..] = outcomes else { return Ok(()) };
    for (other, padding) in others.iter().zip(&Padding::ALL[1..]) {
        let close = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * b.abs(); // false if one is NaN
        if !(close(other.nats, packed.nats) && close(other.grad_norm, packed.grad_norm)) {
            return Err(format!(
                "batch {batch} {padding}: loss {} and gradient norm {}: expected those of packed, {} and {}",
                other.nats, other.grad_norm, packed.nats, packed.grad_norm
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_with_another_loss_or_gradient_is_an_error() {
        let check = |outcomes: &[[f64; 2]], batch| {
            let outcomes: Vec<_> =
                outcomes.iter().map(|[nats, norm]| Outcome { nats: *nats, grad_norm: *norm }).collect();
            check_agreement(&outcomes, batch)
        };
        assert!(check(&[[3.0, 1.0], [3.0001, 1.0], [2.9999, 1.00009]], 0).is_ok());
        let error = check(&[[3.0, 1.0], [3.0, 1.0], [3.0, 1.1]], 4).expect_err("another gradient");
        let message = "batch 4 padded: loss 3 and gradient norm 1.1: expected those of packed, 3 and 1";
        assert_eq!(error, message);
        assert!(check(&[[3.0, 1.0], [f64::NAN, 1.0]], 0).is_err());
    }
}
