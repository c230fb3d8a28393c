//! `wgpt generate`: what a model writes after a prompt, as it comes.

use super::context::Context;
use super::model_argument;
use super::output::note;
use super::stop::{Done, Stop};
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::{StopWords, TextStream};
use crate::model::Generator;
use crate::model::sampling::{Sampling, SamplingLimits, sample};
use crate::store::Model;
use crate::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

/// What stands between two samples: a line of its own.
const BETWEEN: &str = "\n---\n";

pub(super) fn command() -> Command {
    let value = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    let number = |name, value_name, default: &'static str| {
        value(name, value_name).default_value(default).allow_negative_numbers(true)
    };
    Command::new("generate")
        .about("Writes what follows a prompt, as it comes")
        .after_help(
            "stdout holds the prompt, as the tokenizer reads it, and its continuation; with several samples, a line --- \
             between two of them. A text that reaches the model's positions ends there, and stderr says so.",
        )
        .arg(model_argument::option())
        .arg(
            value("prompt", "TEXT")
                .allow_hyphen_values(true)
                .required_unless_present("prompt-file")
                .conflicts_with("prompt-file")
                .help("The beginning"),
        )
        .arg(value("prompt-file", "FILE|-").help("The beginning from a file as it is, or from stdin"))
        .arg(number("tokens", "N", "200").help("Tokens to write at most"))
        .arg(number("temperature", "T", "0.8").help("Below 1 the likely becomes likelier, above 1 less so"))
        .arg(number("top-k", "K", "0").help("Draw from the K most likely tokens only; 0 for all"))
        .arg(number("top-p", "P", "1").help("Of those, only the most likely that together reach the share P"))
        .arg(
            Arg::new("greedy")
                .long("greedy")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["temperature", "top-k", "top-p"])
                .help("Always the most likely token, of equals the lowest id"),
        )
        .arg(number("seed", "S", "1").help("Seed of the draws"))
        .arg(number("samples", "N", "1").help("Texts from one prompt; each is the same however many there are"))
        .arg(
            value("stop", "TEXT")
                .action(ArgAction::Append)
                .allow_hyphen_values(true)
                .help("End before this text, which is not printed; may be given several times"),
        )
}

/// What the options say, checked.
struct Options {
    tokens: usize,
    samples: usize,
    sampling: Sampling,
    stop: StopWords,
}

impl Options {
    fn new(matches: &ArgMatches) -> Result<Self> {
        let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
        let wrong = |name: &str, must: &str| Error::input(format!("--{name} {}: must be {must}", text(name)));
        let whole = |name: &str, from: u64, to: u64| -> Result<u64> {
            let number = text(name).trim().parse::<u64>().ok().filter(|n| (from..=to).contains(n));
            number.ok_or_else(|| match to {
                u64::MAX => wrong(name, &format!("a whole number, {from} or more")),
                _ => wrong(name, &format!("a whole number from {from} to {to}")),
            })
        };
        let real = |name: &str, right: fn(f64) -> bool, must: &str| -> Result<f64> {
            text(name).trim().parse::<f64>().ok().filter(|x| right(*x)).ok_or_else(|| wrong(name, must))
        };
        let temperature = real(
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
                top_p: real("top-p", |p| p > 0.0 && p <= 1.0, "above 0 and at most 1")?,
                seed: whole("seed", 0, u64::MAX)?,
                sample_number: 0,
            },
            stop: StopWords::new(matches.get_many::<String>("stop").into_iter().flatten().cloned()),
        })
    }
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let options = Options::new(matches)?;
    let prompt = prompt(matches)?;
    let model = model_argument::load(matches)?;
    let tokenizer = model.tokenizer()?.clone();
    let Model { config, parameters, .. } = model;
    let prompt = tokenizer.encode(&prompt)?;
    let positions = config.n_positions;
    if prompt.is_empty() {
        let what = "must hold one token at least, such as a newline or the first word";
        return Err(Error::input(format!("the prompt is empty: {what}")).into());
    }
    if prompt.len() > positions {
        let has = prompt.len();
        return Err(Error::input(format!("the prompt has {has} tokens: the model has {positions} positions")).into());
    }

    let device = context.open()?;
    let most = options.samples.min(Generator::max_samples(&device, &config));
    let mut generator = Generator::new(&device, &config, &parameters, most)?;
    drop(parameters);
    let mut printer = Printer { context, tokenizer: &tokenizer, options: &options, texts: Vec::new(), tokens: 0 };
    let start = Instant::now();
    let mut full = false;
    for first in (0..options.samples).step_by(most) {
        full |= printer.samples(&mut generator, &prompt, first, most.min(options.samples - first))?;
    }
    let (tokens, seconds) = (printer.tokens, start.elapsed().as_secs_f64());
    if std::io::stdout().is_terminal() {
        writeln!(context.out)?;
    }
    context.out.flush()?;
    if full {
        note(format_args!("the text ends at {positions} tokens, the model's positions"));
    }
    note(format_args!("{tokens} tokens in {seconds:.2} s, {:.1} a second", tokens as f64 / seconds.max(1e-9)));
    Ok(())
}

fn prompt(matches: &ArgMatches) -> Result<String> {
    if let Some(prompt) = matches.get_one::<String>("prompt") {
        return Ok(prompt.clone());
    }
    let name = matches.get_one::<String>("prompt-file").map_or("-", String::as_str);
    let mut bytes = Vec::new();
    let read = match name {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes).map(drop),
        file => std::fs::read(Path::new(file)).map(|all| bytes = all),
    };
    let name = if name == "-" { "stdin" } else { name };
    read.map_err(|e| Error::file(name, format!("could not be read: {e}")))?;
    String::from_utf8(bytes).map_err(|e| {
        let place = format!("byte offset {}", e.utf8_error().valid_up_to());
        Error::file(name, "not UTF-8").at(place).expected("expected UTF-8 text")
    })
}

/// A sample on its way: the first is printed as it comes, the others when their turn has come.
struct Text<'a> {
    stream: TextStream<'a>,
    stop: StopWords,
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
    /// Prints `count` samples from number `first` on. Says whether one of them reached the model's positions.
    fn samples(&mut self, generator: &mut Generator, prompt: &[u32], first: usize, count: usize) -> Result<bool, Stop> {
        let options = self.options;
        self.texts.clear();
        for _ in 0..count {
            let mut stream = TextStream::new(self.tokenizer);
            let ready = stream.push(prompt)?;
            self.texts.push(Text { stream, stop: options.stop.clone(), ready, tokens: 0 });
        }
        if first > 0 {
            write!(self.context.out, "{BETWEEN}")?;
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
                // This error only ends the pass: the true one is beside it.
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
            let between = if i > 0 { BETWEEN } else { "" };
            write!(self.context.out, "{between}{}{last}{}", text.ready, stop.finish())?;
        }
        self.context.out.flush()?;
        Ok(full)
    }

    /// Prints what is ready of sample `i`.
    fn print(&mut self, i: usize) -> std::io::Result<()> {
        write!(self.context.out, "{}", std::mem::take(&mut self.texts[i].ready))?;
        self.context.out.flush()
    }

    /// Takes a token of sample `i`; says whether the text goes on.
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
