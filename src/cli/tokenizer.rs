//! `wgpt tokenizer`: trains a tokenizer, and converts between text and ids.

use super::arguments::{path_argument, path_option, required};
use super::context::Context;
use super::options;
use super::output::note;
use super::stop::Done;
use super::texts::note_folders;
use crate::data::file_errors::unreadable;
use crate::data::file_kind::other_kind;
use crate::data::read_file::{skip_byte_order_mark, utf8};
use crate::data::text_files::{self, TextFiles};
use crate::data::tokenizer::words::WordCounts;
use crate::data::tokenizer::{FILE_NAME, Tokenizer, unknown_warning};
use crate::store::atomic::write_reserved;
use crate::store::folder_kind;
use crate::store::model_folder;
use crate::store::reservation::Reservation;
use crate::terminal::shortened;
use crate::train::Stage;
use crate::{Error, Result};
use clap::{ArgGroup, ArgMatches, Command};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The file name that means stdin.
const STDIN: &str = "-";

pub(super) fn command() -> Command {
    let train = Command::new("train").about("Train a tokenizer on a text");
    let train =
        options::add_some(train, Stage::Pretraining, &["data", "vocab_size", "pretokenizer", "document_separator"])
            .arg(path_option("out", "DIR").required(true).help("Folder of the tokenizer to write; must not exist"));
    let with_tokenizer = |command: Command| {
        command
            .arg(
                path_option("model", "DIR")
                    .help("Use the tokenizer of this model: a run, a checkpoint or a model folder"),
            )
            .arg(path_option("tokenizer", "PATH").help("Use this tokenizer: a tokenizer.json, or a folder with one"))
            .group(ArgGroup::new("which").args(["model", "tokenizer"]).required(true))
    };
    let file = || path_argument("file", "FILE").default_value(STDIN);
    Command::new("tokenizer")
        .about("Train a tokenizer, or convert between text and token ids")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            train,
            with_tokenizer(Command::new("encode").about("Print the ids of a text, all on one line"))
                .arg(file().help("Text, UTF-8; -: stdin")),
            with_tokenizer(Command::new("decode").about("Print the text of ids, and nothing else"))
                .arg(file().help("Ids, separated by white space; -: stdin")),
        ])
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    match matches.subcommand() {
        Some(("train", matches)) => train(context, matches),
        Some(("encode", matches)) => encode(context, matches),
        Some(("decode", matches)) => decode(context, matches),
        _ => Ok(()),
    }
}

fn train(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let settings = options::layers(matches, Stage::Pretraining)?.settings()?;
    let out: &PathBuf = required(matches, "out")?;
    folder_kind::refuse_inside(out)?;
    let reservation = Reservation::of_nothing(out)?;
    let sources = TextFiles::find(settings.data_files()?, settings.document_separator.as_deref())?;
    let mut warnings = sources.warnings()?;
    let mut words = WordCounts::new(settings.pretokenizer);
    sources.read(true, &mut |block| words.add(block))?;
    let tokenizer = Tokenizer::train_on(&words, settings.model.vocab_size)?;
    note_folders(&settings.data);
    let (ids, size) = (tokenizer.vocab_size(), settings.model.vocab_size);
    if ids < size {
        warnings
            .push(format!("vocab_size = {size}: the text has no more pairs to merge, so the tokenizer has {ids} ids"));
    }
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    write_reserved(&reservation, |folder| model_folder::write_tokenizer(folder, &tokenizer, None))?;
    writeln!(context.out, "{} ids  {}", tokenizer.vocab_size(), out.join(FILE_NAME).display())?;
    Ok(())
}

fn encode(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let tokenizer = tokenizer(matches)?;
    let (mut input, name) = input(matches)?;
    let out = &mut context.out;
    let mut gap = "";
    let (mut unknown, mut all) = (0, 0);
    let read = text_files::read_from(&mut *input, &name, None, tokenizer.is_splittable(), &mut |block| {
        let ids = tokenizer.encode(block.text)?;
        (unknown, all) = (unknown + tokenizer.unknown_count(&ids), all + ids.len());
        for id in ids {
            write!(out, "{gap}{id}").map_err(|e| Error::io("stdout", e))?;
            gap = " ";
        }
        Ok(())
    });
    match read {
        // A reader that closes stdout early is no error, as in all subcommands.
        Err(Error::Io { source, .. }) => return Err(source.into()),
        done => done?,
    }
    let warnings = tokenizer.warning().into_iter().chain(unknown_warning(unknown, all));
    warnings.for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(writeln!(context.out)?)
}

fn decode(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let tokenizer = tokenizer(matches)?;
    let (mut input, name) = input(matches)?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|e| unreadable(&name, e))?;
    let (text, last) = (utf8(&name, bytes)?, tokenizer.vocab_size().saturating_sub(1));
    let id = |(i, word): (usize, &str)| {
        let id = word.parse::<u32>().ok().filter(|id| *id as usize <= last);
        id.ok_or_else(|| {
            let found = format!("{:?}", shortened(word, 100));
            Error::file(&name, found).at(format!("word {}", i + 1)).expected(format!("expected an id from 0 to {last}"))
        })
    };
    let ids = text.split_whitespace().enumerate().map(id).collect::<Result<Vec<u32>>>()?;
    write!(context.out, "{}", tokenizer.decode(&ids)?)?;
    Ok(())
}

/// The tokenizer of `--model` or `--tokenizer`.
fn tokenizer(matches: &ArgMatches) -> Result<Tokenizer> {
    match matches.get_one::<PathBuf>("model") {
        Some(model) => Tokenizer::open(&model_folder::resolve(model)?),
        None => Tokenizer::open(required::<PathBuf>(matches, "tokenizer")?),
    }
}

/// The input, without the byte-order mark of a file, and its name in errors.
fn input(matches: &ArgMatches) -> Result<(Box<dyn BufRead>, PathBuf)> {
    let path: &PathBuf = required(matches, "file")?;
    if path == Path::new(STDIN) {
        return Ok((Box::new(std::io::stdin().lock()), "stdin".into()));
    }
    let wrong = |e| unreadable(path, e);
    let mut file = BufReader::with_capacity(1 << 16, std::fs::File::open(path).map_err(wrong)?);
    if let Some(kind) = other_kind(file.fill_buf().map_err(wrong)?).filter(|kind| !kind.may_be_text) {
        return Err(kind.in_text(path));
    }
    skip_byte_order_mark(&mut file).map_err(wrong)?;
    Ok((Box::new(file), path.into()))
}
