//! How often each word of a text occurs: all that a tokenizer's training needs of it.

use super::Pretokenizer;
use crate::data::pieces::{Block, PIECE, Piece, on_threads};
use crate::{Error, Result};
use std::collections::HashMap;
use tokenizers::{
    Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

/// The words of a text, as the pipeline's model would see them, counted block by block.
#[derive(Clone, Debug)]
pub struct WordCounts {
    pretokenizer: Pretokenizer,
    counts: HashMap<String, u64>,
}

impl WordCounts {
    /// No words yet.
    pub fn new(pretokenizer: Pretokenizer) -> Self {
        WordCounts { pretokenizer, counts: HashMap::new() }
    }

    /// How words are cut.
    pub fn pretokenizer(&self) -> Pretokenizer {
        self.pretokenizer
    }

    /// Counts a block's words, too.
    ///
    /// # Errors
    /// [`Error::Value`] when the crate refuses the text.
    pub fn add(&mut self, block: Block<'_>) -> Result<()> {
        let pretokenizer = self.pretokenizer;
        let counted = on_threads(&block.pieces(PIECE, true), |pieces| count(pieces, pretokenizer));
        for counts in counted {
            let counts = counts.map_err(|e| Error::input(format!("text could not be cut in words: {e}")))?;
            if self.counts.is_empty() {
                self.counts = counts;
            } else {
                counts.into_iter().for_each(|(word, count)| *self.counts.entry(word).or_default() += count);
            }
        }
        Ok(())
    }

    /// Words and counts, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(word, count)| (word.as_str(), *count))
    }
}

fn count(pieces: &[Piece<'_>], pretokenizer: Pretokenizer) -> tokenizers::Result<HashMap<String, u64>> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let normalizer: Option<NormalizerWrapper> = serde_json::from_value(pretokenizer.normalizer())?;
    let cut: PreTokenizerWrapper = serde_json::from_value(pretokenizer.pre_tokenizer())?;
    for piece in pieces {
        let mut string = PreTokenizedString::from(piece.text);
        if let Some(normalizer) = &normalizer {
            string.normalize(|s| normalizer.normalize(s))?;
        }
        cut.pre_tokenize(&mut string)?;
        for (word, _, _) in string.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_string(), 1)),
            }
        }
    }
    Ok(counts)
}
