//! `wgpt generate --interactive`: each line that is typed is added to the text so far, which the model continues.

use super::context::Context;
use super::interrupt;
use super::output::note;
use super::sampling_options::Options;
use super::stop::{Done, Stop};
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::{StopWords, TextStream};
use crate::model::Generator;
use crate::model::sampling::{Sampling, SamplingLimits, sample};
use crate::store::Model;
use crate::{Error, Result};
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shown where a line is expected.
const PROMPT: &str = "> ";

/// Continues `prompt`, if there is one, and then each line of stdin, until it ends.
///
/// # Errors
/// Those of opening the adapter, of generating, and of a line that is not UTF-8.
pub(super) fn run(context: &mut Context<'_>, model: &Model, prompt: Option<&str>, options: &Options) -> Done {
    let tokenizer = model.tokenizer()?;
    let device = context.open()?;
    let generator = Generator::new(&device, &model.config, &model.parameters, 1)?;
    // While a line is read the flag is true, so that Ctrl-C ends the program. While a text is generated it is false, so that the
    // first Ctrl-C stops the text alone.
    let stop = interrupt::flag_of_ctrl_c()?;
    stop.store(true, Ordering::SeqCst);
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        note("each line is continued after the text so far; Ctrl-C stops a text, Ctrl-D ends");
    }
    let mut session = Session { context, generator, tokenizer, options, stop, ids: Vec::new(), calls: 0, told: false };
    if let Some(prompt) = prompt {
        session.turn(prompt)?;
    }
    let mut input = std::io::stdin().lock();
    for number in 1.. {
        if terminal {
            let _ = write!(std::io::stderr(), "{PROMPT}");
        }
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line).map_err(|e| Error::unreadable("stdin", &e))?;
        if read == 0 {
            break;
        }
        let line = String::from_utf8(line).map_err(|_| {
            Error::file("stdin", "not UTF-8").at(format!("line {number}")).expected("expected UTF-8 text")
        })?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        session.turn(line.strip_suffix('\r').unwrap_or(line))?;
    }
    if terminal {
        note("");
    }
    Ok(())
}

struct Session<'a, 'b> {
    context: &'a mut Context<'b>,
    generator: Generator,
    tokenizer: &'a Tokenizer,
    options: &'a Options,
    stop: Arc<AtomicBool>,
    /// The text so far, as far as the model may still see it.
    ids: Vec<u32>,
    /// Calls of the sampler, each with random numbers of its own.
    calls: u32,
    /// Whether the user was told that the model no longer sees the beginning.
    told: bool,
}

impl Session<'_, '_> {
    /// Adds a line to the text, on a line of its own, and prints what follows. An empty line adds nothing.
    fn turn(&mut self, line: &str) -> Done {
        if !line.is_empty() {
            let text = if self.ids.is_empty() { line.to_string() } else { format!("\n{line}") };
            let new = self.tokenizer.encode(&text)?;
            if let Some(warning) = self.tokenizer.unknown_warning(&new) {
                note(format_args!("warning: the line: {warning}"));
            }
            self.ids.extend(new);
        }
        if self.ids.is_empty() {
            return Ok(());
        }
        self.stop.store(false, Ordering::SeqCst);
        let done = self.continue_text();
        self.stop.store(true, Ordering::SeqCst);
        done?;
        // On a line of its own, whatever the model ended with.
        writeln!(self.context.out)?;
        Ok(self.context.out.flush()?)
    }

    /// Prints the continuation of the text and adds it.
    fn continue_text(&mut self) -> Done {
        let Session { context, tokenizer, options, stop, .. } = self;
        let mut answer = Answer {
            out: &mut *context.out,
            stream: TextStream::new(tokenizer),
            words: options.stop.clone(),
            stop: stop.clone(),
            printed: String::new(),
            ids: Vec::new(),
            failed: None,
        };
        while answer.is_open() && answer.ids.len() < options.tokens {
            let text = self.ids.iter().chain(&answer.ids).copied().collect::<Vec<u32>>();
            let (before, missing) = (answer.ids.len(), options.tokens - answer.ids.len());
            let visible = latest(&text, missing, self.generator.config().n_positions);
            if visible.len() < text.len() && !std::mem::replace(&mut self.told, true) {
                note(format_args!("the model sees the latest {} tokens of the text from here on", visible.len()));
            }
            let limits = SamplingLimits {
                max_length: visible.len().saturating_add(missing),
                vocab_size: self.tokenizer.vocab_size(),
            };
            let sampling = Sampling { sample_number: self.calls, ..options.sampling };
            self.calls += 1;
            let done = sample(&mut self.generator, visible, limits, sampling, &mut |_, id| answer.push(id));
            match answer.failed.take() {
                Some(failed) => return Err(failed),
                None => done?,
            }
            if answer.ids.len() == before {
                break; // a model of one position, which nothing can follow
            }
        }
        let Answer { out, stream, mut words, mut printed, mut ids, .. } = answer;
        let ended = words.ended();
        let rest = words.push(&stream.finish()?) + &words.finish();
        write!(out, "{rest}")?;
        printed += &rest;
        if ended {
            // The stop text, which is not shown, is no part of the text.
            ids = self.tokenizer.encode(&printed)?;
        }
        self.ids.extend(ids);
        let kept = self.ids.len().saturating_sub(self.generator.config().n_positions);
        self.ids.drain(..kept);
        Ok(())
    }
}

/// The latest tokens of a text that leave P positions free for `missing` more, or else at least half of the positions.
fn latest(text: &[u32], missing: usize, positions: usize) -> &[u32] {
    let most = positions.saturating_sub(missing).max(positions / 2).max(1);
    &text[text.len().saturating_sub(most)..]
}

/// The continuation of one turn.
struct Answer<'a> {
    out: &'a mut dyn Write,
    stream: TextStream<'a>,
    words: StopWords,
    stop: Arc<AtomicBool>,
    printed: String,
    ids: Vec<u32>,
    failed: Option<Stop>,
}

impl Answer<'_> {
    fn is_open(&self) -> bool {
        !self.words.ended() && !self.stop.load(Ordering::SeqCst)
    }

    /// Prints a token. Returns whether more may follow.
    fn push(&mut self, id: u32) -> Result<bool> {
        self.ids.push(id);
        let text = self.words.push(&self.stream.push(&[id])?);
        self.printed += &text;
        if let Err(error) = write!(self.out, "{text}").and_then(|()| self.out.flush()) {
            self.failed = Some(error.into());
            // This error only ends the sampling; the real one is in `failed`.
            return Err(Error::Ended("the sampling".into()));
        }
        Ok(self.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_tokens_are_seen() {
        let text: Vec<u32> = (0..20).collect();
        assert_eq!(latest(&text[..5], 3, 16), &text[..5]);
        assert_eq!(latest(&text, 4, 16), &text[8..]);
        assert_eq!(latest(&text, 200, 16), &text[12..]);
        assert_eq!((latest(&text, 1, 1), latest(&text, 9, 3)), (&text[19..], &text[19..]));
    }
}
