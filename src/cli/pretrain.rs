//! `wgpt pretrain`: trains a model on text, or resumes such a run.

use super::context::Context;
use super::stop::{Done, Stop};
use super::texts::{note_folders, note_long_text};
use super::user_cache::token_cache;
use super::{options, training};
use crate::report::{Align, Table};
use crate::train::run_folder::CURVE;
use crate::train::{Layers, Pretraining, Stage, StoppedRun, Trained};
use clap::{ArgMatches, Command};
use std::path::Path;

const COMMAND: &str = "pretrain";

pub(super) fn command() -> Command {
    let usage = "wgpt pretrain --data <FILE|DIR>... [OPTIONS]\n       wgpt pretrain --resume <RUN> [OPTIONS]";
    let command = Command::new(COMMAND).about("Train a model on text").override_usage(usage);
    options::add(training::add_run_options(command, "<preset>"), Stage::Pretraining)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let layers = options::layers(matches, Stage::Pretraining)?;
    if let Some(run) = training::resumed(matches)? {
        return resume(context, run, layers);
    }
    let settings = layers.settings()?;
    let out = training::new_folder(matches, &settings.preset)?;
    note_long_text(&settings.data);
    let data = settings.data.clone();
    let objective = Pretraining::read(settings, None, out, &token_cache())?;
    note_folders(&data);
    let trained = train(context, objective)?;
    report(context, &trained)
}

fn resume(context: &mut Context<'_>, run: &Path, changes: Layers) -> Done {
    let stopped = StoppedRun::<Pretraining>::open(run, changes)?;
    let Some(objective) = stopped.prepare(&token_cache())? else {
        training::note_complete(run, &stopped, "--steps");
        return Ok(());
    };
    let warnings = stopped.warnings(&objective).into_iter().map(|warning| format!("warning: {warning}"));
    let notes: Vec<String> = warnings.chain(notes(&objective)).collect();
    let trained = training::resume(context, COMMAND, &notes, stopped, objective)?;
    report(context, &trained)
}

/// Opens the adapter and trains, with progress on stderr.
pub(super) fn train(context: &Context<'_>, objective: Pretraining) -> Result<Trained<Pretraining>, Stop> {
    training::train(context, COMMAND, &notes(&objective), objective)
}

/// The notes and warnings about a prepared run.
fn notes(objective: &Pretraining) -> Vec<String> {
    let init = objective.settings.init.as_ref().filter(|_| objective.weights.is_some());
    let init = init.map(|folder| format!("initial weights read from {}", folder.display()));
    let warnings = objective.warnings().into_iter().map(|warning| format!("warning: {warning}"));
    init.into_iter().chain(objective.notice()).chain(warnings).collect()
}

/// Prints the model's loss, compared with the losses of count models.
pub(super) fn report(context: &mut Context<'_>, trained: &Trained<Pretraining>) -> Done {
    let Trained { folder, checkpoint, steps, elapsed_s, objective, .. } = trained;
    if let Some(evaluation) = &objective.evaluation {
        let columns = [("held-out text", Align::Left), ("nats per token", Align::Right), ("model below", Align::Right)];
        let mut table = Table::new(&columns);
        let (loss, baseline) = (evaluation.valid_loss, objective.baseline);
        table.row(["model".to_string(), format!("{loss:.4}"), String::new()]);
        for (name, value) in [("interpolated count bigram", baseline.bigram), ("unigram entropy", baseline.unigram)] {
            table.row([name.to_string(), format!("{value:.4}"), format!("{:.4}", value - loss)]);
        }
        writeln!(context.out, "{table}")?;
        let bits = evaluation.valid_bits_per_byte.map_or(String::new(), |bits| format!(", {bits:.4} bits per byte"));
        let perplexity = evaluation.valid_perplexity;
        writeln!(context.out, "validation perplexity {perplexity:.2}{bits} after {steps} steps in {elapsed_s:.0} s")?;
    }
    writeln!(context.out, "run         {}", folder.display())?;
    writeln!(context.out, "checkpoint  {}", checkpoint.display())?;
    writeln!(context.out, "curve       {}", folder.join(CURVE).display())?;
    Ok(())
}
