//! tokenizer.json: writing one for a [`Pretokenizer`], and checking one before it is used.
//!
//! The tokenizers crate trusts a file: it accepts ids beyond the vocabulary and panics on merges whose parts are not in
//! it. So every file is checked here first: one of our pipelines, ids without a gap, merges of known tokens.

use super::pretokenizer::Pretokenizer;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

/// The file of a tokenizer.
pub const FILE_NAME: &str = "tokenizer.json";

/// The token for a character that is not in the vocabulary of a `bert` or `openai` tokenizer. Its id is 0.
pub const UNKNOWN: &str = "<unk>";

/// What the last symbol of a word ends in, where a [`Pretokenizer`] marks word ends.
pub(super) const END_OF_WORD: &str = "</w>";

/// A tokenizer.json.
pub(super) fn document(vocab: Value, merges: Value, pretokenizer: Pretokenizer) -> Value {
    let marked = pretokenizer.marks_word_ends();
    let unknown = json!([{"id": vocab[UNKNOWN].as_u64().unwrap_or(0), "content": UNKNOWN, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}]);
    let decoder =
        if marked { json!({"type": "BPEDecoder", "suffix": END_OF_WORD}) } else { pretokenizer.pre_tokenizer() };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": if marked { unknown } else { json!([]) },
        "normalizer": pretokenizer.normalizer(),
        "pre_tokenizer": pretokenizer.pre_tokenizer(),
        "post_processor": null,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": if marked { json!(UNKNOWN) } else { Value::Null },
            "continuing_subword_prefix": null,
            "end_of_word_suffix": if marked { json!(END_OF_WORD) } else { Value::Null },
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        }
    })
}

/// Makes null what the tokenizers crate must not do here: truncate and pad texts, and put tokens around them.
#[cfg(feature = "tokenizers")]
pub(super) fn clear_unused(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        for key in ["truncation", "padding", "post_processor"] {
            object.insert(key.into(), Value::Null);
        }
        // GPT-2's file writes "no unknown token" like this, and the crate would look it up.
        if object["model"]["unk_token"] == "" {
            object["model"]["unk_token"] = Value::Null;
        }
    }
}

/// What [`check`] finds out about a tokenizer.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub pretokenizer: Pretokenizer,
    /// V, with the added tokens.
    pub vocab_size: usize,
    /// The id of the token that stands for text that the vocabulary does not have, if there may be such text.
    pub unknown: Option<u32>,
    /// The number of bytes that are lost from a text, because a byte-level vocabulary has no token for them.
    pub missing_bytes: usize,
    /// Whether a text may be encoded in chunks that begin with white space: see `Tokenizer::is_splittable`.
    pub splittable: bool,
}

fn wrong(path: &Path, place: impl Into<String>, found: impl Display, expected: impl Into<String>) -> Error {
    Error::file(path, found).at(place).expected(expected)
}

/// Checks a tokenizer.json; `path` names it in errors.
///
/// # Errors
/// [`Error::File`] with the key, what it has and what it should have.
pub(super) fn check(value: &Value, path: &Path) -> Result<Summary> {
    let pretokenizer = check_pipeline(value, path)?;
    let vocab = check_model(&value["model"], path)?;
    let added = check_added_tokens(&value["added_tokens"], vocab, path)?;
    let splittable = is_splittable(value, pretokenizer);
    let missing_bytes = match pretokenizer {
        Pretokenizer::Bytes => byte_symbols().filter(|symbol| !vocab.contains_key(symbol.to_string().as_str())).count(),
        Pretokenizer::Bert | Pretokenizer::OpenAi => 0,
    };
    let is_complete = pretokenizer == Pretokenizer::Bytes && missing_bytes == 0;
    let unknown = value["model"]["unk_token"].as_str().and_then(|token| vocab.get(token)?.as_u64());
    let unknown = unknown.filter(|_| !is_complete).map(|id| id as u32);
    let missing_bytes = if unknown.is_some() { 0 } else { missing_bytes };
    Ok(Summary { pretokenizer, vocab_size: vocab.len() + added, unknown, missing_bytes, splittable })
}

/// The characters by which ByteLevel writes the 256 bytes: a printable character of Latin-1 for itself, and the characters
/// from U+0100 on for the others.
pub(super) fn byte_symbols() -> impl Iterator<Item = char> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=255u8).filter(move |byte| !printable(byte)).count() as u32;
    (0..=255u8).filter(printable).map(char::from).chain((0x100..0x100 + others).filter_map(char::from_u32))
}

fn check_pipeline(value: &Value, path: &Path) -> Result<Pretokenizer> {
    let kind = |part: &str| value[part]["type"].as_str().unwrap_or("null").to_string();
    let pretokenizer = match kind("pre_tokenizer").as_str() {
        "ByteLevel" => Pretokenizer::Bytes,
        "BertPreTokenizer" => Pretokenizer::Bert,
        "Sequence" if all_are(&value["pre_tokenizer"]["pretokenizers"], &["Split"]) => Pretokenizer::OpenAi,
        other => {
            let expected = "expected ByteLevel, BertPreTokenizer or a Sequence of Split";
            return Err(wrong(path, "pre_tokenizer", other, expected));
        }
    };
    // Regular expressions of a stranger could take any time and memory: those of `openai` alone are used.
    if pretokenizer == Pretokenizer::OpenAi && value["pre_tokenizer"] != pretokenizer.pre_tokenizer() {
        let expected = "expected the rules of pretokenizer = \"openai\": other regular expressions are not used";
        return Err(wrong(path, "pre_tokenizer", "other rules in a Sequence of Split", expected));
    }
    let (known, expected) = match pretokenizer {
        Pretokenizer::OpenAi => {
            (value["normalizer"] == pretokenizer.normalizer(), "expected that of pretokenizer = \"openai\"")
        }
        Pretokenizer::Bytes | Pretokenizer::Bert => {
            let known = value["normalizer"].is_null() || kind("normalizer") == "BertNormalizer";
            (known, "expected null or BertNormalizer")
        }
    };
    if !known {
        return Err(wrong(path, "normalizer", kind("normalizer"), expected));
    }
    match kind("decoder").as_str() {
        "ByteLevel" | "BPEDecoder" => Ok(pretokenizer),
        other => Err(wrong(path, "decoder", other, "expected ByteLevel or BPEDecoder")),
    }
}

/// Checks the part `model` and returns its vocabulary.
fn check_model<'a>(model: &'a Value, path: &Path) -> Result<&'a Map<String, Value>> {
    // Files of older versions do not have the key.
    if model["type"].as_str().unwrap_or("BPE") != "BPE" {
        return Err(wrong(path, "model.type", &model["type"], "expected BPE"));
    }
    if model["dropout"].as_f64().unwrap_or(0.0) != 0.0 {
        return Err(wrong(path, "model.dropout", &model["dropout"], "expected null: ids must not be random"));
    }
    let prefix = &model["continuing_subword_prefix"];
    if !prefix.as_str().unwrap_or("").is_empty() {
        return Err(wrong(path, "model.continuing_subword_prefix", prefix, "expected null"));
    }
    let Some(vocab) = model["vocab"].as_object() else {
        return Err(wrong(path, "model.vocab", "missing", "expected an object of tokens and ids"));
    };
    check_ids(vocab, path)?;
    if let Some(unknown) = model["unk_token"].as_str()
        && !unknown.is_empty()
        && !vocab.contains_key(unknown)
    {
        return Err(wrong(path, "model.unk_token", format!("{unknown:?}"), "expected a token of model.vocab"));
    }
    check_merges(&model["merges"], vocab, path)?;
    Ok(vocab)
}

/// Checks that each id from 0 to the number of tokens is given once.
fn check_ids(vocab: &Map<String, Value>, path: &Path) -> Result<()> {
    let place = "model.vocab";
    let mut seen = vec![false; vocab.len()];
    for (token, id) in vocab {
        match id.as_u64().and_then(|id| seen.get_mut(usize::try_from(id).ok()?)) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => {
                let found = format!("id {id} for a second token, {token:?}");
                return Err(wrong(path, place, found, "expected each id once"));
            }
            None => {
                let (n, last) = (vocab.len(), vocab.len() - 1);
                let found = format!("id {id} for {token:?}");
                return Err(wrong(path, place, found, format!("expected ids from 0 to {last} for {n} tokens")));
            }
        }
    }
    Ok(())
}

/// Checks that the parts of every merge and their concatenation are in the vocabulary.
fn check_merges(merges: &Value, vocab: &Map<String, Value>, path: &Path) -> Result<()> {
    let Some(merges) = merges.as_array() else {
        return Err(wrong(path, "model.merges", "missing", "expected a list of pairs of tokens"));
    };
    for (i, merge) in merges.iter().enumerate() {
        let place = || format!("model.merges[{i}]");
        let parts: Vec<&str> = match merge {
            Value::String(line) => line.split(' ').collect(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let [left, right] = parts[..] else {
            return Err(wrong(path, place(), merge, "expected two tokens"));
        };
        for token in [left, right, &format!("{left}{right}")] {
            if !vocab.contains_key(token) {
                return Err(wrong(path, place(), merge, format!("expected {token:?} in model.vocab")));
            }
        }
    }
    Ok(())
}

/// Checks that added tokens have the ids that the crate will give them: their own in the vocabulary, or the next ids
/// after it. Returns the number of those after it.
fn check_added_tokens(added: &Value, vocab: &Map<String, Value>, path: &Path) -> Result<usize> {
    let mut extra = BTreeSet::new();
    for (i, token) in added.as_array().into_iter().flatten().enumerate() {
        let place = format!("added_tokens[{i}]");
        let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) else {
            return Err(wrong(path, place, token, "expected an object with content and id"));
        };
        let right = match vocab.get(content) {
            Some(id) => id.as_u64().unwrap_or_default(),
            None => (vocab.len() + extra.len()) as u64,
        };
        if content.is_empty() || id != right || (!vocab.contains_key(content) && !extra.insert(content)) {
            let found = format!("id {id} for {content:?}");
            return Err(wrong(path, place, found, format!("expected id {right}, and each token once")));
        }
    }
    Ok(extra.len())
}

/// Whether a tokenizer.json has a token of this name.
pub(super) fn has_token(value: &Value, token: &str) -> bool {
    let mut added = value["added_tokens"].as_array().into_iter().flatten();
    value["model"]["vocab"].get(token).is_some() || added.any(|added| added["content"] == token)
}

/// Whether a list holds parts of these types alone, and at least one.
fn all_are(parts: &Value, types: &[&str]) -> bool {
    let known = |part: &Value| part["type"].as_str().is_some_and(|kind| types.contains(&kind));
    parts.as_array().is_some_and(|parts| !parts.is_empty() && parts.iter().all(known))
}

fn is_splittable(value: &Value, pretokenizer: Pretokenizer) -> bool {
    let part = &value["pre_tokenizer"];
    let pipeline = match pretokenizer {
        Pretokenizer::Bytes => {
            let adds_space = part["add_prefix_space"].as_bool().unwrap_or(true);
            let splits_words = part["use_regex"].as_bool().unwrap_or(true);
            !adds_space && splits_words && value["normalizer"].is_null()
        }
        Pretokenizer::Bert | Pretokenizer::OpenAi => true,
    };
    pipeline && value["added_tokens"].as_array().into_iter().flatten().all(is_plain)
}

/// Whether an added token takes no white space around it and has none in it.
fn is_plain(token: &Value) -> bool {
    let flag = |key: &str| token[key].as_bool().unwrap_or(false);
    let content = token["content"].as_str().unwrap_or_default();
    !flag("lstrip") && !flag("rstrip") && !flag("single_word") && !content.contains(char::is_whitespace)
}
