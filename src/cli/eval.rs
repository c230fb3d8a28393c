//! `wgpt eval`: a model's loss on a text, or with `--task` its metrics on examples.

use super::arguments::{flag, json_flag, missing_option, path_option};
use super::bar::Meter;
use super::context::Context;
use super::numbers::grouped;
use super::output::{note, output_file};
use super::predict;
use super::stop::Done;
use super::texts::note_folders;
use super::user_cache::token_cache;
use super::{model_argument, options};
use crate::data::text_files::TextFiles;
use crate::gpu::Device;
use crate::model::Inference;
use crate::report::{Align, Table};
use crate::store::Model;
use crate::train::settings::keys::COLUMNS;
use crate::train::text::evaluate::{Losses, Text};
use crate::train::{Evaluation, Stage};
use crate::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::PathBuf;

pub(super) fn command() -> Command {
    let task = flag("task")
        .conflicts_with_all(["per-token", "document_separator"])
        .help("Read --data as examples of the fine-tuned model's task, and print its metrics on them");
    let command = Command::new("eval")
        .about("Print a model's loss, perplexity and bits per byte on a text, or its metrics on a task")
        .arg(model_argument::option())
        .arg(task)
        .arg(path_option("data", "FILE|DIR").required(true).num_args(1..).action(ArgAction::Append).help(
            "Text, UTF-8: files, or folders with .txt files and .jsonl files (one document per line, in the key \
                     `text`)",
        ))
        .arg(Arg::new("document_separator").long("document-separator").value_name("LINE").help(
            "Line that ends a document in text files; \"\": an empty line [default: none, the text is one stream]",
        ))
        .arg(json_flag())
        .arg(
            path_option("per-token", "FILE")
                .help("Write one line per predicted token to FILE: its id, a tab, its loss in nats"),
        );
    options::add_some(command, Stage::FineTuning, &COLUMNS)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    if matches.get_flag("task") {
        return predict::evaluate(context, matches);
    }
    if let Some(column) = COLUMNS.into_iter().find(|name| matches.contains_id(name)) {
        return Err(missing_option(column, "a text has no columns: must be used with --task").into());
    }
    let data: Vec<PathBuf> = matches.get_many("data").into_iter().flatten().cloned().collect();
    let separator = matches.get_one::<String>("document_separator").cloned();
    let per_token = matches.get_one::<PathBuf>("per-token");
    let texts: Vec<PathBuf> = match per_token {
        Some(_) => TextFiles::find(&data, separator.as_deref())?.files().iter().map(|file| file.path.clone()).collect(),
        None => Vec::new(),
    };
    let per_token = match per_token {
        Some(path) => Some((path, output_file("per-token", path, &texts)?)),
        None => None,
    };
    let model = model_argument::load(matches)?;
    let tokenizer = model.tokenizer()?;
    let text = Text::read(data.clone(), separator, &model.config, tokenizer, &token_cache())?;
    note_folders(&data);
    text.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    let device = context.open()?;
    let evaluation = match per_token {
        None => evaluate(&device, &model, &text, |_, _| Ok(())),
        Some((path, file)) => file.write(|file| {
            let line = |id, loss| writeln!(file, "{id}\t{}", nine_digits(loss)).map_err(|e| Error::io(path, e));
            evaluate(&device, &model, &text, line)
        }),
    }?;
    if matches.get_flag("json") {
        return context.json(&evaluation);
    }
    write!(context.out, "{}", table(&evaluation))?;
    Ok(())
}

fn evaluate(
    device: &Device,
    model: &Model,
    text: &Text,
    mut each: impl FnMut(u32, f32) -> Result<()>,
) -> Result<Evaluation> {
    let mut inference = Inference::new(device, &model.config, &model.parameters, text.capacity)?;
    let (mut losses, mut meter) = (Losses::default(), Meter::new(text.targets, "tokens"));
    for batch in text.batches() {
        losses.add(&batch, &inference.losses(&batch)?, &mut each)?;
        meter.set(losses.tokens, &format!("loss {:.3}", losses.nats / losses.tokens.max(1) as f64));
    }
    Ok(text.evaluation(&losses))
}

fn table(evaluation: &Evaluation) -> Table {
    let Evaluation { loss, perplexity, bits_per_byte, tokens, bytes } = evaluation;
    let mut table = Table::new(&[("text", Align::Left), ("", Align::Right)]);
    table.row(["loss, nats per token".to_string(), format!("{loss:.4}")]);
    table.row(["perplexity".to_string(), format!("{perplexity:.2}")]);
    let bits = bits_per_byte.map_or("undefined".to_string(), |bits| format!("{bits:.4}"));
    table.row(["bits per byte".to_string(), bits]);
    table.row(["tokens predicted".to_string(), grouped(*tokens)]);
    table.row(["bytes".to_string(), grouped(*bytes)]);
    table
}

/// A number with nine significant digits, from which the same f32 is read.
fn nine_digits(x: f32) -> String {
    let scientific = format!("{x:.8e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent {
        Some(exponent @ -5..=8) => format!("{x:.*}", (8 - exponent).unsigned_abs() as usize),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_digits_give_the_same_number() {
        let digits =
            [3.358_184_8_f32, 0.0, 1e-4, 123_456.79, 1e-9, 9.999_999, f32::MIN_POSITIVE, 2.5e10].map(nine_digits);
        let expected = ["3.35818481", "0.00000000", "0.0000999999975", "123456.789", "9.99999972e-10", "9.99999905"];
        assert_eq!(digits[..6], expected);
        for i in 0..2000u32 {
            let x = f32::from_bits(0x2f00_0000 + i * 0x1_0203);
            assert_eq!(nine_digits(x).parse::<f32>().expect("a number"), x);
            let count =
                nine_digits(x).split('e').next().map(|d| d.trim_start_matches(['0', '.']).replace('.', "").len());
            assert_eq!(count, Some(9), "{}", nine_digits(x));
        }
    }
}
