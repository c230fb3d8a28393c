//! Text to token ids and back, by byte pair encoding (docs/spec.md section 2.2).
//!
//! A [`Tokenizer`] is a tokenizer.json of one of the three pipelines of [`Pretokenizer`]. Without the Cargo feature
//! `tokenizers` it can be read, checked and written, so that model folders stay whole. With the feature the tokenizers
//! crate encodes and decodes. Training is our own ([`bpe`]), so that tokenizer.json depends on text and settings alone.

pub mod bpe;
#[cfg(feature = "tokenizers")]
mod codec;
#[cfg(feature = "tokenizers")]
pub mod encoder;
mod file_names;
mod files;
mod json;
mod openai;
pub mod pretokenizer;
#[cfg(feature = "tokenizers")]
pub mod stream;
pub mod task;
#[cfg(all(test, feature = "tokenizers"))]
mod tests;
pub mod token_bytes;
#[cfg(feature = "tokenizers")]
mod train;
#[cfg(feature = "tokenizers")]
pub mod words;

use self::task::TaskTokens;
use super::read_file::read_text_bytes;
use super::unique_json;
use crate::config::Task;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub use self::file_names::GPT1_FILES;
pub use self::json::{FILE_NAME, UNKNOWN};
pub use self::pretokenizer::Pretokenizer;

/// A vocabulary, its merges and a pipeline that splits text into words: the contents of a tokenizer.json.
///
/// Cloning copies no vocabulary.
///
/// ```
/// # #[cfg(feature = "tokenizers")]
/// # fn main() -> wgpt::Result<()> {
/// use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
///
/// let tokenizer = Tokenizer::train("the cat sat on the mat, the cat", 260, Pretokenizer::Bytes)?;
/// let ids = tokenizer.encode("the cat 🐈")?;
/// assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
/// assert_eq!(tokenizer.decode(&ids)?, "the cat 🐈");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "tokenizers"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Tokenizer {
    summary: json::Summary,
    task_tokens: Option<TaskTokens>,
    #[cfg(feature = "tokenizers")]
    codec: codec::Codec,
    #[cfg(not(feature = "tokenizers"))]
    json: std::sync::Arc<str>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} ids)", self.pretokenizer(), self.vocab_size())
    }
}

impl Tokenizer {
    /// Reads a tokenizer from a tokenizer.json, from one of [`GPT1_FILES`], or from a folder that holds these.
    ///
    /// # Errors
    /// As [`Tokenizer::in_folder`]; [`Error::File`] for a folder without a tokenizer.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.is_dir() {
            if let (Some([vocabulary, merges]), Some(folder)) = (file_names::pair_of(path), path.parent()) {
                return Self::from_gpt1_files(&folder.join(vocabulary), &folder.join(merges));
            }
            return match file_names::other_tokenizer(path) {
                Some(what) if path.exists() => {
                    Err(Error::file(path, what).expected(format!("expected {FILE_NAME}, or a folder with one")))
                }
                _ => Self::from_file(path),
            };
        }
        match Self::in_folder(path)? {
            Some((_, tokenizer)) => Ok(tokenizer),
            None => Err(Self::missing_in(path)),
        }
    }

    /// Reads the tokenizer of a folder, from [`FILE_NAME`] or else from [`GPT1_FILES`]. Returns the path of the file with
    /// the vocabulary and the tokenizer, or `None` where the folder has no such file.
    ///
    /// # Errors
    /// [`Error::File`] as [`Tokenizer::from_json`] and [`Tokenizer::from_gpt1_files`], and for a vocabulary file without
    /// its merges file.
    pub fn in_folder(folder: &Path) -> Result<Option<(PathBuf, Self)>> {
        let file = folder.join(FILE_NAME);
        if file.exists() {
            let tokenizer = Self::from_file(&file)?;
            return Ok(Some((file, tokenizer)));
        }
        for [vocabulary, merges] in GPT1_FILES {
            let (path, merges) = (folder.join(vocabulary), folder.join(merges));
            if path.exists() {
                if !merges.exists() {
                    return Err(Error::file(merges, "missing").expected(format!("expected it beside {vocabulary}")));
                }
                let tokenizer = Self::from_gpt1_files(&path, &merges)?;
                return Ok(Some((path, tokenizer)));
            }
        }
        Ok(None)
    }

    fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_text_bytes(path)?, path)
    }

    /// Reads the bytes of a tokenizer.json; `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::File`] for what is not a BPE of one of the three pipelines, for ids that are beyond the vocabulary or given
    /// twice, and for merges with tokens that are not in the vocabulary.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::from_value(unique_json::parse(bytes, path, "not JSON")?, path)
    }

    fn from_value(value: Value, path: &Path) -> Result<Self> {
        let summary = json::check(&value, path)?;
        let task_tokens = task::find(&value);
        Ok(Tokenizer {
            summary,
            task_tokens,
            #[cfg(feature = "tokenizers")]
            codec: codec::Codec::new(value, task_tokens, summary.vocab_size, path)?,
            #[cfg(not(feature = "tokenizers"))]
            json: format!("{value:#}").into(),
        })
    }

    /// The same vocabulary and merges with another pretokenizer: GPT-1's has two, its own and Hugging Face's.
    ///
    /// # Errors
    /// [`Error::Value`] where one of the two is [`Pretokenizer::Bytes`], whose symbols are different.
    pub fn with_pretokenizer(&self, pretokenizer: Pretokenizer) -> Result<Self> {
        let own = self.pretokenizer();
        if own == pretokenizer {
            return Ok(self.clone());
        }
        if !(own.marks_word_ends() && pretokenizer.marks_word_ends()) {
            let expected = format!("expected \"{own}\", which the tokenizer's vocabulary was trained with");
            return Err(Error::value("pretokenizer", format!("\"{pretokenizer}\""), expected));
        }
        let mut value = self.to_value()?;
        value["normalizer"] = pretokenizer.normalizer();
        value["pre_tokenizer"] = pretokenizer.pre_tokenizer();
        Self::from_value(value, Path::new(FILE_NAME))
    }

    /// Adds the three tokens of fine-tuning for a model of `vocab_size` ids; their ids are the next three. Ids of the model
    /// that the tokenizer does not have get tokens that no text is encoded to. A tokenizer that has the three already is
    /// returned as it is.
    ///
    /// # Errors
    /// [`Error::Value`] for a tokenizer with more ids than the model, or with a token of such a name.
    pub fn with_task_tokens(&self, vocab_size: usize) -> Result<Self> {
        if self.task_tokens.is_some() {
            return Ok(self.clone());
        }
        let own = self.vocab_size();
        if own > vocab_size {
            return Err(Error::value("vocab_size", vocab_size, format!("expected the tokenizer's {own} ids or more")));
        }
        let mut value = self.to_value()?;
        for (id, token) in task::to_add(own, vocab_size) {
            if json::has_token(&value, &token) {
                let found = format!("a token {token:?}");
                return Err(Error::value("tokenizer", found, "expected none of this name before fine-tuning"));
            }
            task::add(&mut value, id, &token);
        }
        Self::from_value(value, Path::new(FILE_NAME))
    }

    /// The ids of the tokens of fine-tuning, if the tokenizer has them. No text is encoded to them.
    pub fn task_tokens(&self) -> Option<TaskTokens> {
        self.task_tokens
    }

    /// Whether a text may be encoded in chunks, split before white space, without changing any id. Some tokenizer.json
    /// files do not allow it.
    pub fn is_splittable(&self) -> bool {
        self.summary.splittable
    }

    /// V, the number of ids: they run from 0 to V-1.
    pub fn vocab_size(&self) -> usize {
        self.summary.vocab_size
    }

    /// The number of ids that stand for text that the tokenizer does not have tokens for.
    pub fn unknown_count(&self, ids: &[u32]) -> usize {
        self.summary.unknown.map_or(0, |unknown| ids.iter().filter(|id| **id == unknown).count())
    }

    /// A warning about ids that stand for text that the tokenizer does not have tokens for.
    pub fn unknown_warning(&self, ids: &[u32]) -> Option<String> {
        unknown_warning(self.unknown_count(ids), ids.len())
    }

    /// A warning about bytes that are lost: a byte-level vocabulary should have a token for each byte.
    pub fn warning(&self) -> Option<String> {
        let n = self.summary.missing_bytes;
        (n > 0).then(|| {
            format!(
                "the tokenizer has no token for {n} of the 256 bytes: characters that need them are lost from texts"
            )
        })
    }

    /// The pipeline that splits a text into words.
    pub fn pretokenizer(&self) -> Pretokenizer {
        self.summary.pretokenizer
    }

    /// The contents of tokenizer.json. The same tokenizer gives the same bytes.
    ///
    /// # Errors
    /// [`Error::File`] when the tokenizers crate cannot write it.
    #[cfg(feature = "tokenizers")]
    pub fn to_json(&self) -> Result<String> {
        self.codec.to_json()
    }

    /// The contents of tokenizer.json. The same tokenizer gives the same bytes.
    ///
    /// # Errors
    /// None without the feature `tokenizers`.
    #[cfg(not(feature = "tokenizers"))]
    pub fn to_json(&self) -> Result<String> {
        Ok(self.json.to_string())
    }

    fn to_value(&self) -> Result<Value> {
        serde_json::from_str(&self.to_json()?).map_err(|e| Error::file(FILE_NAME, e))
    }

    /// The contents of tokenizer_config.json, with which transformers' `AutoTokenizer` loads the folder. `n_positions` is
    /// that of the model, if there is one.
    pub fn tokenizer_config_json(&self, n_positions: impl Into<Option<usize>>) -> String {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            // Given `token_type_ids`, the model would add the embedding of token 0 to every token.
            "model_input_names": ["input_ids", "attention_mask"],
        });
        if let Some(n_positions) = n_positions.into() {
            config["model_max_length"] = json!(n_positions);
        }
        if self.pretokenizer().marks_word_ends() {
            config["unk_token"] = json!(UNKNOWN);
        }
        if self.task_tokens.is_some() {
            // It occurs only at the start of a sequence, so the model can tell where a padded text ends.
            config["pad_token"] = json!(Task::TOKENS[0]);
        }
        format!("{config:#}\n")
    }
}

/// A warning about `count` of `all` tokens that stand for text that the tokenizer does not have tokens for.
pub fn unknown_warning(count: usize, all: usize) -> Option<String> {
    let share = 100.0 * count as f64 / all.max(1) as f64;
    let share = if share < 0.01 { "less than 0.01".to_string() } else { format!("{share:.2}") };
    (count > 0).then(|| {
        format!(
            "{share} % of the tokens ({count} of {all}) are {UNKNOWN}, in place of text that the tokenizer has no tokens for: \
             the model does not see that text, and a loss does not cover it; a tokenizer that is trained with pretokenizer = \
             \"bytes\" encodes every text"
        )
    })
}

/// What the tokenizers crate does.
#[cfg(feature = "tokenizers")]
impl Tokenizer {
    /// The ids of a text. A long text is encoded in chunks on all CPU cores; the ids are those of the whole text.
    ///
    /// # Errors
    /// [`Error::Value`] when the tokenizers crate cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.codec.encode(text, self.is_splittable())
    }

    fn encode_chunk(&self, text: &str) -> Result<codec::EncodedChunk> {
        self.codec.encode_chunk(text)
    }

    /// The text of ids; special tokens are written out.
    ///
    /// # Errors
    /// [`Error::Value`] for an id beyond the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let vocab_size = self.vocab_size();
        match ids.iter().find(|id| **id as usize >= vocab_size) {
            Some(id) => Err(Error::value("id", id, format!("expected less than vocab_size = {vocab_size}"))),
            None => self.codec.decode(ids),
        }
    }

    /// The id of a token, given by its text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.codec.id(token)
    }
}

#[cfg(test)]
mod file_tests {
    use super::*;

    /// Also without the feature `tokenizers`: a tokenizer is read, checked, changed and written.
    #[test]
    fn a_tokenizer_is_read_and_written() {
        let vocab = json!({"<unk>": 0, "a": 1, "a</w>": 2, "aa</w>": 3});
        let document = json::document(vocab, json!([["a", "a</w>"]]), Pretokenizer::Bert);
        let path = Path::new("t.json");
        let tokenizer = Tokenizer::from_json(document.to_string().as_bytes(), path).expect("read");
        assert_eq!((tokenizer.vocab_size(), tokenizer.pretokenizer()), (4, Pretokenizer::Bert));
        let tuned = tokenizer.with_task_tokens(6).expect("task tokens");
        let openai = tuned.with_pretokenizer(Pretokenizer::OpenAi).expect("openai");
        let again = Tokenizer::from_json(openai.to_json().expect("json").as_bytes(), path).expect("read");
        assert_eq!((again.vocab_size(), again.pretokenizer()), (9, Pretokenizer::OpenAi));
        assert_eq!(again.task_tokens(), Some(TaskTokens { start: 6, delimiter: 7, extract: 8 }));
        assert_eq!(again.to_json().expect("json"), openai.to_json().expect("json"));
        let error = Tokenizer::from_json(b"{}", path).expect_err("no pipeline").to_string();
        assert_eq!(error, "t.json: pre_tokenizer: null: expected ByteLevel, BertPreTokenizer or a Sequence of Split");
    }
}
