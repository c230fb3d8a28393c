//! The options of `wgpt generate` that say how texts are sampled.

use super::arguments::{flag, invalid_option, missing_option};
use crate::Result;
use crate::data::tokenizer::stream::StopWords;
use crate::model::sampling::Sampling;
use clap::{Arg, ArgAction, ArgMatches};

/// The options.
pub(super) fn arguments() -> Vec<Arg> {
    let value = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let number = |name, value_name, default: &'static str| {
        value(name, value_name).default_value(default).allow_negative_numbers(true)
    };
    vec![
        number("tokens", "N", "200").help("Most tokens to generate"),
        number("temperature", "T", "0.8")
            .help("Divisor of the logits: below 1 favors likely tokens, above 1 unlikely ones"),
        number("top-k", "K", "0").help("Sample from the K most likely tokens only; 0: from all"),
        number("top-p", "P", "1").help("Of these, sample from the most likely tokens whose probabilities add up to P"),
        flag("greedy")
            .conflicts_with_all(["temperature", "top-k", "top-p"])
            .help("Always take the most likely token, and among equals the lowest id"),
        number("seed", "S", "1").help("Seed of the sampling"),
        number("samples", "N", "1").help("Number of texts; each is the same for any number"),
        value("stop", "TEXT")
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .help("End before this text, which is not printed; may be repeated"),
    ]
}

/// The options, checked.
pub(super) struct Options {
    /// Most tokens to generate.
    pub tokens: usize,
    /// Number of texts.
    pub samples: usize,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end a text.
    pub stop: StopWords,
}

impl Options {
    /// The options of a command with [`arguments`].
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a value out of its range.
    pub(super) fn new(matches: &ArgMatches) -> Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
        let wrong = |name: &str, must: &str| invalid_option(name, text(name), format!("must be {must}"));
        let whole = |name: &str, low: u64, high: u64| -> Result<u64> {
            let number = text(name).trim().parse::<u64>().ok().filter(|n| (low..=high).contains(n));
            number.ok_or_else(|| match high {
                u64::MAX => wrong(name, &format!("a whole number, {low} or more")),
                _ => wrong(name, &format!("a whole number from {low} to {high}")),
            })
        };
        let number = |name: &str, is_valid: fn(f64) -> bool, must: &str| -> Result<f64> {
            text(name).trim().parse::<f64>().ok().filter(|x| is_valid(*x)).ok_or_else(|| wrong(name, must))
        };
        let stop: Vec<String> = matches.get_many("stop").into_iter().flatten().cloned().collect();
        if stop.iter().any(String::is_empty) {
            return Err(missing_option("stop", "must be a text, but it is empty"));
        }
        let temperature = number(
            "temperature",
            |t| (1e-3..=1e3).contains(&t),
            "a number from 0.001 to 1000; --greedy takes the most likely token",
        )?;
        Ok(Options {
            tokens: whole("tokens", 0, 1 << 32)? as usize,
            samples: whole("samples", 1, 1 << 20)? as usize,
            sampling: Sampling {
                temperature: if matches.get_flag("greedy") { 0.0 } else { temperature },
                top_k: whole("top-k", 0, 1 << 32)? as usize,
                top_p: number("top-p", |p| p > 0.0 && p <= 1.0, "above 0 and at most 1")?,
                seed: whole("seed", 0, u64::MAX)?,
                sample_number: 0,
            },
            stop: StopWords::new(stop),
        })
    }
}
