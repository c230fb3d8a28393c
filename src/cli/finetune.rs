//! `wgpt finetune`: fine-tunes a model on a task, in one run or one per seed, or resumes such a run.

use super::arguments::{invalid_option, missing_option, whole_number};
use super::context::Context;
use super::output::note;
use super::stop::{Done, Stop};
use super::{options, training};
use crate::config::{Answers, Task, TaskKind};
use crate::report::command::shell_word;
use crate::report::{Align, Table, confusion_table};
use crate::train::run_folder::{CURVE, PREDICTIONS};
use crate::train::run_path::RunPath;
use crate::train::settings::keys::COLUMNS;
use crate::train::task::column_keys;
use crate::train::task::scores::{self, Scores};
use crate::train::{FineTuning, Layers, Settings, Stage, StoppedRun, Trained};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::path::Path;

pub(super) fn command() -> Command {
    let tasks = [
        (TaskKind::Classify, "Classify a text"),
        (TaskKind::Entail, "Classify an ordered pair of texts, such as premise and hypothesis"),
        (TaskKind::Similar, "Classify or score an unordered pair of texts"),
        (TaskKind::Choose, "Choose one of several candidates for a context"),
    ];
    let task = |(kind, about): (TaskKind, &'static str)| {
        let name = kind.name();
        let seeds = Arg::new("seeds")
            .long("seeds")
            .value_name("N,N,…")
            .value_delimiter(',')
            .value_parser(whole_number(0..=i64::MAX as u64))
            .conflicts_with_all(["seed", "resume"])
            .help("Run once per seed, in OUT/seed-N, and report mean and range");
        let command = training::add_run_options(Command::new(name).about(about), name).arg(seeds);
        let command = options::add(command, Stage::FineTuning).override_usage(usage(kind));
        COLUMNS.iter().fold(command, |command, key| command.mut_arg(key, |arg| column_of(kind, arg)))
    };
    Command::new("finetune")
        .about("Fine-tune a model on a task: classify a text or a pair of texts, score a pair, or choose between candidates")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(tasks.map(task))
}

fn usage(kind: TaskKind) -> String {
    let columns = column_keys(kind).iter().filter(|key| **key != "score").map(|key| format!(" --{key} <TEXT>"));
    let columns = columns.collect::<String>().replace(
        "--label <TEXT>",
        match kind {
            TaskKind::Similar => "<--label <TEXT>|--score <TEXT>>",
            _ => "--label <TEXT>",
        },
    );
    format!(
        "wgpt finetune {kind} --model <PATH> --train <PATH> --valid <PATH>{columns} [OPTIONS]\n       \
         wgpt finetune {kind} --resume <RUN> [OPTIONS]"
    )
}

/// The option for a column as a task has it: its help without what it is in other tasks. Columns of other tasks are left out
/// of the help.
fn column_of(kind: TaskKind, option: Arg) -> Arg {
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let own = help
        .split("; ")
        .filter_map(|part| part.split_once(": "))
        .find(|(tasks, _)| tasks.split(", ").any(|task| task == kind.name()));
    match own {
        Some((_, help)) => option.help(help[..1].to_uppercase() + &help[1..]),
        None => option.hide(true),
    }
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let Some((name, matches)) = matches.subcommand() else { return Ok(()) };
    let kind: TaskKind = name.parse()?;
    let layers = options::layers(matches, Stage::FineTuning)?;
    if matches.contains_id("seeds") && layers.is_on_command_line("seed") {
        return Err(missing_option("seeds", "cannot be combined with --set seed").into());
    }
    if let Some(run) = training::resumed(matches)? {
        return resume(context, run, kind, layers);
    }
    let settings = layers.settings()?;
    match matches.get_many::<u64>("seeds") {
        None => {
            let out = training::new_folder(matches, name)?;
            let trained = train(context, FineTuning::reserved(settings, kind, out)?)?;
            report(context, &trained)
        }
        Some(seeds) => {
            let seeds: Vec<u64> = seeds.copied().collect();
            let (out, _reserved) = training::folder_of_runs(matches, name)?;
            each_seed(context, &settings, kind, &out, &seeds)
        }
    }
}

/// The result of one run of `--seeds`.
struct SeedResult {
    seed: u64,
    best_epoch: Option<u32>,
    /// Scores on the test examples, if there are any, else on the validation examples.
    scores: Option<Scores>,
    is_test: bool,
}

fn each_seed(context: &mut Context<'_>, settings: &Settings, kind: TaskKind, out: &Path, seeds: &[u64]) -> Done {
    let prepare = |seed: u64, out: RunPath| {
        let settings = Settings { seed, ..settings.clone() };
        FineTuning::reserved(settings, kind, out)
    };
    // Errors in the input, and folders that exist, are reported before the first run starts.
    if let Some(twice) = seeds.iter().enumerate().find(|(i, seed)| seeds[..*i].contains(seed)) {
        return Err(invalid_option("seeds", twice.1, "is given twice: each seed must be another").into());
    }
    let reserve = |seed: &u64| RunPath::reserve(&out.join(format!("seed-{seed}")));
    let paths = seeds.iter().map(reserve).collect::<Result<Vec<_>>>()?;
    let first = seeds.first().zip(paths.first()).map(|(seed, path)| prepare(*seed, path.clone())).transpose()?;
    let Some(task) = first.map(|run| run.task().cloned()).transpose()? else { return Ok(()) };
    let (mut results, mut last) = (Vec::new(), None);
    for (seed, path) in seeds.iter().zip(paths) {
        note(format_args!("seed {seed}"));
        let trained = train(context, prepare(*seed, path)?);
        if let Err(Stop::Interrupted) = &trained {
            note_rest(kind, out, seeds, *seed);
        }
        let mut run = trained?.objective;
        let is_test = run.test_scores.is_some();
        let best_epoch = run.best.map(|best| best.epoch);
        let scores = run.test_scores.take().or(run.valid_scores.take());
        last = Some(run);
        results.push(SeedResult { seed: *seed, best_epoch, scores, is_test });
    }
    let names = scores::metric_names(&task);
    let mut columns = vec![("seed", Align::Left), ("best epoch", Align::Right)];
    columns.extend(names.iter().map(|name| (*name, Align::Right)));
    let mut table = Table::new(&columns);
    for result in &results {
        let epoch = result.best_epoch.map_or(String::new(), |epoch| epoch.to_string());
        let values = names.iter().map(|name| score_text(result.scores.as_ref(), name));
        table.row([result.seed.to_string(), epoch].into_iter().chain(values));
    }
    for (label, statistic) in [("mean", mean as fn(&[f64]) -> f64), ("minimum", minimum), ("maximum", maximum)] {
        let value = |name: &&str| {
            let value = |result: &SeedResult| result.scores.as_ref()?.values.get(*name).copied();
            let values: Vec<f64> = results.iter().filter_map(value).collect();
            if values.len() == results.len() { digits(statistic(&values)) } else { "undefined".into() }
        };
        table.row([label.to_string(), String::new()].into_iter().chain(names.iter().map(value)));
    }
    writeln!(context.out, "{table}")?;
    if let Some(run) = &last {
        write_baselines(context, run)?;
    }
    let part = if results.iter().any(|result| result.is_test) { "test" } else { "validation" };
    writeln!(context.out, "scores on the {part} examples; runs in {}", out.display())?;
    Ok(())
}

/// Prints which seeds are not trained after one of them was interrupted.
fn note_rest(kind: TaskKind, out: &Path, seeds: &[u64], interrupted: u64) {
    let rest: Vec<String> = seeds.iter().skip_while(|seed| **seed != interrupted).skip(1).map(u64::to_string).collect();
    if !rest.is_empty() {
        let (rest, out) = (rest.join(","), shell_word(out));
        note(format_args!(
            "seeds without a run: {rest}; `wgpt finetune {kind}` trains them with the same options, but with --seeds {rest} \
             and --out {out}"
        ));
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn resume(context: &mut Context<'_>, run: &Path, kind: TaskKind, changes: Layers) -> Done {
    let stopped = StoppedRun::<FineTuning>::open(run, changes)?;
    let Some(objective) = stopped.prepare()? else {
        training::note_complete(run, &stopped, "--epochs");
        return Ok(());
    };
    let task = objective.task()?.kind;
    if task != kind {
        let found = format!("its task is {task}");
        let error = Error::file(run, found)
            .expected(format!("`wgpt finetune {task} --resume {}` continues it", shell_word(run)));
        return Err(error.into());
    }
    let warnings = stopped.warnings(&objective).into_iter().map(|warning| format!("warning: {warning}"));
    let (command, notes) = (command_of(&objective)?, warnings.chain(notes(&objective)).collect::<Vec<_>>());
    let trained = training::resume(context, &command, &notes, stopped, objective)?;
    report(context, &trained)
}

fn train(context: &Context<'_>, objective: FineTuning) -> Result<Trained<FineTuning>, Stop> {
    let (command, notes) = (command_of(&objective)?, notes(&objective));
    training::train(context, &command, &notes, objective)
}

fn command_of(objective: &FineTuning) -> Result<String> {
    Ok(format!("finetune {}", objective.task()?.kind))
}

fn notes(objective: &FineTuning) -> Vec<String> {
    objective.warnings.iter().map(|warning| format!("warning: {warning}")).collect()
}

/// Prints what simple methods reach in the metric that chooses the best epoch, or in the task's first one.
fn write_baselines(context: &mut Context<'_>, run: &FineTuning) -> Done {
    let best_by = run.best_by()?;
    let names = scores::metric_names(run.task()?);
    let metric = names.iter().find(|name| **name == best_by && best_by != "loss").unwrap_or(&names[0]);
    let parts = [Some("validation"), run.test.as_ref().map(|_| "test")];
    let columns = parts.iter().flatten().map(|name| (*name, Align::Right));
    let head = format!("{metric} of simple methods");
    let columns: Vec<(&str, Align)> = [(head.as_str(), Align::Left)].into_iter().chain(columns).collect();
    let mut table = Table::new(&columns);
    for baseline in &run.baselines {
        let values =
            baseline.metrics.iter().map(|metrics| metrics.get(metric).map_or("undefined".into(), |v| digits(*v)));
        table.row([baseline.name.to_string()].into_iter().chain(values));
    }
    Ok(writeln!(context.out, "{table}")?)
}

fn report(context: &mut Context<'_>, trained: &Trained<FineTuning>) -> Done {
    let run = &trained.objective;
    let task: &Task = run.task()?;
    let parts = [("validation", &run.valid_scores), ("test", &run.test_scores)];
    let parts: Vec<(&str, &Scores)> =
        parts.into_iter().filter_map(|(name, part)| Some((name, part.as_ref()?))).collect();
    let columns = parts.iter().map(|(name, _)| (*name, Align::Right));
    let columns: Vec<(&str, Align)> = [("best epoch's", Align::Left)].into_iter().chain(columns).collect();
    let mut table = Table::new(&columns);
    for name in scores::metric_names(task) {
        let values = parts.iter().map(|(_, scores)| score_text(Some(scores), name));
        table.row([name.to_string()].into_iter().chain(values));
    }
    writeln!(context.out, "{table}")?;
    write_baselines(context, run)?;
    if let (Answers::Labels(labels), Some((name, scores))) = (&task.answers, parts.last()) {
        writeln!(context.out, "{name} examples by label")?;
        writeln!(context.out, "{}", confusion_table(labels, &scores.confusion))?;
    }
    if let Some(best) = run.best {
        let by_loss = match best.value {
            Some(_) => String::new(),
            None => format!(" by the loss, because {} is undefined", run.best_by()?),
        };
        writeln!(context.out, "best epoch  {}{by_loss}", best.epoch)?;
    }
    writeln!(context.out, "speed       {:.1} examples per second", trained.examples_per_second)?;
    writeln!(context.out, "run         {}", trained.folder.display())?;
    writeln!(context.out, "answers     {}", trained.folder.join(PREDICTIONS).display())?;
    writeln!(context.out, "curve       {}", trained.folder.join(CURVE).display())?;
    Ok(())
}

pub(super) fn score_text(scores: Option<&Scores>, name: &str) -> String {
    scores.and_then(|scores| scores.values.get(name)).map_or("undefined".into(), |value| digits(*value))
}

pub(super) fn digits(value: f64) -> String {
    format!("{value:.4}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_a_task_has_its_own_columns() {
        let help = |task: &str| {
            let mut finetune = command();
            let task = finetune.find_subcommand_mut(task).expect("a task");
            task.render_long_help().to_string()
        };
        let choose = help("choose");
        assert!(choose.contains("          Column of the right candidate's index, from 0, or its text"), "{choose}");
        assert!(
            choose.contains("--valid <PATH> --context <TEXT> --choices <TEXT> --label <TEXT> [OPTIONS]"),
            "{choose}"
        );
        assert!(!choose.contains("--premise") && !choose.contains("entail"), "{choose}");
        let similar = help("similar");
        assert!(similar.contains(" --a <TEXT> --b <TEXT> <--label <TEXT>|--score <TEXT>> [OPTIONS]"), "{similar}");
        assert!(help("entail").contains("          Column of the label\n"));
    }
}
