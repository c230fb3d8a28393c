//! `wgpt demo`: the first command: trains nano on stories of our own, shows the curve and a text that the model writes.

use super::context::Context;
use super::stop::Done;
use super::{clock, pretrain};
use crate::data::synthetic::stories::stories;
use crate::report::sketch;
use crate::train::sample::{Sampling, SamplingLimits, sample};
use crate::train::{Layers, Prepared, Trained};
use clap::{Arg, ArgMatches, Command};
use std::path::PathBuf;

/// The text's seed and its size.
const SEED: u64 = 1;
const BYTES: usize = 1 << 20;
/// Updates, where `--steps` says nothing else.
const STEPS: &str = "500";
const PROMPT: &str = "Once upon a time there was a";
const STORIES: &str = "stories.txt";

pub(super) fn command() -> Command {
    Command::new("demo")
        .about("Trains a small model on stories for some minutes, shows its curve and a sample")
        .arg(Arg::new("steps").long("steps").value_name("N").default_value(STEPS).help("Updates"))
        .arg(pretrain::out().help("The run's folder, which must not exist [default: runs/demo-<date-time>]"))
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let default = || PathBuf::from("runs").join(format!("demo-{}", clock::stamp()));
    let out = matches.get_one::<PathBuf>("out").cloned().unwrap_or_else(default);
    let mut layers = Layers::new();
    layers.option("preset", "nano");
    layers.option("steps", matches.get_one::<String>("steps").map_or(STEPS, String::as_str));
    let mut settings = layers.settings()?;
    // The text lies in the run's folder, so config.toml runs again as it is.
    settings.data = vec![out.join(STORIES)];
    let text = stories(SEED, BYTES);
    let mut prepared = Prepared::from_text(settings, &text, &out)?;
    prepared.files.push((STORIES.into(), text.into_bytes()));
    let limits =
        SamplingLimits { max_length: prepared.settings.model.n_positions, vocab_size: prepared.tokenizer.vocab_size() };
    let Trained { summary, training, tokenizer } = pretrain::train(context, prepared)?;
    pretrain::report(context, &summary)?;
    writeln!(context.out, "\n{}", sketch(&summary.curve, 72, 18))?;
    let prompt = tokenizer.encode(PROMPT)?;
    let sampling = Sampling { temperature: 0.7, seed: SEED, ..Sampling::default() };
    let ids = sample(&training, &prompt, limits, sampling)?;
    writeln!(context.out, "{PROMPT}{}", tokenizer.decode(&ids)?)?;
    Ok(())
}
