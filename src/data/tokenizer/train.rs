//! Training a vocabulary: the alphabet, the words as symbols of it, and the merges of [`bpe`].

use super::bpe::{self, Vocabulary};
use super::json::{self, END_OF_WORD};
use super::words::WordCounts;
use super::{Pretokenizer, Tokenizer, UNKNOWN};
use crate::data::block::Block;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

impl Tokenizer {
    /// Trains a tokenizer of `vocab_size` ids on a text (fewer ids when the text has no more pairs to merge).
    ///
    /// # Errors
    /// [`Error::Value`] when `vocab_size` is too small for the alphabet: the 256 bytes, or [`UNKNOWN`] and two forms of
    /// every character of the text (inside a word, at its end).
    pub fn train(text: &str, vocab_size: usize, pretokenizer: Pretokenizer) -> Result<Self> {
        let mut words = WordCounts::new(pretokenizer);
        words.add(Block { text, document_ends: &[] })?;
        Self::train_on(&words, vocab_size)
    }

    /// [`Tokenizer::train`] on the words of a text that need not be in memory.
    ///
    /// # Errors
    /// As [`Tokenizer::train`].
    pub fn train_on(words: &WordCounts, vocab_size: usize) -> Result<Self> {
        let pretokenizer = words.pretokenizer();
        let alphabet = alphabet(words);
        let least = alphabet.len();
        if vocab_size < least {
            let why = match pretokenizer {
                Pretokenizer::Bytes => "the 256 bytes".to_string(),
                Pretokenizer::Bert | Pretokenizer::OpenAi => {
                    format!("{UNKNOWN} and two forms of each of the text's {} characters", least / 2)
                }
            };
            return Err(Error::value("vocab_size", vocab_size, format!("expected at least {least}, for {why}")));
        }
        let ids: HashMap<&str, u32> = alphabet.iter().map(String::as_str).zip(0..).collect();
        let words = words.iter().map(|(word, count)| (symbols(word, pretokenizer, &ids), count)).collect();
        from_vocabulary(&bpe::train(alphabet, words, vocab_size), pretokenizer)
    }
}

/// The first tokens of a vocabulary, in the order of their ids.
fn alphabet(words: &WordCounts) -> Vec<String> {
    match words.pretokenizer() {
        Pretokenizer::Bytes => {
            let sorted: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
            sorted.into_iter().map(String::from).collect()
        }
        Pretokenizer::Bert | Pretokenizer::OpenAi => {
            let sorted: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
            let inside = sorted.iter().map(|c| c.to_string());
            let last = sorted.iter().map(|c| format!("{c}{END_OF_WORD}"));
            std::iter::once(UNKNOWN.to_string()).chain(inside).chain(last).collect()
        }
    }
}

/// A word as ids of the alphabet.
fn symbols(word: &str, pretokenizer: Pretokenizer, ids: &HashMap<&str, u32>) -> Vec<u32> {
    let mut symbols = Vec::with_capacity(word.len());
    let mut letters = word.chars().peekable();
    while let Some(c) = letters.next() {
        let last = pretokenizer.marks_word_ends() && letters.peek().is_none();
        let text = if last { format!("{c}{END_OF_WORD}") } else { c.to_string() };
        symbols.extend(ids.get(text.as_str()));
    }
    symbols
}

fn from_vocabulary(vocabulary: &Vocabulary, pretokenizer: Pretokenizer) -> Result<Tokenizer> {
    let text = |id: u32| vocabulary.tokens[id as usize].as_str();
    let vocab: Map<String, Value> = vocabulary.tokens.iter().cloned().zip((0u32..).map(Value::from)).collect();
    let merges: Vec<[&str; 2]> = vocabulary.merges.iter().map(|&(a, b)| [text(a), text(b)]).collect();
    let document = json::document(Value::Object(vocab), json!(merges), pretokenizer);
    Tokenizer::from_value(document, Path::new("trained tokenizer"))
}
