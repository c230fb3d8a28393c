//! Code that `pretrain` and `finetune` share: options of a run, and training or resuming it with progress on stderr.

use super::arguments::missing_option;
use super::clock;
use super::context::Context;
use super::output::note;
use super::progress::{HowToContinue, Progress};
use super::self_test::{SelfTested, self_test};
#[cfg(feature = "mpi")]
use super::stop::Done;
use super::stop::Stop;
use crate::error::{DeviceError, NotFinite};
use crate::report::command::shell_word;
use crate::terminal::visible_path;
use crate::train::run_path::RunPath;
use crate::train::{Devices, Objective, Stage, StoppedRun, Trained, engine};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::{Path, PathBuf};

/// The option `--out`. `name` is the first part of the name that the folder has by default.
pub(super) fn out(name: &str) -> Arg {
    Arg::new("out")
        .long("out")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help(format!("Run folder to write; must not exist [default: runs/{name}-<date-time>]"))
}

/// Adds `--out` and `--resume` to a command. `name` is that of [`out`].
pub(super) fn add_run_options(command: Command, name: &str) -> Command {
    let resume = Arg::new("resume")
        .long("resume")
        .value_name("RUN")
        .value_parser(value_parser!(PathBuf))
        .help("Run folder to resume, from the checkpoint that its file `latest` names");
    command.arg(out(name)).arg(resume)
}

/// The run that `--resume` names.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for an option that cannot be combined with `--resume`.
pub(super) fn resumed(matches: &ArgMatches) -> Result<Option<&PathBuf>> {
    let run = matches.get_one::<PathBuf>("resume");
    match run.and_then(|_| ["out", "config"].into_iter().find(|name| matches.contains_id(name))) {
        Some(other) => Err(missing_option(other, "must not be used with --resume: a run continues in its own folder")),
        None => Ok(run),
    }
}

/// The folder of a new run, reserved for this process: the value of `--out`, else the first of `runs/NAME-DATE-TIME`,
/// `runs/NAME-DATE-TIME-2`, and so on that is free.
///
/// # Errors
/// As [`RunPath::reserve`].
pub(super) fn new_folder(matches: &ArgMatches, name: &str) -> Result<RunPath> {
    match matches.get_one::<PathBuf>("out") {
        Some(out) => RunPath::reserve(out),
        None => free_folder(&default_folder(name)),
    }
}

/// Reserves a path, or with a number at its end if other runs that began in the same second have it.
fn free_folder(path: &Path) -> Result<RunPath> {
    const MOST: u32 = 100;
    let numbered = |n: u32| match n {
        1 => path.to_path_buf(),
        n => PathBuf::from(format!("{}-{n}", path.display())),
    };
    let mut reserved = (1..MOST).map(|n| RunPath::reserve(&numbered(n)));
    reserved.find(Result::is_ok).unwrap_or_else(|| RunPath::reserve(path))
}

/// The folder that the runs of `--seeds` are in: the value of `--out`, which may exist, else a new one as [`new_folder`]. A new
/// one is reserved for this process as long as the second value lives.
///
/// # Errors
/// As [`RunPath::reserve`].
pub(super) fn folder_of_runs(matches: &ArgMatches, name: &str) -> Result<(PathBuf, Option<RunPath>)> {
    if let Some(out) = matches.get_one::<PathBuf>("out").filter(|out| out.is_dir()) {
        return Ok((out.clone(), None));
    }
    let folder = new_folder(matches, name)?;
    Ok((folder.to_path_buf(), Some(folder)))
}

fn default_folder(name: &str) -> PathBuf {
    PathBuf::from("runs").join(format!("{name}-{}", clock::stamp()))
}

/// Opens the adapters, prints the notes and trains.
pub(super) fn train<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    objective: O,
) -> Result<Trained<O>, Stop> {
    let ranks = objective.settings().ranks;
    run_with_progress(context, command, notes, ranks, |devices, progress| {
        self_test(devices.local(), &SelfTested::of(&objective))?;
        engine::train(devices, objective, progress)
    })
}

/// Opens the adapters, prints the notes and resumes a run. With several adapters, there is a rank for each, however many there
/// were before; with one, as many ranks on it as before.
pub(super) fn resume<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    stopped: StoppedRun<O>,
    objective: O,
) -> Result<Trained<O>, Stop> {
    let several = context.job.size().is_some() || context.several()?.is_some_and(|adapters| adapters.len() > 1);
    let ranks = objective.settings().ranks.filter(|_| !several);
    run_with_progress(context, command, notes, ranks, |devices, progress| {
        self_test(devices.local(), &SelfTested::of(&objective))?;
        engine::resume(devices, stopped, objective, progress)
    })
}

/// Prints a note that the run is complete. `longer` is the option that makes it longer.
pub(super) fn note_complete<O: Objective>(run: &std::path::Path, stopped: &StoppedRun<O>, longer: &str) {
    let (run, done) = (visible_path(run), stopped.step());
    note(format_args!("{run} is finished: {done} steps are done; to continue, use a larger {longer}"));
}

/// Prints what can be done after an error of the training, the device or a file, and how the run continues.
fn advise(how: &HowToContinue, stage: Stage, error: &Error, checkpoint: Option<&Path>) {
    match error {
        Error::NotFinite(NotFinite { checkpoint: Some(checkpoint), .. }) => {
            let (key, checkpoint) = (stage.model_key(), shell_word(checkpoint));
            note(format_args!("try a smaller lr or a longer warmup, from the start or with --{key} {checkpoint}"));
            return;
        }
        Error::Device(DeviceError::OutOfMemory { .. } | DeviceError::Limit { .. }) => {
            note(
                "the device has too little memory for this run: use a larger accumulate or recompute = true (memory = BYTES \
                 chooses both), else a smaller batch or model",
            );
        }
        Error::Device(DeviceError::Lost(_)) => note(
            "the device was lost: its driver was reset, as after work that took too long, or it was removed; if this happens \
             again, use a larger accumulate or a smaller batch, or update the driver",
        ),
        Error::Device(DeviceError::WrongResults(_)) => note(
            "the model would not learn what its loss says: update the driver, or choose another adapter of `wgpt devices` by \
             --adapter; `wgpt check` tests every kernel and lists those that are wrong",
        ),
        Error::Device(_) | Error::Io { .. } | Error::Rank { .. } | Error::Ended(_) => {}
        _ => return,
    }
    // A checkpoint that was begun before the error may be complete by now.
    checkpoint.iter().for_each(|checkpoint| how.note_latest(checkpoint));
}

/// A rank of an MPI job other than rank 0: opens its adapter, and trains with rank 0 until that ends.
#[cfg(feature = "mpi")]
pub(super) fn follow(context: &Context<'_>) -> Done {
    // Rank 0 decides when to stop: a signal to all ranks must not end this one first.
    let _stop = super::interrupt::flag()?;
    let device = context.open_by_rank().inspect_err(|error| context.job.leave(error))?;
    Context::note_adapter(context.job.follower(), device.caps());
    context.job.follow(&device, |device, setup| self_test(std::slice::from_ref(device), &SelfTested::by(setup)))?;
    Ok(())
}

fn run_with_progress<O: Objective>(
    context: &Context<'_>,
    command: &str,
    notes: &[String],
    ranks: Option<usize>,
    train: impl FnOnce(Devices<'_>, &mut Progress) -> Result<Trained<O>>,
) -> Result<Trained<O>, Stop> {
    let devices = context.open_ranks(ranks)?;
    notes.iter().for_each(note);
    let mut progress = Progress::new()?;
    let how = HowToContinue::new(command, context.adapter_option());
    #[cfg(all(unix, feature = "mpi"))]
    if context.job.size().is_some() {
        progress.name_checkpoint_at_end(how.clone())?;
    }
    let trained = train(context.job.devices(&devices), &mut progress);
    progress.end();
    let trained = match trained {
        Ok(trained) => trained,
        Err(error) => {
            advise(&how, O::STAGE, &error, progress.checkpoint().as_deref());
            return Err(Stop::Advised(error));
        }
    };
    if !trained.finished {
        note(format_args!("stopped after {} steps, saved to {}", trained.steps, visible_path(&trained.checkpoint)));
        how.note(&trained.folder);
        return Err(Stop::Interrupted);
    }
    Ok(trained)
}
