//! `wgpt finetune`: a model on a task's examples, one run or one a seed.

use super::context::Context;
use super::options;
use super::output::note;
use super::progress::Progress;
use super::stop::{Done, Stop};
use super::{clock, pretrain};
use crate::config::{Answers, Task, TaskKind};
use crate::report::{Align, Table, confusion};
use crate::store::atomic::write_atomic;
use crate::train::task::scores::{self as task_scores, Scores};
use crate::train::{Layers, PreparedTask, Settings, Stage, StoppedTask, TaskSummary, task};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::path::{Path, PathBuf};

/// The answers of the best epoch, in the run's folder.
const PREDICTIONS: &str = "predictions.tsv";

pub(super) fn command() -> Command {
    let tasks = [
        ("classify", "Gives a text a label"),
        ("entail", "Gives a pair in its order a label"),
        ("similar", "Gives a pair in no order a label or a score"),
        ("choose", "Chooses one of some candidates for a context"),
    ];
    let task = |(name, about)| {
        let resume = Arg::new("resume")
            .long("resume")
            .value_name("RUN")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Goes on with a run that was stopped, from the checkpoint that its `latest` names");
        let seeds = Arg::new("seeds")
            .long("seeds")
            .value_name("N,N,…")
            .value_delimiter(',')
            .value_parser(clap::value_parser!(u64))
            .conflicts_with_all(["seed", "resume"])
            .help("A run a seed, in OUT/seed-N; says their mean and range");
        let command = Command::new(name).about(about).arg(pretrain::out()).arg(resume).arg(seeds);
        options::add(command, Stage::FineTuning)
    };
    Command::new("finetune")
        .about("Trains a model on a task: L3 = L2 + lm_coef L1")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(tasks.map(task))
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let kind: TaskKind = name.parse()?;
    let layers = options::layers(matches, Stage::FineTuning)?;
    if let Some(run) = matches.get_one::<PathBuf>("resume") {
        if let Some(other) = ["out", "config"].into_iter().find(|name| matches.contains_id(name)) {
            let message = format!("--{other} and --resume {}: a run goes on in its own folder", run.display());
            return Err(Error::input(message).into());
        }
        return go_on(context, run, kind, layers);
    }
    let settings = layers.settings()?;
    let default = || PathBuf::from("runs").join(format!("{name}-{}", clock::stamp()));
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(default);
    match matches.get_many::<u64>("seeds") {
        None => {
            let prepared = PreparedTask::new(settings, kind, &out)?;
            let task = prepared.task()?.clone();
            let summary = train(context, prepared)?;
            report(context, &task, &summary)
        }
        Some(seeds) => {
            let seeds: Vec<u64> = seeds.copied().collect();
            each_seed(context, &settings, kind, &out, &seeds)
        }
    }
}

fn each_seed(context: &mut Context<'_>, settings: &Settings, kind: TaskKind, out: &Path, seeds: &[u64]) -> Done {
    let mut all = Vec::new();
    let of = |seed: u64| {
        let settings = Settings { seed, ..settings.clone() };
        PreparedTask::new(settings, kind, &out.join(format!("seed-{seed}")))
    };
    // What is wrong is said before the first run begins.
    let task = of(seeds.first().copied().unwrap_or_default())?.task()?.clone();
    for seed in seeds {
        note(format_args!("seed {seed}"));
        all.push(train(context, of(*seed)?)?);
    }
    let mut columns = vec![("seed", Align::Left), ("best epoch", Align::Right)];
    let part = |summary: &TaskSummary| summary.test.clone().or_else(|| summary.valid.clone());
    let is_test = all.iter().any(|summary| summary.test.is_some());
    let names = task_scores::names(&task);
    columns.extend(names.iter().map(|name| (*name, Align::Right)));
    let mut table = Table::new(&columns);
    for (seed, summary) in seeds.iter().zip(&all) {
        let epoch = summary.best.map_or(String::new(), |best| best.epoch.to_string());
        let scores = part(summary);
        table.row(
            [seed.to_string(), epoch].into_iter().chain(names.iter().map(|name| of_scores(scores.as_ref(), name))),
        );
    }
    for (what, of) in [("mean", mean as fn(&[f64]) -> f64), ("least", least), ("most", most)] {
        let value = |name: &&str| {
            let values: Vec<f64> = all.iter().filter_map(|summary| part(summary)?.values.get(*name).copied()).collect();
            if values.len() == all.len() { digits(of(&values)) } else { "undefined".into() }
        };
        table.row([what.to_string(), String::new()].into_iter().chain(names.iter().map(value)));
    }
    writeln!(context.out, "{table}")?;
    let scores = all.first().and_then(part);
    if let Some(majority) = scores.and_then(|scores| scores.majority) {
        writeln!(context.out, "the most frequent answer alone has accuracy {}", digits(majority))?;
    }
    writeln!(context.out, "{} examples; runs in {}", if is_test { "test" } else { "validation" }, out.display())?;
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn go_on(context: &mut Context<'_>, run: &Path, kind: TaskKind, changes: Layers) -> Done {
    let stopped = StoppedTask::open(run, changes)?;
    let Some(prepared) = stopped.prepare()? else {
        let (run, done) = (run.display(), stopped.step());
        note(format_args!("{run} is finished: {done} updates are done; larger --epochs go on"));
        return Ok(());
    };
    let task = prepared.task()?.clone();
    if task.kind != kind {
        let (run, own) = (run.display(), task.kind);
        return Err(Error::input(format!("{run}: its task is {own}: `wgpt finetune {own} --resume` goes on")).into());
    }
    let lines = prepared.warnings.clone();
    let summary =
        watched(context, &lines, &task, |device, progress| task::resume(device, stopped, prepared, progress))?;
    report(context, &task, &summary)
}

fn train(context: &Context<'_>, prepared: PreparedTask) -> Result<TaskSummary, Stop> {
    let (lines, task) = (prepared.warnings.clone(), prepared.task()?.clone());
    watched(context, &lines, &task, |device, progress| task::finetune(device, prepared, progress))
}

/// Opens the adapter and trains, with progress on stderr; a run that comes to its end leaves its answers in its folder.
fn watched(
    context: &Context<'_>,
    warnings: &[String],
    task: &Task,
    train: impl FnOnce(&crate::gpu::Device, &mut Progress) -> Result<TaskSummary>,
) -> Result<TaskSummary, Stop> {
    let device = context.open()?;
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    let mut progress = Progress::new()?;
    let summary = train(&device, &mut progress);
    progress.end();
    let summary = summary?;
    if !summary.finished {
        note(format_args!("stopped after {} updates, saved to {}", summary.steps, summary.checkpoint.display()));
        note(format_args!("go on with: wgpt finetune {} --resume {}", task.kind, summary.folder.display()));
        return Err(Stop::Interrupted);
    }
    if let Some(scores) = summary.test.as_ref().or(summary.valid.as_ref()) {
        let text = task_scores::predictions(task, &scores.answers);
        write_atomic(&summary.folder.join(PREDICTIONS), text.as_bytes())?;
    }
    Ok(summary)
}

fn report(context: &mut Context<'_>, task: &Task, summary: &TaskSummary) -> Done {
    let parts = [("validation", &summary.valid), ("test", &summary.test)];
    let has: Vec<(&str, &Scores)> = parts.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?))).collect();
    let columns: Vec<(&str, Align)> =
        [("best epoch's", Align::Left)].into_iter().chain(has.iter().map(|(name, _)| (*name, Align::Right))).collect();
    let mut table = Table::new(&columns);
    for name in task_scores::names(task) {
        table.row([name.to_string()].into_iter().chain(has.iter().map(|(_, scores)| of_scores(Some(scores), name))));
    }
    if has.iter().any(|(_, scores)| scores.majority.is_some()) {
        let majority = has.iter().map(|(_, scores)| scores.majority.map_or(String::new(), digits));
        table.row(["most frequent answer".to_string()].into_iter().chain(majority));
    }
    writeln!(context.out, "{table}")?;
    if let (Answers::Labels(labels), Some((name, scores))) = (&task.answers, has.last()) {
        writeln!(context.out, "{name} examples by label")?;
        writeln!(context.out, "{}", confusion(labels, &scores.confusion))?;
    }
    if let Some(best) = summary.best {
        writeln!(context.out, "best epoch  {}", best.epoch)?;
    }
    writeln!(context.out, "speed       {:.1} examples a second", summary.examples_per_second)?;
    writeln!(context.out, "run         {}", summary.folder.display())?;
    writeln!(context.out, "answers     {}", summary.folder.join(PREDICTIONS).display())?;
    writeln!(context.out, "curve       {}", summary.folder.join(crate::train::run_folder::CURVE).display())?;
    Ok(())
}

pub(super) fn of_scores(scores: Option<&Scores>, name: &str) -> String {
    scores.and_then(|scores| scores.values.get(name)).map_or("undefined".into(), |value| digits(*value))
}

pub(super) fn digits(value: f64) -> String {
    format!("{value:.4}")
}
