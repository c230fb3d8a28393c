//! `wgpt generate`: continues a prompt with a model, and prints the text while it is generated.

use super::arguments::flag;
use super::context::Context;
use super::interactive;
use super::model_argument;
use super::output::note;
use super::sampling_options::{self, Options};
use super::stop::{Done, Stop};
use crate::data::file_errors::unreadable;
use crate::data::file_kind::other_kind;
use crate::data::read_file::{utf8, without_byte_order_mark};
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::{StopWords, TextStream};
use crate::model::Generator;
use crate::model::sampling::{Sampling, SamplingLimits, sample};
use crate::store::Model;
use crate::{Error, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::Instant;

/// The line between two samples.
const SEPARATOR: &str = "\n---\n";

pub(super) fn command() -> Command {
    let value = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("generate")
        .about("Continue a prompt with a model")
        .after_help(
            "Prints the prompt, as the tokenizer decodes it, and its continuation. A line `---` separates several samples.\n\
             A text ends when it has as many tokens as the model has positions; a line on stderr reports this. With --interactive,\n\
             the model sees the latest tokens that fit, and stdout has the continuations alone.",
        )
        .arg(model_argument::option())
        .arg(
            value("prompt", "TEXT")
                .allow_hyphen_values(true)
                .required_unless_present_any(["prompt-file", "interactive"])
                .conflicts_with("prompt-file")
                .help("Text to continue"),
        )
        .arg(value("prompt-file", "FILE|-").help("Read the prompt from a file; -: from stdin"))
        .arg(
            flag("interactive")
                .short('i')
                .conflicts_with_all(["prompt-file", "samples"])
                .help("Continue each line that is typed, after all of the text so far; Ctrl-C stops a text, Ctrl-D ends"),
        )
        .args(sampling_options::arguments())
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let options = Options::new(matches)?;
    let is_given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    if let Some(name) = ["seed", "samples"].iter().find(|name| matches.get_flag("greedy") && is_given(name)) {
        note(format_args!("warning: --{name} has no effect with --greedy: the text is always the same"));
    }
    if matches.get_flag("interactive") {
        let prompt = matches.get_one::<String>("prompt").map(String::as_str);
        return interactive::run(context, &model_argument::load(matches)?, prompt, &options);
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

    let (k, ids) = (options.sampling.top_k, tokenizer.vocab_size());
    if k > ids {
        note(format_args!("warning: --top-k {k} has no effect: the model has {ids} tokens"));
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
        file => std::fs::read(Path::new(file)).map(|all| bytes = all),
    };
    let path = Path::new(if name == "-" { "stdin" } else { name });
    read.map_err(|e| unreadable(path, e))?;
    if let Some(kind) = other_kind(&bytes).filter(|kind| name != "-" && !kind.may_be_text) {
        return Err(kind.in_text(path));
    }
    utf8(path, if name == "-" { bytes } else { without_byte_order_mark(bytes) })
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
                Error::Ended("the sampling".into())
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
