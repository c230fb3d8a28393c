//! Text to ids and back, by byte pair encoding in one of three pipelines.
//!
//! `bytes` is ByteLevel: reversible, no unknown token. `bert` is GPT-1's in Hugging Face (OpenAIGPTTokenizer): text is
//! lower-cased, words end in `</w>`, `<unk>` is id 0. `openai` is the same but for how words are cut (`openai_words`),
//! which is GPT-1's own. The tokenizers crate runs them; training is [`bpe::train`], so
//! that tokenizer.json is a pure function of text and settings, and what a file claims is checked before the crate
//! sees it, which panics on merges whose parts are not in the vocabulary.

pub mod bpe;
pub mod encoder;
mod json;
mod openai;
pub mod stream;
pub mod task;
pub mod words;

use self::json::check;
use self::openai as openai_words;
use self::task::{self as task_tokens, TaskTokens};
use self::words::WordCounts;
use super::pieces::{Block, PIECE, on_threads};
use crate::config::Task;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// The file of a tokenizer.
pub const FILE: &str = "tokenizer.json";

/// A vocabulary and its merges, which GPT-1's tokenizer has in place of [`FILE`]: under Hugging Face's names, and as GPT-1
/// was published with them.
pub const PAIRS: [[&str; 2]; 2] = [["vocab.json", "merges.txt"], ["encoder_bpe_40000.json", "vocab_40000.bpe"]];

/// What stands for a character that a `bert` vocabulary does not have; its id is 0.
pub const UNKNOWN: &str = "<unk>";

/// What a `bert` vocabulary adds to the last symbol of a word.
const END_OF_WORD: &str = "</w>";

/// How text is cut in words before merges are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pretokenizer {
    /// ByteLevel, GPT-2's: every text comes back as it was.
    Bytes,
    /// BertNormalizer and BertPreTokenizer, GPT-1's in Hugging Face: lower case, spaces are not kept.
    Bert,
    /// GPT-1's own cut, as far as small rules reach: "don't" is "do" and "n't", "Mrs." one word, a line's end another.
    OpenAi,
}

impl Pretokenizer {
    /// Every pipeline.
    pub const ALL: [Pretokenizer; 3] = [Pretokenizer::Bytes, Pretokenizer::Bert, Pretokenizer::OpenAi];

    /// Whether the last symbol of a word says that it is the last, and what no symbol stands for is `<unk>`.
    pub fn ends_words(self) -> bool {
        self != Pretokenizer::Bytes
    }

    /// What it does to a text before it is cut.
    pub(super) fn normalizer(self) -> Value {
        match self {
            Pretokenizer::Bytes => Value::Null,
            Pretokenizer::Bert => json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true}),
            Pretokenizer::OpenAi => openai_words::normalizer(),
        }
    }

    /// How it cuts.
    pub(super) fn pre_tokenizer(self) -> Value {
        match self {
            Pretokenizer::Bytes => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
            }
            Pretokenizer::Bert => json!({"type": "BertPreTokenizer"}),
            Pretokenizer::OpenAi => openai_words::pre_tokenizer(),
        }
    }
}

impl std::fmt::Display for Pretokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pretokenizer::Bytes => "bytes",
            Pretokenizer::Bert => "bert",
            Pretokenizer::OpenAi => "openai",
        })
    }
}

impl std::str::FromStr for Pretokenizer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Pretokenizer::ALL.into_iter().find(|p| p.to_string() == name);
        found.ok_or_else(|| Error::input(format!("pretokenizer = {name:?}: must be \"bytes\", \"bert\" or \"openai\"")))
    }
}

/// Text to ids and back.
#[derive(Clone)]
pub struct Tokenizer {
    /// With every token.
    inner: Arc<tokenizers::Tokenizer>,
    /// Without a task's, whose names in a text are words like others: what encodes. Elsewhere it is `inner`.
    text: Arc<tokenizers::Tokenizer>,
    task_tokens: Option<TaskTokens>,
    pretokenizer: Pretokenizer,
    vocab_size: usize,
    /// Whether a text may be cut before white space without changing any id.
    cuttable: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} ids)", self.pretokenizer, self.vocab_size)
    }
}

impl Tokenizer {
    /// Trains a vocabulary of `vocab_size` ids (fewer when the text has no more pairs to merge).
    ///
    /// # Errors
    /// [`Error::Value`] when `vocab_size` is too small for the alphabet: 256 bytes, or `<unk>` and both forms (inside a
    /// word, at its end) of every character of the text.
    pub fn train(text: &str, vocab_size: usize, pretokenizer: Pretokenizer) -> Result<Self> {
        let mut words = WordCounts::new(pretokenizer);
        words.add(Block { text, ends: &[] })?;
        Self::train_on(&words, vocab_size)
    }

    /// As [`Tokenizer::train`], of the words of a text that need not be in memory.
    ///
    /// # Errors
    /// As [`Tokenizer::train`].
    pub fn train_on(words: &WordCounts, vocab_size: usize) -> Result<Self> {
        let pretokenizer = words.pretokenizer();
        let alphabet = match pretokenizer {
            Pretokenizer::Bytes => {
                let sorted: BTreeSet<char> = ByteLevel::alphabet().into_iter().collect();
                sorted.into_iter().map(String::from).collect::<Vec<_>>()
            }
            Pretokenizer::Bert | Pretokenizer::OpenAi => {
                let sorted: BTreeSet<char> = words.iter().flat_map(|(word, _)| word.chars()).collect();
                let inside = sorted.iter().map(|c| c.to_string());
                let last = sorted.iter().map(|c| format!("{c}{END_OF_WORD}"));
                std::iter::once(UNKNOWN.to_string()).chain(inside).chain(last).collect()
            }
        };
        if vocab_size < alphabet.len() {
            let why = match pretokenizer {
                Pretokenizer::Bytes => "a bytes vocabulary begins with the 256 bytes".to_string(),
                Pretokenizer::Bert | Pretokenizer::OpenAi => format!(
                    "a {pretokenizer} vocabulary begins with {UNKNOWN} and two forms of each of the text's {} characters",
                    alphabet.len() / 2
                ),
            };
            return Err(Error::input(format!("vocab_size = {vocab_size}: {why}, so at least {}", alphabet.len())));
        }
        let ids: HashMap<&str, u32> = alphabet.iter().map(String::as_str).zip(0..).collect();
        let symbols = |word: &str| -> Vec<u32> {
            let mut symbols = Vec::with_capacity(word.len());
            let mut letters = word.chars().peekable();
            while let Some(c) = letters.next() {
                let last = pretokenizer.ends_words() && letters.peek().is_none();
                let text = if last { format!("{c}{END_OF_WORD}") } else { c.to_string() };
                symbols.extend(ids.get(text.as_str()));
            }
            symbols
        };
        let words: Vec<(Vec<u32>, u64)> = words.iter().map(|(word, count)| (symbols(word), count)).collect();
        Self::from_vocabulary(&bpe::train(alphabet, words, vocab_size), pretokenizer)
    }

    /// Reads a tokenizer: the path is a tokenizer.json's, or that of a folder with one or with one of [`PAIRS`].
    ///
    /// # Errors
    /// As [`Tokenizer::in_folder`]; [`Error::Value`] for a folder without any.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Self::from_file(path);
        }
        match Self::in_folder(path)? {
            Some((_, tokenizer)) => Ok(tokenizer),
            None => Err(Self::missing(path)),
        }
    }

    /// What is to be said of a folder without a tokenizer.
    pub fn missing(folder: &Path) -> Error {
        let pairs = PAIRS.map(|[vocabulary, merges]| format!("{vocabulary} and {merges}")).join(", or ");
        Error::file(folder, format!("holds no tokenizer: must have {FILE}, or {pairs}"))
    }

    /// Reads a folder's tokenizer, where it has one: tokenizer.json, or one of [`PAIRS`]. The path is that of the file
    /// with the vocabulary.
    ///
    /// # Errors
    /// [`Error::Value`] with the path, as [`Tokenizer::from_json`] and [`Tokenizer::from_gpt1_files`], and for a
    /// vocabulary without its merges.
    pub fn in_folder(folder: &Path) -> Result<Option<(PathBuf, Self)>> {
        let file = folder.join(FILE);
        if file.exists() {
            let tokenizer = Self::from_file(&file)?;
            return Ok(Some((file, tokenizer)));
        }
        for [vocabulary, merges] in PAIRS {
            let (path, merges) = (folder.join(vocabulary), folder.join(merges));
            if path.exists() {
                if !merges.exists() {
                    return Err(Error::file(merges, format!("is missing beside {vocabulary}")));
                }
                let tokenizer = Self::from_gpt1_files(&path, &merges)?;
                return Ok(Some((path, tokenizer)));
            }
        }
        Ok(None)
    }

    fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("could not be read: {e}")))?;
        Self::from_json(&bytes, path)
    }

    /// GPT-1's own files: the vocabulary (JSON, token to id) and the merges (a line each, the first may be a comment), with
    /// words cut as Hugging Face does.
    ///
    /// # Errors
    /// [`Error::Value`] naming the file and what is wrong in it.
    pub fn from_gpt1_files(vocabulary: &Path, merges: &Path) -> Result<Self> {
        let text = super::source::read_text(vocabulary)?;
        let vocab: Value = serde_json::from_str(&text).map_err(|e| Error::file(vocabulary, e))?;
        let text = super::source::read_text(merges)?;
        let rules: Vec<&str> =
            text.lines().filter(|line| !line.starts_with("#version") && !line.trim().is_empty()).collect();
        Self::from_value(pipeline(vocab, json!(rules), Pretokenizer::Bert), vocabulary)
    }

    fn from_vocabulary(vocabulary: &bpe::Vocabulary, pretokenizer: Pretokenizer) -> Result<Self> {
        let text = |id: u32| vocabulary.tokens[id as usize].as_str();
        let vocab: serde_json::Map<String, Value> = vocabulary.tokens.iter().cloned().zip((0..).map(json_id)).collect();
        let merges: Vec<[&str; 2]> = vocabulary.merges.iter().map(|&(a, b)| [text(a), text(b)]).collect();
        Self::from_value(pipeline(Value::Object(vocab), json!(merges), pretokenizer), Path::new("trained tokenizer"))
    }

    /// Reads a tokenizer.json; `path` only names it in errors.
    ///
    /// # Errors
    /// [`Error::Value`] for what is no BPE of one of the three pipelines, for ids beyond the vocabulary or given twice,
    /// for merges that name or make what is not in the vocabulary.
    pub fn from_json(bytes: &[u8], path: &Path) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| Error::file(path, format!("not JSON: {e}")))?;
        Self::from_value(value, path)
    }

    fn from_value(mut value: Value, path: &Path) -> Result<Self> {
        let checked = check(&value).map_err(|message| Error::file(path, message))?;
        if let Some(object) = value.as_object_mut() {
            // Texts are never cut or padded here, and nothing is put around them: these parts would only get in the
            // way, and the crate need not parse what is not used.
            for key in ["truncation", "padding", "post_processor"] {
                object.insert(key.into(), Value::Null);
            }
            // GPT-2's file writes "no unknown token" like this, and the crate would look it up.
            if object["model"]["unk_token"] == "" {
                object["model"]["unk_token"] = Value::Null;
            }
        }
        let parse = |value: &Value| -> Result<Arc<tokenizers::Tokenizer>> {
            let wrong = |e| Error::file(path, format!("not a tokenizer.json that the tokenizers crate reads: {e}"));
            Ok(Arc::new(tokenizers::Tokenizer::from_bytes(value.to_string()).map_err(wrong)?))
        };
        let task_tokens = task_tokens::find(&value);
        let text = match task_tokens {
            None => None,
            Some(tokens) => {
                let text = parse(&task_tokens::without(&value))?;
                value["post_processor"] = tokens.template();
                Some(text)
            }
        };
        let inner = parse(&value)?;
        for id in 0..checked.vocab_size as u32 {
            if inner.id_to_token(id).is_none() {
                return Err(Error::file(path, format!("no token has id {id}: ids must run from 0 without a gap")));
            }
        }
        let text = text.unwrap_or_else(|| inner.clone());
        let added = text.get_added_tokens_decoder();
        let plain = added
            .values()
            .all(|t| !t.lstrip && !t.rstrip && !t.single_word && !t.content.contains(char::is_whitespace));
        Ok(Tokenizer {
            cuttable: plain && checked.cuttable,
            inner,
            text,
            task_tokens,
            pretokenizer: checked.pretokenizer,
            vocab_size: checked.vocab_size,
        })
    }

    /// The same vocabulary and merges behind another cut in words: GPT-1's has two, its own and Hugging Face's.
    ///
    /// # Errors
    /// [`Error::Value`] where one of the two is `bytes`: its symbols are others.
    pub fn cut_by(&self, pretokenizer: Pretokenizer) -> Result<Self> {
        if self.pretokenizer == pretokenizer {
            return Ok(self.clone());
        }
        if !(self.pretokenizer.ends_words() && pretokenizer.ends_words()) {
            let own = self.pretokenizer;
            return Err(Error::input(format!(
                "pretokenizer = \"{pretokenizer}\": the tokenizer's symbols are those of {own}"
            )));
        }
        let json = self.to_json()?;
        let mut value: Value = serde_json::from_str(&json).map_err(|e| Error::input(format!("tokenizer.json: {e}")))?;
        value["normalizer"] = pretokenizer.normalizer();
        value["pre_tokenizer"] = pretokenizer.pre_tokenizer();
        Self::from_value(value, Path::new(FILE))
    }

    /// Adds the three tokens of fine-tuning for a model of `vocab_size` ids: theirs are the next three. What is between
    /// the tokenizer's ids and the model's, rows that the model does not use, gets tokens that no text gives. A tokenizer
    /// that has the three stays as it is.
    ///
    /// # Errors
    /// [`Error::Value`] for more ids than the model has, and for a token of its own with such a name.
    pub fn with_task_tokens(&self, vocab_size: usize) -> Result<Self> {
        if self.task_tokens.is_some() {
            return Ok(self.clone());
        }
        if self.vocab_size > vocab_size {
            let has = self.vocab_size;
            return Err(Error::input(format!("vocab_size = {vocab_size}: the tokenizer has {has} ids")));
        }
        let json = self.to_json()?;
        let mut value = serde_json::from_str(&json).map_err(|e| Error::input(format!("tokenizer.json: {e}")))?;
        for (id, token) in task_tokens::behind(self.vocab_size, vocab_size) {
            if self.id(&token).is_some() {
                return Err(Error::input(format!("the tokenizer has a token {token:?} of its own: must be free")));
            }
            task_tokens::push(&mut value, id, &token);
        }
        Self::from_value(value, Path::new(FILE))
    }

    /// The ids of the tokens of fine-tuning, where it has them. [`Tokenizer::encode`] gives them for no text.
    pub fn task_tokens(&self) -> Option<TaskTokens> {
        self.task_tokens
    }

    /// The ids of a text. Long texts are encoded in pieces on all threads; the ids are those of the whole text.
    ///
    /// # Errors
    /// [`Error::Value`] when the crate refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let pieces = Block { text, ends: &[] }.pieces(PIECE, self.cuttable);
        let encoded = on_threads(&pieces, |pieces| -> Result<Vec<u32>> {
            let mut ids = Vec::new();
            for piece in pieces {
                ids.extend_from_slice(self.text.encode_fast(piece.text, false).map_err(refused)?.get_ids());
            }
            Ok(ids)
        });
        Ok(encoded.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// The ids of a piece of text and the bytes of it that each stands for.
    pub(super) fn encode_measured(&self, piece: &str) -> Result<Measured> {
        let encoding = self.text.encode(piece, false).map_err(refused)?;
        let (mut bytes, mut end) = (Vec::with_capacity(encoding.len()), 0);
        for (_, to) in encoding.get_offsets() {
            bytes.push(to.saturating_sub(end));
            end = end.max(*to);
        }
        Ok(Measured { ids: encoding.get_ids().to_vec(), bytes, after: piece.len() - end })
    }

    /// Whether a text may be cut at certain places without changing any id: not with every tokenizer.json.
    pub fn is_cuttable(&self) -> bool {
        self.cuttable
    }

    /// The text of ids; special tokens are written out.
    ///
    /// # Errors
    /// [`Error::Value`] for an id beyond the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            return Err(Error::input(format!("id {id} has no token: the vocabulary has {} ids", self.vocab_size)));
        }
        if ids.is_empty() {
            // The crate's decoder for words that end in `</w>` takes the last of no tokens.
            return Ok(String::new());
        }
        self.inner.decode(ids, false).map_err(|e| Error::input(format!("ids could not be decoded: {e}")))
    }

    /// V: ids run from 0 to one less.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Which of the pipelines this is.
    pub fn pretokenizer(&self) -> Pretokenizer {
        self.pretokenizer
    }

    /// The id of a token's text, if it is one token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The file tokenizer.json: the same bytes for the same tokenizer.
    ///
    /// # Errors
    /// [`Error::Value`] when the crate cannot write it.
    pub fn to_json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|e| Error::input(format!("tokenizer.json could not be written: {e}")))
    }

    /// The file tokenizer_config.json, with which transformers' `AutoTokenizer` loads the folder; `n_positions` are those
    /// of its model, where it has one.
    pub fn tokenizer_config_json(&self, n_positions: impl Into<Option<usize>>) -> String {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": false,
            // The model would add the embedding of token 0 to every token for the class's `token_type_ids`.
            "model_input_names": ["input_ids", "attention_mask"],
        });
        if let Some(n_positions) = n_positions.into() {
            config["model_max_length"] = json!(n_positions);
        }
        if self.pretokenizer.ends_words() {
            config["unk_token"] = json!(UNKNOWN);
        }
        if self.task_tokens.is_some() {
            // It stands only in front, so that the model can tell where a padded text ends.
            config["pad_token"] = json!(Task::TOKENS[0]);
        }
        format!("{config:#}\n")
    }
}

/// A piece of text encoded.
pub(super) struct Measured {
    pub ids: Vec<u32>,
    /// From the end of the token before to the token's own.
    pub bytes: Vec<usize>,
    /// Behind the last token.
    pub after: usize,
}

fn refused(e: tokenizers::Error) -> Error {
    Error::input(format!("text could not be encoded: {e}"))
}

fn json_id(id: u32) -> Value {
    Value::from(id)
}

/// A tokenizer.json of our pipelines.
fn pipeline(vocab: Value, merges: Value, pretokenizer: Pretokenizer) -> Value {
    let ends = pretokenizer.ends_words();
    let unknown = json!([{"id": vocab[UNKNOWN].as_u64().unwrap_or(0), "content": UNKNOWN, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]);
    let decoder =
        if ends { json!({"type": "BPEDecoder", "suffix": END_OF_WORD}) } else { pretokenizer.pre_tokenizer() };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": if ends { unknown } else { json!([]) },
        "normalizer": pretokenizer.normalizer(),
        "pre_tokenizer": pretokenizer.pre_tokenizer(),
        "post_processor": null,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": if ends { json!(UNKNOWN) } else { Value::Null },
            "continuing_subword_prefix": null,
            "end_of_word_suffix": if ends { json!(END_OF_WORD) } else { Value::Null },
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "The cat sat. The dog, the cat and the hat: that's that!\n\nThe end  of the\tcat's day.\n";

    fn bytes() -> Tokenizer {
        Tokenizer::train(&TEXT.repeat(3), 280, Pretokenizer::Bytes).expect("train")
    }

    fn bert() -> Tokenizer {
        Tokenizer::train(TEXT, 80, Pretokenizer::Bert).expect("train")
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in any::<String>()) {
            let tokenizer = bytes();
            let ids = tokenizer.encode(&text).expect("encode");
            prop_assert_eq!(tokenizer.decode(&ids).expect("decode"), text);
        }
    }

    #[test]
    fn the_alphabet_comes_first_and_merges_follow() {
        let tokenizer = bytes();
        assert_eq!(tokenizer.vocab_size(), 280);
        assert_eq!(tokenizer.id("!"), Some(0), "the smallest of the byte characters");
        assert!(tokenizer.encode("the cat").expect("encode").len() <= 3);
        let tokenizer = bert();
        assert_eq!(tokenizer.id(UNKNOWN), Some(0));
        assert_eq!(tokenizer.encode("The CAT").expect("encode"), tokenizer.encode("the  cat\n").expect("encode"));
        assert_eq!(tokenizer.decode(&tokenizer.encode("the cat").expect("encode")).expect("decode"), "the cat");
        assert_eq!(tokenizer.encode("ж").expect("encode"), [0]);
        assert_eq!(tokenizer.decode(&[]).expect("decode"), "");
    }

    #[test]
    fn json_goes_out_and_in() {
        let openai = bert().cut_by(Pretokenizer::OpenAi).expect("another cut");
        for tokenizer in [bytes(), bert(), openai] {
            let json = tokenizer.to_json().expect("write");
            let back = Tokenizer::from_json(json.as_bytes(), Path::new("t.json")).expect("read");
            assert_eq!(back.to_json().expect("write"), json);
            assert_eq!(back.encode(TEXT).expect("encode"), tokenizer.encode(TEXT).expect("encode"));
            assert_eq!((back.vocab_size(), back.pretokenizer()), (tokenizer.vocab_size(), tokenizer.pretokenizer()));
            assert!(back.cuttable);
        }
    }

    #[test]
    fn a_cut_by_other_rules_of_its_kind_is_read() {
        let own = bert().cut_by(Pretokenizer::OpenAi).expect("another cut");
        let mut value: Value = serde_json::from_str(&own.to_json().expect("write")).expect("json");
        let splits = value["pre_tokenizer"]["pretokenizers"].as_array_mut().expect("splits");
        splits.retain(|split| !split["pattern"]["Regex"].as_str().expect("a pattern").contains("n't"));
        let other = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect("read");
        assert_eq!((other.pretokenizer(), other.cuttable), (Pretokenizer::OpenAi, false));
        assert_ne!(other.encode("don't").expect("ids"), own.encode("don't").expect("ids"));
        value["normalizer"] = Value::Null;
        let error = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect_err("no normalizer");
        assert!(error.to_string().contains("a Sequence of Replace, NFC and Lowercase"), "{error}");
        let error = bert().cut_by(Pretokenizer::Bytes).expect_err("bytes");
        assert!(error.to_string().ends_with("the tokenizer's symbols are those of bert"), "{error}");
    }

    #[test]
    fn too_small_a_vocabulary_says_what_would_do() {
        let error = Tokenizer::train(TEXT, 255, Pretokenizer::Bytes).expect_err("255");
        assert!(error.to_string().ends_with("so at least 256"), "{error}");
        let error = Tokenizer::train("abc ab", 6, Pretokenizer::Bert).expect_err("6");
        assert!(error.to_string().ends_with("3 characters, so at least 7"), "{error}");
        assert!(Tokenizer::train("abc ab", 7, Pretokenizer::Bert).is_ok());
        assert_eq!(Tokenizer::train("", 256, Pretokenizer::Bytes).expect("no text").vocab_size(), 256);
        assert!("word".parse::<Pretokenizer>().expect_err("word").to_string().contains("\"bert\""));
    }

    #[test]
    fn ids_beyond_the_vocabulary_have_no_text() {
        let error = bytes().decode(&[5, 280]).expect_err("280");
        assert_eq!(error.to_string(), "id 280 has no token: the vocabulary has 280 ids");
    }

    #[test]
    fn crafted_files_are_refused() {
        let good: Value = serde_json::from_str(&bert().to_json().expect("write")).expect("json");
        type Damage = fn(&mut Value);
        let damage: [(&str, Damage); 12] = [
            ("not in model.vocab", |v| v["model"]["merges"][0] = json!(["zz", "y"])),
            ("not in model.vocab", |v| v["model"]["merges"][0] = json!(["<unk>", "<unk>"])),
            ("must be two tokens", |v| v["model"]["merges"][0] = json!("a b c")),
            ("must be two tokens", |v| v["model"]["merges"][0] = json!(7)),
            ("ids from 0 to", |v| v["model"]["vocab"]["a"] = json!(4_000_000_000u32)),
            ("ids from 0 to", |v| v["model"]["vocab"]["a"] = json!(-1)),
            ("twice", |v| v["model"]["vocab"]["a"] = json!(0)),
            ("must be null", |v| v["model"]["continuing_subword_prefix"] = json!("##long prefix")),
            ("must be null", |v| v["model"]["dropout"] = json!(0.5)),
            ("does not have", |v| v["model"]["unk_token"] = json!("[UNK]")),
            ("must be 0", |v| v["added_tokens"][0]["id"] = json!(1000)),
            ("must be ByteLevel", |v| v["pre_tokenizer"] = json!({"type": "Whitespace"})),
        ];
        for (says, damage) in damage {
            let mut bad = good.clone();
            damage(&mut bad);
            let error = Tokenizer::from_json(bad.to_string().as_bytes(), Path::new("t.json")).expect_err(says);
            assert!(error.to_string().starts_with("t.json: ") && error.to_string().contains(says), "{error}");
            assert!(error.is_invalid_input());
        }
        let text = good.to_string();
        for length in [0, 1, text.len() / 2, text.len() - 1] {
            assert!(Tokenizer::from_json(&text.as_bytes()[..length], Path::new("t.json")).is_err());
        }
        assert!(Tokenizer::from_json(b"[]", Path::new("t.json")).is_err());
    }

    #[test]
    fn truncation_in_a_file_does_not_cut_texts_and_added_tokens_count() {
        let mut value: Value = serde_json::from_str(&bytes().to_json().expect("write")).expect("json");
        value["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        value["added_tokens"] = json!([{"id": 280, "content": "_start_", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}]);
        let tokenizer = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect("read");
        assert_eq!(tokenizer.vocab_size(), 281);
        let ids = tokenizer.encode("_start_The dog and that").expect("encode");
        assert_eq!(ids[0], 280);
        assert_eq!(tokenizer.decode(&ids).expect("decode"), "_start_The dog and that");
    }
}
