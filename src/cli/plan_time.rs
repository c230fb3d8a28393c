//! `wgpt plan --time`: some steps of the run on the adapter, and how long the run will take by them.

use super::context::Context;
use super::numbers::{bytes, duration, grouped};
use super::output::note;
use super::stop::Done;
use super::texts::note_long_text;
use super::user_cache::token_cache;
use crate::Result;
use crate::model::{self, Capacity, initial_parameters};
use crate::report::{Align, Table};
use crate::train::settings::Settings;
use crate::train::{Length, Pretraining, speed};
use std::path::Path;

/// Seconds of steps that are measured, about.
const SECONDS: f64 = 3.0;

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
    let text = Pretraining::read(settings.clone(), None, Path::new("plan"), &token_cache())?;
    text.warnings().iter().for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(Some(text))
}

/// Prints the time of a step and of the run and, where its text is known, of its first epoch and evaluations.
pub(super) fn run(
    context: &mut Context<'_>,
    settings: &Settings,
    capacity: Capacity,
    text: Option<Pretraining>,
) -> Done {
    let device = context.open()?;
    let parameters = initial_parameters(&settings.model, settings.seed);
    let speed = speed::measure(&device, settings, &parameters, capacity, SECONDS)?;
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
