//! `wgpt predict` and `wgpt eval --task`: a fine-tuned model's answers to the examples of a file, and their scores.

use super::arguments::{missing_option, required};
use super::context::Context;
use super::finetune::{digits, score_text};
use super::model_argument;
use super::options;
use super::output::{note, output_file, write_all};
use super::stop::Done;
use crate::config::{Answers, ModelConfig, Task};
use crate::model::Inference;
use crate::report::{Align, Table, confusion_table};
use crate::train::task::Examples;
use crate::train::task::scores::{self, Scores};
use crate::train::{Stage, settings::keys::COLUMNS};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::PathBuf;

pub(super) fn command() -> Command {
    let path = |name: &'static str| Arg::new(name).long(name).value_parser(value_parser!(PathBuf)).value_name("FILE");
    let command = Command::new("predict")
        .about("Predict the answers to a file's examples with a fine-tuned model")
        .arg(model_argument::option())
        .arg(path("data").required(true).help("Examples: .tsv, .csv or .jsonl, with named columns"))
        .arg(path("out").help(
            "File to write, one line per example: the answer, and the probability of each label [default: stdout]",
        ));
    let columns: Vec<&str> = COLUMNS.into_iter().filter(|name| !["label", "score"].contains(name)).collect();
    options::add_some(command, Stage::FineTuning, &columns)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let data: &PathBuf = required(matches, "data")?;
    let out = matches.get_one::<PathBuf>("out").map(|path| output_file("out", path, [data])).transpose()?;
    let (task, scores) = answer(context, matches, Answer::Wanted)?;
    let text = scores::predictions(&task, &scores.answers);
    match (out, matches.get_one::<PathBuf>("out")) {
        (Some(file), Some(path)) => Ok(file.write(|file| write_all(file, path, &text))?),
        _ => Ok(write!(context.out, "{text}")?),
    }
}

/// Runs `wgpt eval --task`.
pub(super) fn evaluate(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let (task, scores) = answer(context, matches, Answer::Known)?;
    if matches.get_flag("json") {
        let mut row = serde_json::Map::new();
        for name in scores::metric_names(&task) {
            row.insert(name.into(), scores.values.get(name).copied().into());
        }
        row.insert("majority".into(), scores.majority.into());
        row.insert("examples".into(), scores.answers.len().into());
        return context.json(&row);
    }
    let mut table = Table::new(&[("metric", Align::Left), ("", Align::Right)]);
    for name in scores::metric_names(&task) {
        table.row([name.to_string(), score_text(Some(&scores), name)]);
    }
    table.row(["most frequent answer".to_string(), scores.majority.map_or(String::new(), digits)]);
    table.row(["examples".to_string(), scores.answers.len().to_string()]);
    writeln!(context.out, "{table}")?;
    if let Answers::Labels(labels) = &task.answers {
        write!(context.out, "{}", confusion_table(labels, &scores.confusion))?;
    }
    Ok(())
}

/// Whether the file contains the right answers.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Known,
    Wanted,
}

fn answer(context: &Context<'_>, matches: &ArgMatches, answer: Answer) -> Result<(Task, Scores)> {
    let settings = options::layers(matches, Stage::FineTuning)?.task_settings()?;
    let data: &PathBuf = required(matches, "data")?;
    let model = model_argument::load(matches)?;
    let ModelConfig { task, n_positions, .. } = &model.config;
    let Some(task) = task else {
        let folder = model.folder.unwrap_or_default();
        return Err(Error::file(folder, "the model has no task").expected("fine-tune it by `wgpt finetune`"));
    };
    let columns = settings.columns(task.kind)?;
    if answer == Answer::Known && columns.answer.is_none() {
        let name = if task.answers == Answers::Score { "score" } else { "label" };
        return Err(missing_option(name, "must name the column with the right answers"));
    }
    let examples = Examples::new(data, &columns.read(data, task)?, model.tokenizer()?, *n_positions)?;
    let device = context.open()?;
    examples.warnings(*n_positions).iter().for_each(|warning| note(format_args!("warning: {warning}")));
    let mut inference = Inference::new(&device, &model.config, &model.parameters, examples.batches().1)?;
    Ok((task.clone(), scores::score(&mut inference, task, &examples)?))
}
