//! The words of a text and how often each occurs: all that training a tokenizer needs.

use super::pretokenizer::Pretokenizer;
use crate::data::block::Block;
use crate::data::chunk::{CHUNK_BYTES, Chunk};
use crate::data::parallel::map_shares;
use crate::{Error, Result};
use std::collections::HashMap;
use tokenizers::{
    Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

/// Counts of the words that a [`Pretokenizer`] splits a text into, block by block.
#[derive(Clone, Debug)]
pub struct WordCounts {
    pretokenizer: Pretokenizer,
    counts: HashMap<String, u64>,
}

impl WordCounts {
    /// No words.
    pub fn new(pretokenizer: Pretokenizer) -> Self {
        WordCounts { pretokenizer, counts: HashMap::new() }
    }

    /// The pipeline that splits the text.
    pub fn pretokenizer(&self) -> Pretokenizer {
        self.pretokenizer
    }

    /// Adds the words of a block.
    ///
    /// # Errors
    /// [`Error::Value`] when the tokenizers crate cannot split the text.
    pub fn add(&mut self, block: Block<'_>) -> Result<()> {
        let pretokenizer = self.pretokenizer;
        let counted = map_shares(&block.chunks(CHUNK_BYTES, true), |chunks| count(chunks, pretokenizer));
        for counts in counted {
            let size = || format!("{} bytes", block.text.len());
            let counts =
                counts.map_err(|e| Error::value("text", size(), format!("could not be split into words: {e}")))?;
            if self.counts.is_empty() {
                self.counts = counts;
            } else {
                counts.into_iter().for_each(|(word, count)| *self.counts.entry(word).or_default() += count);
            }
        }
        Ok(())
    }

    /// Words and their counts, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(word, count)| (word.as_str(), *count))
    }
}

fn count(chunks: &[Chunk<'_>], pretokenizer: Pretokenizer) -> tokenizers::Result<HashMap<String, u64>> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let normalizer: Option<NormalizerWrapper> = serde_json::from_value(pretokenizer.normalizer())?;
    let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pretokenizer.pre_tokenizer())?;
    for chunk in chunks {
        let mut string = PreTokenizedString::from(chunk.text);
        if let Some(normalizer) = &normalizer {
            string.normalize(|s| normalizer.normalize(s))?;
        }
        pre_tokenizer.pre_tokenize(&mut string)?;
        for (word, _, _) in string.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_string(), 1)),
            }
        }
    }
    Ok(counts)
}
