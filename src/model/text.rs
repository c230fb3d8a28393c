//! Generating text: a prompt is encoded, continued and decoded as its tokens come.

use super::generate::Generator;
use super::sampling::{Sampling, SamplingLimits, sample};
use crate::Result;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::TextStream;

impl Generator {
    /// Continues a prompt, in the first of the samples, to `max_length` tokens, prompt included. Returns prompt and
    /// continuation as one text.
    ///
    /// # Errors
    /// As [`sample`], and [`crate::Error::Value`] for a prompt that the tokenizer cannot encode.
    pub fn text(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        max_length: usize,
        sampling: Sampling,
    ) -> Result<String> {
        let mut text = String::new();
        self.stream_text(tokenizer, prompt, max_length, sampling, &mut |part| {
            text.push_str(part);
            Ok(())
        })?;
        Ok(text)
    }

    /// As [`Generator::text`], giving the text to `each` in parts as soon as they are known.
    ///
    /// # Errors
    /// As [`Generator::text`], and errors of `each`.
    pub fn stream_text(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        max_length: usize,
        sampling: Sampling,
        each: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let prompt = tokenizer.encode(prompt)?;
        let limits = SamplingLimits { max_length, vocab_size: tokenizer.vocab_size() };
        let mut text = TextStream::new(tokenizer);
        each(&text.push(&prompt)?)?;
        sample(self, &prompt, limits, sampling, &mut |number, id| {
            if number == 0 {
                each(&text.push(&[id])?)?;
            }
            Ok(number == 0)
        })?;
        each(&text.finish()?)
    }
}
