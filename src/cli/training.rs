//! What `pretrain` and `finetune` share: the options of a run, and running or resuming it with progress on stderr.

use super::arguments::missing_option;
use super::clock;
use super::context::Context;
use super::output::note;
use super::progress::Progress;
use super::stop::Stop;
use crate::Result;
use crate::gpu::Device;
use crate::train::{Objective, StoppedRun, Trained, resume, train};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;

/// The option `--out`.
pub(super) fn out() -> Arg {
    Arg::new("out")
        .long("out")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("The run's folder, which must not exist [default: runs/<preset>-<date-time>]")
}

/// The command with `--out` and `--resume`.
pub(super) fn add_run_options(command: Command) -> Command {
    let resume = Arg::new("resume")
        .long("resume")
        .value_name("RUN")
        .value_parser(value_parser!(PathBuf))
        .help("Continue a stopped run, from the checkpoint that its file `latest` names");
    command.arg(out()).arg(resume)
}

/// The run that `--resume` names.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for an option that does not go with it.
pub(super) fn resumed(matches: &ArgMatches) -> Result<Option<&PathBuf>> {
    let run = matches.get_one::<PathBuf>("resume");
    match run.and_then(|_| ["out", "config"].into_iter().find(|name| matches.contains_id(name))) {
        Some(other) => Err(missing_option(other, "must not be used with --resume: a run continues in its own folder")),
        None => Ok(run),
    }
}

/// The folder of a new run: `--out`, else `runs/NAME-DATE-TIME`.
pub(super) fn new_folder(matches: &ArgMatches, name: &str) -> PathBuf {
    let default = || PathBuf::from("runs").join(format!("{name}-{}", clock::stamp()));
    matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(default)
}

/// Opens the adapter, prints the notes and trains.
pub(super) fn start<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    objective: O,
) -> Result<Trained<O>, Stop> {
    watch(context, command, notes, |device, progress| train(device, objective, progress))
}

/// Continues a run; `None`, with a note, when it is complete.
pub(super) fn go_on<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    stopped: StoppedRun<O>,
    objective: O,
) -> Result<Trained<O>, Stop> {
    watch(context, command, notes, |device, progress| resume(device, stopped, objective, progress))
}

/// The note about a run that `--resume` names although it is complete.
pub(super) fn note_complete<O: Objective>(run: &std::path::Path, stopped: &StoppedRun<O>, longer: &str) {
    let (run, done) = (run.display(), stopped.step());
    note(format_args!("{run} is finished: {done} updates are done; to continue, give a larger {longer}"));
}

fn watch<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    train: impl FnOnce(&Device, &mut Progress) -> Result<Trained<O>>,
) -> Result<Trained<O>, Stop> {
    let device = context.open()?;
    notes.iter().for_each(note);
    let mut progress = Progress::new()?;
    let trained = train(&device, &mut progress);
    progress.end();
    let trained = trained?;
    if !trained.finished {
        note(format_args!("stopped after {} updates, saved to {}", trained.steps, trained.checkpoint.display()));
        note(format_args!("to continue: wgpt {command} --resume {}", trained.folder.display()));
        return Err(Stop::Interrupted);
    }
    Ok(trained)
}
