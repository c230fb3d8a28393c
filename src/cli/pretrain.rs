//! `wgpt pretrain`: trains a model on text, or resumes such a run.

use super::context::Context;
use super::numbers::bytes;
use super::output::note;
use super::stop::{Done, Stop};
use super::token_cache::user_cache;
use super::{options, training};
use crate::data::text_files::TextFiles;
use crate::report::{Align, Table};
use crate::train::run_folder::CURVE;
use crate::train::{Layers, Pretraining, Settings, Stage, StoppedRun, Trained};
use clap::{ArgMatches, Command};
use std::path::Path;

const COMMAND: &str = "pretrain";

pub(super) fn command() -> Command {
    let command = Command::new(COMMAND).about("Train a model on text");
    options::add(training::add_run_options(command, "<preset>"), Stage::Pretraining)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let layers = options::layers(matches, Stage::Pretraining)?;
    if let Some(run) = training::resumed(matches)? {
        return resume(context, run, layers);
    }
    let settings = layers.settings()?;
    let out = training::new_folder(matches, &settings.preset)?;
    note_long_text(&settings);
    let trained = train(context, Pretraining::read(settings, None, out, &user_cache())?)?;
    report(context, &trained)
}

/// Prints a note about a text that takes a while to read.
fn note_long_text(settings: &Settings) {
    const LONG: u64 = 32 << 20;
    // Errors are reported when the files are read.
    let Ok(sources) = TextFiles::find(&settings.data, None) else { return };
    let all: u64 = sources.files().iter().map(|file| file.bytes).sum();
    if all >= LONG {
        note(format_args!("reading {} of text; its tokens are saved for the next run", bytes(all)));
    }
}

fn resume(context: &mut Context<'_>, run: &Path, changes: Layers) -> Done {
    let stopped = StoppedRun::<Pretraining>::open(run, changes)?;
    let Some(objective) = stopped.prepare(&user_cache())? else {
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
        writeln!(
            context.out,
            "validation perplexity {:.2}, {:.4} bits per byte after {steps} steps in {elapsed_s:.0} s",
            evaluation.valid_perplexity, evaluation.valid_bits_per_byte
        )?;
    }
    writeln!(context.out, "run         {}", folder.display())?;
    writeln!(context.out, "checkpoint  {}", checkpoint.display())?;
    writeln!(context.out, "curve       {}", folder.join(CURVE).display())?;
    Ok(())
}
