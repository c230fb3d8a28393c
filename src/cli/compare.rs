//! `wgpt compare`: several runs in one table and one picture, and the settings in which they differ.

use super::arguments::{json_flag, path_argument, path_option};
use super::context::Context;
use super::numbers::{duration, grouped};
use super::output::{note, output_file, write_all};
use super::stop::Done;
use crate::report::{Align, ComparedRun, Comparison, ComparisonPanel, Table, comparison_svg};
use crate::terminal::visible_path;
use crate::train::Stage;
use crate::train::comparison::{Incomparable, SavedRun, Step, differences, incomparable};
use crate::train::metrics::{EpochLine, EvaluationLine};
use crate::train::run_folder::{CONFIG, METRICS};
use crate::{Error, Result};
use clap::{ArgMatches, Command};
use serde_json::{Map, Value};
use std::path::PathBuf;

pub(super) fn command() -> Command {
    Command::new("compare")
        .about("Compare runs: a table, the settings in which they differ, and their curves in one picture")
        .arg(
            path_argument("runs", "RUN")
                .required(true)
                .num_args(1..)
                .help("Folders of runs, all of pretraining or all of fine-tuning; they may be in training"),
        )
        .arg(path_option("out", "FILE").help("Draw the curves into this SVG file"))
        .arg(json_flag())
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let paths: Vec<PathBuf> = matches.get_many("runs").into_iter().flatten().cloned().collect();
    let inputs: Vec<PathBuf> = paths.iter().flat_map(|run| [CONFIG, METRICS].map(|name| run.join(name))).collect();
    let out = matches.get_one::<PathBuf>("out");
    let file = out.map(|path| output_file("out", path, &inputs)).transpose()?;
    let runs = paths.iter().map(|path| SavedRun::open(path)).collect::<Result<Vec<SavedRun>>>()?;
    if let Some(other) = runs.iter().find(|run| run.stage != runs[0].stage) {
        let kind = |stage| if stage == Stage::Pretraining { "a pretraining run" } else { "a fine-tuning run" };
        let error = Error::file(&other.path, format!("is {}", kind(other.stage)));
        return Err(error.expected(format!("must be {}, as {} is", kind(runs[0].stage), paths[0].display())).into());
    }
    let names = names(&paths);
    let why = incomparable(&runs);
    if let Some(why) = why {
        note(format_args!("warning: {}", warning(runs[0].stage, why)));
    }
    if matches.get_flag("json") {
        runs.iter().zip(&paths).try_for_each(|(run, path)| context.json(&row(run, &path.display().to_string())))?;
    } else {
        write!(context.out, "{}", table(&runs, &names))?;
        let differences = differences(&runs);
        if !differences.is_empty() {
            writeln!(context.out, "\n{}", difference_table(&differences, &names).to_string().trim_end())?;
        }
    }
    if let (Some(file), Some(path)) = (file, out) {
        let picture = comparison_svg(&picture(&runs, &names, why));
        file.write(|file| write_all(file, path, &picture))?;
        note(format_args!("curves: {}", visible_path(path)));
    }
    Ok(())
}

/// The names of the folders if they differ, else their paths.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let short: Vec<String> = paths.iter().filter_map(name).collect();
    let mut different = short.clone();
    different.sort();
    different.dedup();
    match different.len() == paths.len() {
        true => short,
        false => paths.iter().map(|path| path.display().to_string()).collect(),
    }
}

fn warning(stage: Stage, why: Incomparable) -> &'static str {
    match (stage, why) {
        (Stage::Pretraining, Incomparable::Tokenizers) => {
            "the runs have different tokenizers, so their losses per token are not comparable; bits per byte are, on the \
             same text"
        }
        (Stage::FineTuning, Incomparable::Tokenizers) => {
            "the runs have different tokenizers: their metrics are comparable, their language-model losses are not"
        }
        (Stage::Pretraining, Incomparable::Data) => {
            "the runs do not have the same text or the same held-out share of it"
        }
        (Stage::FineTuning, Incomparable::Data) => "the runs do not have the same validation examples",
    }
}

/// The evaluation with the lowest loss.
fn best(run: &SavedRun) -> Option<&EvaluationLine> {
    run.evaluations().min_by(|a, b| a.valid_loss.total_cmp(&b.valid_loss))
}

fn table(runs: &[SavedRun], names: &[String]) -> Table {
    let right = |head| (head, Align::Right);
    let speed = |run: &SavedRun| run.tokens_per_second().map_or(String::new(), |speed| grouped(speed.round() as u64));
    match runs[0].stage {
        Stage::Pretraining => {
            let mut table = Table::new(&[
                ("run", Align::Left),
                right("steps"),
                right("tokens"),
                right("validation loss"),
                right("lowest"),
                right("at step"),
                right("bits per byte"),
                right("tokens/s"),
                right("time"),
            ]);
            for (run, name) in runs.iter().zip(names) {
                let (last, best) = (run.evaluations().last(), best(run));
                table.row([
                    name.clone(),
                    grouped(u64::from(run.steps())),
                    grouped(run.tokens()),
                    last.map_or(String::new(), |line| format!("{:.4}", line.valid_loss)),
                    best.map_or(String::new(), |line| format!("{:.4}", line.valid_loss)),
                    best.map_or(String::new(), |line| grouped(u64::from(line.step))),
                    last.and_then(|line| line.valid_bits_per_byte).map_or(String::new(), |bits| format!("{bits:.4}")),
                    speed(run),
                    duration(run.seconds()),
                ]);
            }
            table
        }
        Stage::FineTuning => {
            let metrics = metrics(runs);
            let headings: Vec<String> = metrics.iter().map(|name| name.replace('_', " ")).collect();
            let mut columns = vec![("run", Align::Left), right("epochs"), right("best")];
            columns.extend(headings.iter().map(|heading| (heading.as_str(), Align::Right)));
            columns.extend([right("tokens/s"), right("time")]);
            let mut table = Table::new(&columns);
            for (run, name) in runs.iter().zip(names) {
                let best = run.best_epoch();
                let value = |name: &String| {
                    let value = best.and_then(|epoch| epoch.valid.get(name)).or_else(|| run.test()?.get(name));
                    value.map_or(String::new(), |value| format!("{value:.4}"))
                };
                let mut row = vec![
                    name.clone(),
                    run.epochs().count().to_string(),
                    best.map_or(String::new(), |epoch| epoch.epoch.to_string()),
                ];
                row.extend(metrics.iter().map(value));
                row.extend([speed(run), duration(run.seconds())]);
                table.row(row);
            }
            table
        }
    }
}

/// The names of all metrics of validation and test examples, in the order of their first run.
fn metrics(runs: &[SavedRun]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for run in runs {
        let of_run = run.best_epoch().into_iter().flat_map(|epoch| epoch.valid.keys());
        for name in of_run.chain(run.test().into_iter().flat_map(|test| test.keys())) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

fn difference_table(differences: &[(&'static str, Vec<String>)], names: &[String]) -> Table {
    let headings = std::iter::once("setting").chain(names.iter().map(String::as_str));
    let headings: Vec<(&str, Align)> = headings.map(|heading| (heading, Align::Left)).collect();
    let mut table = Table::new(&headings);
    for (key, values) in differences {
        table.row(std::iter::once(key.to_string()).chain(values.iter().cloned()));
    }
    table
}

/// A run as an object of JSON. Numbers that are not finite are null.
fn row(run: &SavedRun, path: &str) -> Map<String, Value> {
    let mut row = Map::from_iter([
        ("run".to_string(), path.into()),
        ("steps".to_string(), run.steps().into()),
        ("tokens".to_string(), run.tokens().into()),
        ("elapsed_s".to_string(), run.seconds().into()),
        ("tokens_per_second".to_string(), run.tokens_per_second().into()),
    ]);
    if run.stage == Stage::Pretraining {
        let (last, best) = (run.evaluations().last(), best(run));
        row.insert("valid_loss".into(), last.map(|line| line.valid_loss).into());
        row.insert("valid_bits_per_byte".into(), last.and_then(|line| line.valid_bits_per_byte).into());
        row.insert("lowest_valid_loss".into(), best.map(|line| line.valid_loss).into());
        row.insert("lowest_at_step".into(), best.map(|line| line.step).into());
    } else {
        row.insert("epochs".into(), run.epochs().count().into());
        row.insert("best_epoch".into(), run.best_epoch().map(|epoch| epoch.epoch).into());
        let of_best = run.best_epoch().into_iter().flat_map(|epoch| &epoch.valid);
        for (name, value) in of_best.chain(run.test().into_iter().flatten()) {
            row.insert(name.clone(), (*value).into());
        }
    }
    row
}

/// The noisy points of a run in a panel, and its others.
type Points = [Vec<(f64, f64)>; 2];

/// Pretraining: losses over tokens and over time; fine-tuning: the first metric and the loss over epochs.
fn picture(runs: &[SavedRun], names: &[String], why: Option<Incomparable>) -> Comparison {
    let panel = |title: &str, x: &str, run: &dyn Fn(&SavedRun) -> Points| {
        let of = |(saved, name): (&SavedRun, &String)| {
            let [noisy, points] = run(saved);
            ComparedRun { name: name.clone(), noisy, points }
        };
        ComparisonPanel { title: title.into(), x: x.into(), runs: runs.iter().zip(names).map(of).collect() }
    };
    let title = format!("{} run{}", runs.len(), if runs.len() == 1 { "" } else { "s" });
    if runs[0].stage == Stage::FineTuning {
        let metric = metrics(runs).into_iter().find(|name| name.starts_with("valid_") && name != "valid_loss");
        let metric = metric.unwrap_or_else(|| "valid_loss".into());
        let of_epochs = |name: &str| {
            let name = name.to_string();
            move |run: &SavedRun| {
                let value = |epoch: &EpochLine| Some((f64::from(epoch.epoch), *epoch.valid.get(&name)?));
                [Vec::new(), run.epochs().filter_map(value).collect()]
            }
        };
        let title_of = |name: &str| name.replacen("valid_", "", 1) + " on validation";
        let panels = [
            panel(&title_of(&metric), "epochs", &of_epochs(&metric)),
            panel(&title_of("valid_loss"), "epochs", &of_epochs("valid_loss")),
        ];
        return Comparison { title, subtitle: String::new(), panels };
    }
    // Losses per token say nothing about models with different tokenizers.
    let bits = why == Some(Incomparable::Tokenizers);
    let losses = |scale: fn(&Step) -> f64| {
        move |run: &SavedRun| {
            let steps: Vec<_> = run.steps_done().collect();
            let at = |line: &EvaluationLine| match steps.binary_search_by_key(&line.step, |step| step.step) {
                Ok(i) => scale(&steps[i]),
                Err(_) => 0.0,
            };
            let value = |line: &EvaluationLine| if bits { line.valid_bits_per_byte } else { Some(line.valid_loss) };
            let points = run.evaluations().filter_map(|line| Some((at(line), value(line)?))).collect();
            let noisy = if bits { Vec::new() } else { steps.iter().map(|s| (scale(s), s.loss)).collect() };
            [noisy, points]
        }
    };
    let measure = if bits { "bits per byte on validation" } else { "loss on validation, nats per token" };
    let (tokens, seconds) = runs.iter().fold((0, 0.0), |(t, s), run| (run.tokens().max(t), run.seconds().max(s)));
    let of_tokens: fn(&Step) -> f64 =
        if tokens < 1_000_000 { |s| s.tokens_done() as f64 / 1e3 } else { |s| s.tokens_done() as f64 / 1e6 };
    let of_time: fn(&Step) -> f64 = if seconds < 120.0 { |s| s.seconds } else { |s| s.seconds / 60.0 };
    let panels = [
        panel(measure, if tokens < 1_000_000 { "thousand tokens" } else { "million tokens" }, &losses(of_tokens)),
        panel(measure, if seconds < 120.0 { "seconds" } else { "minutes" }, &losses(of_time)),
    ];
    let subtitle = if bits { "" } else { "pale: training, smoothed" };
    Comparison { title, subtitle: subtitle.into(), panels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_where_they_differ() {
        let paths = |all: [&str; 2]| all.map(PathBuf::from).to_vec();
        assert_eq!(names(&paths(["runs/a", "old/b"])), ["a", "b"]);
        assert_eq!(names(&paths(["runs/a", "old/a"])), ["runs/a", "old/a"]);
    }
}
