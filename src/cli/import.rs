//! `wgpt import`: a model in another program's files to a model's folder.

use super::context::Context;
use super::numbers::grouped;
use super::stop::Done;
use crate::data::tokenizer::Pretokenizer;
use crate::store::openai;
use crate::train::run_folder::RunFolder;
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) fn command() -> Command {
    let path =
        |name: &'static str| Arg::new(name).value_name("DIR").required(true).value_parser(value_parser!(PathBuf));
    let openai = Command::new("openai")
        .about("GPT-1 as it was published: params_*.npy, params_shapes.json and its BPE files")
        .arg(path("dir").help("The folder that holds them"))
        .arg(path("out").long("out").help("The model's folder, which must not exist"))
        .arg(
            Arg::new("n_head")
                .long("n-head")
                .value_name("N")
                .value_parser(value_parser!(usize))
                .default_value("12")
                .help("Heads: the files do not say it"),
        )
        .arg(
            Arg::new("pretokenizer")
                .long("pretokenizer")
                .value_name("bert|openai")
                .value_parser(Pretokenizer::from_str)
                .default_value("bert")
                .help("How text is cut in words: as Hugging Face does, or nearly as the model was trained"),
        );
    Command::new("import")
        .about("Turns another program's files into a model's folder, which Hugging Face loads, too")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(openai)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let Some(("openai", matches)) = matches.subcommand() else {
        return Err(Error::input("import: expected openai").into());
    };
    let given = |name| -> Result<&Path> {
        let path = matches.get_one::<PathBuf>(name);
        path.map(PathBuf::as_path).ok_or_else(|| Error::input(format!("import: no {name}")))
    };
    let (dir, out) = (given("dir")?, given("out")?);
    RunFolder::check_new(out)?;
    let mut model = openai::import(dir, matches.get_one("n_head").copied().unwrap_or(openai::N_HEAD))?;
    if let (Some(tokenizer), Some(pretokenizer)) = (&model.tokenizer, matches.get_one("pretokenizer")) {
        model.tokenizer = Some(tokenizer.with_pretokenizer(*pretokenizer)?);
    }
    model.save(out)?;
    writeln!(context.out, "{} parameters  {}", grouped(model.config.parameter_count() as u64), out.display())?;
    Ok(())
}
