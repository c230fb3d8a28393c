//! `wgpt generate`: continues a prompt with a model, and prints the text while it is generated.

use super::arguments::{flag, invalid_option};
use super::context::Context;
use super::model_argument;
use super::output::note;
use super::stop::{Done, Stop};
use crate::data::read_file::without_byte_order_mark;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::{StopWords, TextStream};
use crate::model::Generator;
use crate::model::sampling::{Sampling, SamplingLimits, sample};
use crate::store::Model;
use crate::{Error, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

/// The line between two samples.
const SEPARATOR: &str = "\n---\n";

pub(super) fn command() -> Command {
    let value = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let number = |name, value_name, default: &'static str| {
        value(name, value_name).default_value(default).allow_negative_numbers(true)
    };
    Command::new("generate")
        .about("Continue a prompt with a model")
        .after_help(
            "Prints the prompt, as the tokenizer decodes it, and its continuation. A line `---` separates several samples.\n\
             A text ends when it has as many tokens as the model has positions; a line on stderr reports this.",
        )
        .arg(model_argument::option())
        .arg(
            value("prompt", "TEXT")
                .allow_hyphen_values(true)
                .required_unless_present("prompt-file")
                .conflicts_with("prompt-file")
                .help("Text to continue"),
        )
        .arg(value("prompt-file", "FILE|-").help("Read the prompt from a file; -: from stdin"))
        .arg(number("tokens", "N", "200").help("Most tokens to generate"))
        .arg(number("temperature", "T", "0.8").help("Divisor of the logits: below 1 favors likely tokens, above 1 unlikely ones"))
        .arg(number("top-k", "K", "0").help("Sample from the K most likely tokens only; 0: from all"))
        .arg(number("top-p", "P", "1").help("Of these, sample from the most likely tokens whose probabilities add up to P"))
        .arg(
            flag("greedy")
                .conflicts_with_all(["temperature", "top-k", "top-p"])
                .help("Always take the most likely token, and among equals the lowest id"),
        )
        .arg(number("seed", "S", "1").help("Seed of the sampling"))
        .arg(number("samples", "N", "1").help("Number of texts; each is the same for any number"))
        .arg(
            value("stop", "TEXT")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help("End before this text, which is not printed; may be repeated"),
        )
}

/// The options, checked.
struct Options {
    tokens: usize,
    samples: usize,
    sampling: Sampling,
    stop: StopWords,
}

impl Options {
    fn new(matches: &ArgMatches) -> Result<Self> {
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
            stop: StopWords::new(matches.get_many::<String>("stop").into_iter().flatten().cloned()),
        })
    }
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let options = Options::new(matches)?;
    let is_given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if let Some(name) = ["seed", "samples"].iter().find(|name| matches.get_flag("greedy") && is_given(name)) {
        note(format_args!("warning: --{name} has no effect with --greedy: the text is always the same"));
    }
    let prompt = prompt(matches)?;
    let model = model_argument::load(matches)?;
    let tokenizer = model.tokenizer()?.clone();
    let Model { config, parameters, .. } = model;
    let prompt = tokenizer.encode(&prompt)?;
    if let Some(warning) = tokenizer.unknown_warning(&prompt) {
        note(format_args!("warning: the prompt: {warning}"));
    }
    let positions = config.n_positions;
    if prompt.is_empty() || prompt.len() > positions {
        let found = format!("{} tokens", prompt.len());
        return Err(Error::value("prompt", found, format!("must have 1 to {positions}, the model's positions")).into());
    }

    let device = context.open()?;
    let side_by_side = options.samples.min(Generator::max_samples(&device, &config));
    let mut generator = Generator::new(&device, &config, &parameters, side_by_side)?;
    drop(parameters);
    let mut printer = Printer { context, tokenizer: &tokenizer, options: &options, texts: Vec::new(), tokens: 0 };
    let start = Instant::now();
    let mut full = false;
    for first in (0..options.samples).step_by(side_by_side) {
        full |= printer.samples(&mut generator, &prompt, first, side_by_side.min(options.samples - first))?;
    }
    let (tokens, seconds) = (printer.tokens, start.elapsed().as_secs_f64());
    if std::io::stdout().is_terminal() {
        writeln!(context.out)?;
    }
    context.out.flush()?;
    if full {
        note(format_args!("the text ends at {positions} tokens, the model's positions"));
    }
    note(format_args!("{tokens} tokens in {seconds:.2} s, {:.1} per second", tokens as f64 / seconds.max(1e-9)));
    Ok(())
}

/// The prompt of `--prompt` or `--prompt-file`.
fn prompt(matches: &ArgMatches) -> Result<String> {
    if let Some(prompt) = matches.get_one::<String>("prompt") {
        return Ok(prompt.clone());
    }
    let name = matches.get_one::<String>("prompt-file").map_or("-", String::as_str);
    let mut bytes = Vec::new();
    let read = match name {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        file => std::fs::read(Path::new(file)).map(|all| bytes = without_byte_order_mark(all)),
    };
    let name = if name == "-" { "stdin" } else { name };
    read.map_err(|e| Error::file(name, format!("could not be read: {e}")))?;
    String::from_utf8(bytes).map_err(|e| {
        let place = format!("byte offset {}", e.utf8_error().valid_up_to());
        Error::file(name, "not UTF-8").at(place).expected("expected UTF-8 text")
    })
}

/// A sample that is generated. The first is printed while it is generated, the others when all are complete.
struct Text<'a> {
    stream: TextStream<'a>,
    stop: StopWords,
    /// Text that can be printed.
    ready: String,
    tokens: usize,
}

struct Printer<'a, 'b> {
    context: &'a mut Context<'b>,
    tokenizer: &'a Tokenizer,
    options: &'a Options,
    texts: Vec<Text<'a>>,
    tokens: usize,
}

impl Printer<'_, '_> {
    /// Generates and prints `count` samples, the first with number `first`. Returns whether one of them ended because of the
    /// model's positions.
    fn samples(&mut self, generator: &mut Generator, prompt: &[u32], first: usize, count: usize) -> Result<bool, Stop> {
        let options = self.options;
        self.texts.clear();
        for _ in 0..count {
            let mut stream = TextStream::new(self.tokenizer);
            let ready = stream.push(prompt)?;
            self.texts.push(Text { stream, stop: options.stop.clone(), ready, tokens: 0 });
        }
        if first > 0 {
            write!(self.context.out, "{SEPARATOR}")?;
        }
        self.print(0)?;
        let positions = generator.config().n_positions;
        let limits = SamplingLimits {
            max_length: positions.min(prompt.len().saturating_add(options.tokens)),
            vocab_size: self.tokenizer.vocab_size(),
        };
        let sampling = Sampling { sample_number: first as u32, ..options.sampling };
        let mut stopped = None;
        let done = sample(generator, prompt, limits, sampling, &mut |i, id| {
            if i >= count {
                return Ok(false);
            }
            self.token(i, id).map_err(|stop| {
                stopped = Some(stop);
                // This error only ends the sampling; the real one is in `stopped`.
                Error::device("stopped")
            })
        });
        match stopped {
            Some(stop) => return Err(stop),
            None => done?,
        }
        let mut full = false;
        for (i, text) in std::mem::take(&mut self.texts).into_iter().enumerate() {
            full |= !text.stop.ended() && text.tokens < options.tokens;
            let mut stop = text.stop;
            let last = stop.push(&text.stream.finish()?);
            let separator = if i > 0 { SEPARATOR } else { "" };
            write!(self.context.out, "{separator}{}{last}{}", text.ready, stop.finish())?;
        }
        self.context.out.flush()?;
        Ok(full)
    }

    /// Prints the text of sample `i` that is ready.
    fn print(&mut self, i: usize) -> std::io::Result<()> {
        write!(self.context.out, "{}", std::mem::take(&mut self.texts[i].ready))?;
        self.context.out.flush()
    }

    /// Adds a token to sample `i`. Returns whether the text continues.
    fn token(&mut self, i: usize, id: u32) -> Result<bool, Stop> {
        let text = &mut self.texts[i];
        let new = text.stream.push(&[id])?;
        let new = text.stop.push(&new);
        text.ready.push_str(&new);
        text.tokens += 1;
        self.tokens += 1;
        let open = !text.stop.ended();
        if i == 0 && !text.ready.is_empty() {
            self.print(0)?;
        }
        Ok(open)
    }
}
