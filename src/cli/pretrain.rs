//! `wgpt pretrain`: a run from a text to a folder, and one that goes on.

use super::clock;
use super::context::Context;
use super::numbers::bytes;
use super::options;
use super::output::note;
use super::progress::Progress;
use super::stop::{Done, Stop};
use super::token_cache::user_cache;
use crate::data::text_files::TextFiles;
use crate::report::{Align, Table};
use crate::train::{Layers, Prepared, Settings, Stage, Stopped, Summary, Trained, text};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};

pub(super) fn command() -> Command {
    let resume = Arg::new("resume")
        .long("resume")
        .value_name("RUN")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Goes on with a run that was stopped, from the checkpoint that its `latest` names");
    let command = Command::new("pretrain").about("Trains a decoder on a text").arg(out()).arg(resume);
    options::add(command, Stage::Pretraining)
}

/// The option `--out`.
pub(super) fn out() -> Arg {
    Arg::new("out")
        .long("out")
        .value_name("DIR")
        .value_parser(clap::value_parser!(PathBuf))
        .help("The run's folder, which must not exist [default: runs/<preset>-<date-time>]")
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let layers = options::layers(matches, Stage::Pretraining)?;
    if let Some(run) = matches.get_one::<PathBuf>("resume") {
        if let Some(other) = ["out", "config"].into_iter().find(|name| matches.contains_id(name)) {
            let message = format!("--{other} and --resume {}: a run goes on in its own folder", run.display());
            return Err(Error::input(message).into());
        }
        return go_on(context, run, layers);
    }
    let settings = layers.settings()?;
    let default = || PathBuf::from("runs").join(format!("{}-{}", settings.preset, clock::stamp()));
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(default);
    say_reading(&settings);
    let trained = train(context, Prepared::new(settings, None, &out, &user_cache())?)?;
    report(context, &trained.summary)
}

/// Text that takes a while is announced.
fn say_reading(settings: &Settings) {
    const LONG: u64 = 32 << 20;
    // What is wrong with the files is said where they are read.
    let Ok(sources) = TextFiles::find(&settings.data, None) else { return };
    let all: u64 = sources.files().iter().map(|file| file.bytes).sum();
    if all >= LONG {
        note(format_args!("reading {} of text; its tokens are kept for the next time", bytes(all)));
    }
}

fn go_on(context: &mut Context<'_>, run: &Path, changes: Layers) -> Done {
    let stopped = Stopped::open(run, changes)?;
    let Some(prepared) = stopped.prepare(&user_cache())? else {
        let (run, done) = (run.display(), stopped.step());
        note(format_args!("{run} is finished: {done} updates are done; a larger --steps goes on"));
        return Ok(());
    };
    let warnings = stopped.warnings(&prepared).into_iter().map(|warning| format!("warning: {warning}"));
    let lines: Vec<String> = warnings.chain(lines(&prepared)).collect();
    let trained = watched(context, &lines, |device, progress| text::resume(device, stopped, prepared, progress))?;
    report(context, &trained.summary)
}

/// Opens the adapter and trains, with progress on stderr.
pub(super) fn train(context: &Context<'_>, prepared: Prepared) -> Result<Trained, Stop> {
    watched(context, &lines(&prepared), |device, progress| text::run(device, prepared, progress))
}

/// What is said of a prepared run before it begins.
fn lines(prepared: &Prepared) -> Vec<String> {
    let init = prepared.settings.init.as_ref().filter(|_| prepared.weights.is_some());
    let init = init.map(|folder| format!("weights come from {}", folder.display()));
    let warnings = prepared.warnings().into_iter().map(|warning| format!("warning: {warning}"));
    init.into_iter().chain(prepared.notice()).chain(warnings).collect()
}

fn watched(
    context: &Context<'_>,
    lines: &[String],
    train: impl FnOnce(&crate::gpu::Device, &mut Progress) -> Result<Trained>,
) -> Result<Trained, Stop> {
    let device = context.open()?;
    lines.iter().for_each(note);
    let mut progress = Progress::new()?;
    let trained = train(&device, &mut progress);
    progress.end();
    let trained = trained?;
    let Summary { folder, checkpoint, steps, finished, .. } = &trained.summary;
    if !finished {
        note(format_args!("stopped after {steps} updates, saved to {}", checkpoint.display()));
        note(format_args!("go on with: wgpt pretrain --resume {}", folder.display()));
        return Err(Stop::Interrupted);
    }
    Ok(trained)
}

/// The model beside what counting reaches.
pub(super) fn report(context: &mut Context<'_>, summary: &Summary) -> Done {
    let Summary { folder, checkpoint, evaluation, baseline, .. } = summary;
    let mut table =
        Table::new(&[("held-out text", Align::Left), ("nats a token", Align::Right), ("model below", Align::Right)]);
    let loss = evaluation.valid_loss;
    table.row(["model".to_string(), format!("{loss:.4}"), String::new()]);
    for (name, value) in [("interpolated count bigram", baseline.bigram), ("unigram entropy", baseline.unigram)] {
        table.row([name.to_string(), format!("{value:.4}"), format!("{:.4}", value - loss)]);
    }
    writeln!(context.out, "{table}")?;
    writeln!(
        context.out,
        "validation perplexity {:.2}, {:.4} bits a byte after {} updates in {:.0} s",
        evaluation.valid_perplexity, evaluation.valid_bits_per_byte, summary.steps, summary.elapsed_s
    )?;
    writeln!(context.out, "run         {}", folder.display())?;
    writeln!(context.out, "checkpoint  {}", checkpoint.display())?;
    writeln!(context.out, "curve       {}", folder.join(crate::train::run_folder::CURVE).display())?;
    Ok(())
}
