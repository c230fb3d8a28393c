//! `wgpt demo`: trains the preset nano on generated stories, and prints the curve and a text that the model generates.

use super::context::Context;
use super::stop::Done;
use super::{pretrain, training};
use crate::data::synthetic::stories::stories;
use crate::report::curve_text;
use crate::train::sample::{Sampling, SamplingLimits, sample};
use crate::train::{Layers, Pretraining, Trained};
use clap::{Arg, ArgMatches, Command};

/// Seed and size of the text.
const SEED: u64 = 1;
const BYTES: usize = 1 << 20;
/// The default of `--steps`.
const STEPS: &str = "500";
const PROMPT: &str = "Once upon a time there was a";
const STORIES: &str = "stories.txt";

pub(super) fn command() -> Command {
    Command::new("demo")
        .about("Train a small model on generated stories for a few minutes, and print its loss curve and a sample")
        .arg(Arg::new("steps").long("steps").value_name("N").default_value(STEPS).help("Number of optimizer steps"))
        .arg(training::out("demo"))
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let out = training::new_folder(matches, "demo")?;
    let mut layers = Layers::new();
    layers.option("preset", "nano");
    layers.option("steps", matches.get_one::<String>("steps").map_or(STEPS, String::as_str));
    let mut settings = layers.settings()?;
    // The text is stored in the run's folder, so that config.toml starts the same run again.
    settings.data = vec![out.join(STORIES)];
    let text = stories(SEED, BYTES);
    let mut objective = Pretraining::from_text_reserved(settings, &text, out)?;
    objective.files.push((STORIES.into(), text.into_bytes()));
    let limits = SamplingLimits {
        max_length: objective.settings.model.n_positions,
        vocab_size: objective.tokenizer.vocab_size(),
    };
    let trained = pretrain::train(context, objective)?;
    pretrain::report(context, &trained)?;
    let Trained { curve, training, objective: Pretraining { tokenizer, .. }, .. } = trained;
    writeln!(context.out, "\n{}", curve_text(&curve, 72, 18))?;
    let prompt = tokenizer.encode(PROMPT)?;
    let sampling = Sampling { temperature: 0.7, seed: SEED, ..Sampling::default() };
    let ids = sample(&training, &prompt, limits, sampling)?;
    writeln!(context.out, "{PROMPT}{}", tokenizer.decode(&ids)?)?;
    Ok(())
}
