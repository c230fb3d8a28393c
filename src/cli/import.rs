//! `wgpt import`: converts the model files of another program into a model folder.

use super::arguments::{path_argument, path_option, required, whole_number};
use super::context::Context;
use super::numbers::grouped;
use super::stop::Done;
use crate::data::tokenizer::Pretokenizer;
use crate::store::atomic::write_reserved;
use crate::store::folder_kind;
use crate::store::openai;
use crate::store::reservation::Reservation;
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;
use std::str::FromStr;

pub(super) fn command() -> Command {
    let openai = Command::new("openai")
        .about("Convert GPT-1 as OpenAI published it: params_*.npy, params_shapes.json and two BPE files")
        .arg(path_argument("dir", "DIR").required(true).help("Folder with the files"))
        .arg(path_option("out", "DIR").required(true).help("Folder of the model to write; must not exist"))
        .arg(
            Arg::new("n_head")
                .long("n-head")
                .value_name("N")
                .value_parser(whole_number(1..=1usize << 20))
                .default_value("12")
                .help("Number of attention heads, which the files do not contain"),
        )
        .arg(
            Arg::new("pretokenizer")
                .long("pretokenizer")
                .value_name("bert|openai")
                .value_parser(Pretokenizer::from_str)
                .default_value("bert")
                .help("How text is split into words: as in Hugging Face (bert), or close to the original training (openai)"),
        );
    Command::new("import")
        .about("Convert another program's model files into a model folder, which Hugging Face loads too")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(openai)
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let Some(("openai", matches)) = matches.subcommand() else {
        return Ok(());
    };
    let (dir, out) = (required::<PathBuf>(matches, "dir")?, required::<PathBuf>(matches, "out")?);
    folder_kind::refuse_inside(out)?;
    let reservation = Reservation::of_nothing(out)?;
    let mut model = openai::import(dir, matches.get_one("n_head").copied().unwrap_or(openai::N_HEAD))?;
    if let (Some(tokenizer), Some(pretokenizer)) = (&model.tokenizer, matches.get_one("pretokenizer")) {
        model.tokenizer = Some(tokenizer.with_pretokenizer(*pretokenizer)?);
    }
    write_reserved(&reservation, |folder| model.write_files(folder))?;
    writeln!(context.out, "{} parameters  {}", grouped(model.config.parameter_count() as u64), out.display())?;
    Ok(())
}
