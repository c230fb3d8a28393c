//! What a tokenizer.json must be before the tokenizers crate sees it, which takes it on trust: one of our pipelines, ids
//! without a gap, merges of what is in the vocabulary.

use super::Pretokenizer;
use serde_json::Value;
use std::collections::BTreeSet;

/// What [`check`] learns of a tokenizer.json on the way.
pub(super) struct Checked {
    pub pretokenizer: Pretokenizer,
    pub vocab_size: usize,
    /// Whether a text may be cut before white space without changing any id.
    pub cuttable: bool,
}

/// Everything that the crate takes on trust. The message is for the file's reader.
pub(super) fn check(value: &Value) -> Result<Checked, String> {
    let kind = |part: &str| value[part]["type"].as_str().unwrap_or("nothing").to_string();
    let pretokenizer = match kind("pre_tokenizer").as_str() {
        "ByteLevel" => Pretokenizer::Bytes,
        "BertPreTokenizer" => Pretokenizer::Bert,
        "Sequence" if all_are(&value["pre_tokenizer"]["pretokenizers"], &["Split"]) => Pretokenizer::OpenAi,
        other => {
            let must = "ByteLevel, BertPreTokenizer or a Sequence of Splits";
            return Err(format!("pre_tokenizer is {other}: must be {must}"));
        }
    };
    let (known, must) = match pretokenizer {
        Pretokenizer::OpenAi => {
            let known = all_are(&value["normalizer"]["normalizers"], &["Replace", "NFC", "Lowercase"]);
            (known, "a Sequence of Replace, NFC and Lowercase")
        }
        Pretokenizer::Bytes | Pretokenizer::Bert => {
            (value["normalizer"].is_null() || kind("normalizer") == "BertNormalizer", "null or BertNormalizer")
        }
    };
    if !known {
        return Err(format!("normalizer is {}: must be {must}", kind("normalizer")));
    }
    if !["ByteLevel", "BPEDecoder"].contains(&kind("decoder").as_str()) {
        return Err(format!("decoder is {}: must be ByteLevel or BPEDecoder", kind("decoder")));
    }
    let model = &value["model"];
    // Files of older versions do not say it.
    if model["type"].as_str().unwrap_or("BPE") != "BPE" {
        return Err(format!("model.type is {}: must be BPE", model["type"]));
    }
    if model["dropout"].as_f64().unwrap_or(0.0) != 0.0 {
        return Err(format!("model.dropout is {}: must be null, for ids must not be random", model["dropout"]));
    }
    if !model["continuing_subword_prefix"].as_str().unwrap_or("").is_empty() {
        return Err(format!("model.continuing_subword_prefix is {}: must be null", model["continuing_subword_prefix"]));
    }
    let Some(vocab) = model["vocab"].as_object() else {
        return Err("model.vocab is missing: must be an object of tokens and ids".into());
    };
    let mut seen = vec![false; vocab.len()];
    for (token, id) in vocab {
        let place = id.as_u64().and_then(|id| seen.get_mut(usize::try_from(id).ok()?));
        match place {
            Some(place) if !*place => *place = true,
            Some(_) => return Err(format!("model.vocab gives id {id} twice, the second time to {token:?}")),
            None => {
                return Err(format!(
                    "model.vocab gives {token:?} the id {id}: {} entries have ids from 0 to {}",
                    vocab.len(),
                    vocab.len() - 1
                ));
            }
        }
    }
    if let Some(unknown) = model["unk_token"].as_str()
        && !unknown.is_empty()
        && !vocab.contains_key(unknown)
    {
        return Err(format!("model.unk_token is {unknown:?}, which model.vocab does not have"));
    }
    let Some(merges) = model["merges"].as_array() else {
        return Err("model.merges is missing: must be a list of pairs".into());
    };
    for (i, merge) in merges.iter().enumerate() {
        let parts: Vec<&str> = match merge {
            Value::String(line) => line.split(' ').collect(),
            Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let [left, right] = parts[..] else {
            return Err(format!("model.merges[{i}] is {merge}: must be two tokens"));
        };
        for token in [left, right, &format!("{left}{right}")] {
            if !vocab.contains_key(token) {
                return Err(format!("model.merges[{i}] is {merge}: {token:?} is not in model.vocab"));
            }
        }
    }
    let vocab_size = vocab.len() + check_added(&value["added_tokens"], vocab)?;
    let prefixed = value["pre_tokenizer"]["add_prefix_space"].as_bool().unwrap_or(true);
    let whole = !value["pre_tokenizer"]["use_regex"].as_bool().unwrap_or(true);
    let cuttable = match pretokenizer {
        Pretokenizer::Bytes => !prefixed && !whole && value["normalizer"].is_null(),
        Pretokenizer::Bert => true,
        // Of other rules of this kind nobody knows.
        Pretokenizer::OpenAi => {
            ["normalizer", "pre_tokenizer"].map(|part| &value[part])
                == [&pretokenizer.normalizer(), &pretokenizer.pre_tokenizer()]
        }
    };
    Ok(Checked { pretokenizer, vocab_size, cuttable })
}

/// Whether a list holds parts of some types and no others.
fn all_are(parts: &Value, types: &[&str]) -> bool {
    let known = |part: &Value| part["type"].as_str().is_some_and(|kind| types.contains(&kind));
    parts.as_array().is_some_and(|parts| !parts.is_empty() && parts.iter().all(known))
}

/// Added tokens have the ids that the crate will give them: their own in the vocabulary, or the next ones behind it.
/// Returns how many are behind it.
fn check_added(added: &Value, vocab: &serde_json::Map<String, Value>) -> Result<usize, String> {
    let mut behind = BTreeSet::new();
    for token in added.as_array().map(Vec::as_slice).unwrap_or_default() {
        let (Some(content), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) else {
            return Err(format!("added_tokens has {token}: must have content and id"));
        };
        let right = match vocab.get(content) {
            Some(id) => id.as_u64().unwrap_or_default(),
            None => (vocab.len() + behind.len()) as u64,
        };
        if content.is_empty() || id != right || (!vocab.contains_key(content) && !behind.insert(content)) {
            return Err(format!("added_tokens gives {content:?} the id {id}: must be {right}, and each token once"));
        }
    }
    Ok(behind.len())
}
