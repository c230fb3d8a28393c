//! Generating text: a prompt is encoded, continued and decoded as its tokens come.

use super::generate::Generator;
use super::sampling::{Sampling, SamplingLimits, sample_async};
use crate::Result;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::stream::TextStream;

impl Generator {
    /// Continues a prompt, in the first of the samples, to `max_length` tokens, prompt included. Returns prompt and
    /// continuation as one text. Waits.
    ///
    /// # Errors
    /// As [`sample_async`], and [`crate::Error::Value`] for a prompt that the tokenizer cannot encode.
    pub fn text(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        max_length: usize,
        sampling: Sampling,
    ) -> Result<String> {
        self.device().clone().block_on(self.text_async(tokenizer, prompt, max_length, sampling))
    }

    /// As [`Generator::text`], as a future that never blocks: see [`sample_async`].
    ///
    /// # Errors
    /// As [`Generator::text`].
    pub async fn text_async(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        max_length: usize,
        sampling: Sampling,
    ) -> Result<String> {
        let mut text = String::new();
        let each = |part: &str| {
            text.push_str(part);
            Ok(())
        };
        self.stream_text_async(tokenizer, prompt, max_length, sampling, each).await?;
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
        self.device().clone().block_on(self.stream_text_async(tokenizer, prompt, max_length, sampling, each))
    }

    /// As [`Generator::stream_text`], as a future that never blocks: see [`sample_async`].
    ///
    /// # Errors
    /// As [`Generator::stream_text`].
    pub async fn stream_text_async(
        &mut self,
        tokenizer: &Tokenizer,
        prompt: &str,
        max_length: usize,
        sampling: Sampling,
        each: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let prompt = tokenizer.encode(prompt)?;
        let limits = SamplingLimits { max_length, vocab_size: tokenizer.vocab_size() };
        let mut text = FirstSample::new(tokenizer, &prompt, each)?;
        sample_async(self, &prompt, limits, sampling, |number, id| text.push(number, id)).await?;
        text.finish()
    }
}

/// Gives the text of the first sample to `each`, token by token; other samples end at once.
struct FirstSample<'a, F> {
    text: TextStream<'a>,
    each: F,
}

impl<'a, F: FnMut(&str) -> Result<()>> FirstSample<'a, F> {
    fn new(tokenizer: &'a Tokenizer, prompt: &[u32], mut each: F) -> Result<Self> {
        let mut text = TextStream::new(tokenizer);
        each(&text.push(prompt)?)?;
        Ok(FirstSample { text, each })
    }

    /// Takes a sample's next token; returns whether the sample goes on.
    fn push(&mut self, number: usize, id: u32) -> Result<bool> {
        if number == 0 {
            (self.each)(&self.text.push(&[id])?)?;
        }
        Ok(number == 0)
    }

    fn finish(mut self) -> Result<()> {
        (self.each)(&self.text.finish()?)
    }
}
