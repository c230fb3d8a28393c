//! `wgpt bench batching`: the same batches of a text packed, grouped and padded: the share of rows that are real, the time of
//! a step, and the loss, which must be one.

use super::middle;
use crate::cli::arguments::json_flag;
use crate::cli::context::Context;
use crate::cli::options;
use crate::cli::output::note;
use crate::cli::stop::Done;
use crate::cli::token_cache::user_cache;
use crate::data::batch::Batch;
use crate::data::batch_form::BatchForm;
use crate::data::order::Order;
use crate::gpu::Device;
use crate::model::{Capacity, Training, initial_parameters};
use crate::philox::step_key;
use crate::report::{Align, Table};
use crate::train::{Prepared, Stage, text};
use crate::{Error, Result};
use clap::{ArgMatches, Command};
use std::path::Path;
use std::time::Instant;

/// Batches that are drawn.
const DRAWS: usize = 8;
/// Updates of a padded run's own order that are looked at: a bucket of it.
const OWN: usize = 50;
/// Losses and norms of one batch that differ by more, as a share, are no rounding.
const TOLERANCE: f64 = 1e-4;

pub(super) fn command() -> Command {
    let about = "A training step on the same batches packed, grouped and padded; no weight changes";
    options::add(Command::new("batching").about(about), Stage::Pretraining).arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row {
    batching: BatchForm,
    real_share: f64,
    step_ms: f64,
    /// The real share of a run in this form, which takes windows of about one length together.
    real_share_in_buckets: f64,
    /// Nats a target before the first update.
    loss: f64,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let mut settings = options::layers(matches, Stage::Pretraining)?.settings()?;
    settings.batching = BatchForm::Packed;
    let run = Prepared::with_cache(settings, None, Path::new("bench"), &user_cache())?;
    let mut order = run.order()?;
    let draws = (0..DRAWS).map(|_| order.next_batch()).collect::<Result<Vec<Batch>>>()?;
    let own = BatchForm::ALL.iter().map(|form| own_share(&run, *form)).collect::<Result<Vec<f64>>>()?;
    let device = context.open()?;
    let rows = measure(&device, &run, &order, &draws, &own)?;
    if matches.get_flag("json") {
        return rows.iter().try_for_each(|row| context.json(row));
    }
    let right = |head| (head, Align::Right);
    let heads = [("batching", Align::Left), right("real rows"), right("ms a step"), right("in buckets"), right("loss")];
    let mut table = Table::new(&heads);
    for row in rows {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let numbers = [percent(row.real_share), format!("{:.2}", row.step_ms), percent(row.real_share_in_buckets)];
        table.row([row.batching.to_string()].into_iter().chain(numbers).chain([format!("{:.6}", row.loss)]));
    }
    write!(context.out, "{table}")?;
    note(format_args!("{DRAWS} batches in the plain order, each in every form in turn; medians of their steps"));
    note("in buckets: the real rows of a run in this form, whose order takes sequences of about one length together");
    Ok(())
}

/// The share of real rows in a run of this form, by its own order.
fn own_share(run: &Prepared, form: BatchForm) -> Result<f64> {
    let mut own = run.clone();
    own.settings.batching = form;
    let (mut order, mut real, mut all) = (own.order()?, 0, 0);
    for _ in 0..OWN {
        let batch = order.next_batch()?;
        // In pretraining every row of a window has a target.
        (real, all) = (real + batch.target_count as usize, all + batch.rows());
    }
    Ok(real as f64 / all.max(1) as f64)
}

/// One form of the draws: their micro-batches, and what came of them.
struct Form {
    form: BatchForm,
    parts: Vec<Vec<Batch>>,
    seconds: Vec<f64>,
    nats: f64,
}

fn measure(device: &Device, run: &Prepared, order: &Order, draws: &[Batch], own: &[f64]) -> Result<Vec<Row>> {
    let mut forms = Vec::new();
    for form in BatchForm::ALL {
        let cut = |draw: &Batch| Ok(order.micro_batches(form.of(draw.clone())?));
        let parts = draws.iter().map(cut).collect::<Result<Vec<_>>>()?;
        forms.push(Form { form, parts, seconds: Vec::new(), nats: 0.0 });
    }
    let parts = || forms.iter().flat_map(|form| &form.parts).flatten();
    let most = |of: fn(&Batch) -> usize| parts().map(of).max().unwrap_or(1);
    let capacity = Capacity { rows: most(Batch::rows), sequences: most(Batch::sequences) };
    let (model, seed) = (&run.settings.model, run.settings.seed);
    let parameters = run.weights.clone().unwrap_or_else(|| initial_parameters(model, seed));
    let mut training = Training::new(device, model, &parameters, capacity, text::optimizer_options(&run.settings))?;
    let mut targets = 0.0;
    for (i, draw) in draws.iter().enumerate() {
        // The first draw's first round counts for nothing.
        for round in usize::from(i > 0)..2 {
            let mut seen = Vec::new();
            for form in &mut forms {
                let (seconds, nats, norm) =
                    step(&mut training, &form.parts[i], draw.target_count, step_key(seed, i as u32))?;
                seen.push([nats, norm]);
                if round == 1 {
                    form.seconds.push(seconds);
                    form.nats += nats;
                }
            }
            agree(&seen, i)?;
        }
        targets += f64::from(draw.target_count);
    }
    let real: usize = draws.iter().map(Batch::rows).sum();
    let row = |(form, own): (Form, &f64)| {
        let rows: usize = form.parts.iter().flatten().map(Batch::rows).sum();
        let Form { form: batching, mut seconds, nats, .. } = form;
        Row {
            batching,
            real_share: real as f64 / rows.max(1) as f64,
            step_ms: middle(&mut seconds) * 1e3,
            real_share_in_buckets: *own,
            loss: nats / targets,
        }
    };
    Ok(forms.into_iter().zip(own).map(row).collect())
}

/// One step at rate 0, from the first micro-batch until its result is read: seconds, nats of all targets, the gradient's norm.
fn step(training: &mut Training, parts: &[Batch], targets: u32, key: [u32; 2]) -> Result<(f64, f64, f64)> {
    let start = Instant::now();
    for part in parts {
        training.accumulate_gradients(part, targets, key)?;
    }
    training.optimizer_step(0.0)?;
    let results = training.wait_for_results()?;
    let seconds = start.elapsed().as_secs_f64();
    let Some(result) = results.last() else { return Err(Error::device("the step has no result")) };
    Ok((seconds, result.loss * f64::from(result.targets), f64::from(result.grad_norm)))
}

/// Checks that all forms of a draw gave the loss and the gradient of the first.
fn agree(seen: &[[f64; 2]], draw: usize) -> Result<()> {
    let [first, others @ ..] = seen else { return Ok(()) };
    for (other, form) in others.iter().zip(&BatchForm::ALL[1..]) {
        let close = other.iter().zip(first).all(|(a, b)| (a - b).abs() <= TOLERANCE * b.abs());
        if !close {
            return Err(Error::device(format!(
                "batch {draw}: {form} has {} nats and a gradient of {}, packed {} and {}",
                other[0], other[1], first[0], first[1]
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_differs_is_no_measurement() {
        assert!(agree(&[[3.0, 1.0], [3.0001, 1.0], [2.9999, 1.00009]], 0).is_ok());
        let error = agree(&[[3.0, 1.0], [3.0, 1.0], [3.0, 1.1]], 4).expect_err("another gradient");
        assert_eq!(error.to_string(), "device: batch 4: padded has 3 nats and a gradient of 1.1, packed 3 and 1");
        assert!(agree(&[[3.0, 1.0], [f64::NAN, 1.0]], 0).is_err());
    }
}
