//! The three tokens of fine-tuning in a tokenizer.json: added tokens, the last of all.
//!
//! Their ids are V, V+1, V+2 for a model of V ids, and added tokens have ids without a gap: where a model has more ids than
//! its tokenizer (a text with too few pairs to merge), tokens named after their ids fill what is between. No text gives any
//! of these: the tokenizer of texts is the one `without` them.

use crate::config::Task;
use serde_json::{Value, json};

/// Ids of the three tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTokens {
    /// `_start_`, in front of every sequence and nowhere else.
    pub start: u32,
    /// `_delimiter_`, between two texts.
    pub delimiter: u32,
    /// `_classify_`, the last of every sequence: the head reads the state there.
    pub extract: u32,
}

impl TaskTokens {
    /// tokenizer.json's post_processor: how transformers frames a text or a pair of them.
    pub(super) fn template(self) -> Value {
        let [start, delimiter, extract] = Task::TOKENS.map(|name| json!({"SpecialToken": {"id": name, "type_id": 0}}));
        let [a, b] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
        let ids = [self.start, self.delimiter, self.extract];
        let named = Task::TOKENS.into_iter().zip(ids);
        let special: serde_json::Map<String, Value> =
            named.map(|(name, id)| (name.to_string(), json!({"id": name, "ids": [id], "tokens": [name]}))).collect();
        json!({
            "type": "TemplateProcessing",
            "single": [start, a, extract],
            "pair": [start, a, delimiter, b, extract],
            "special_tokens": special,
        })
    }
}

/// The token of an id that no text gives.
fn unused(id: usize) -> String {
    format!("<unused{id}>")
}

/// Ids and tokens to add behind `has` ids for a model of `vocab_size`.
pub(super) fn behind(has: usize, vocab_size: usize) -> impl Iterator<Item = (usize, String)> {
    let tokens = Task::TOKENS.into_iter().map(String::from);
    (has..).zip((has..vocab_size).map(unused).chain(tokens))
}

/// Adds a token to a tokenizer.json.
pub(super) fn push(value: &mut Value, id: usize, token: &str) {
    let token = json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    match &mut value["added_tokens"] {
        Value::Array(all) => all.push(token),
        other => *other = json!([token]),
    }
}

/// The added tokens, each an id and its text.
fn added(value: &Value) -> Vec<(usize, &str)> {
    let all = value["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().map(|t| (t["id"].as_u64().unwrap_or(0) as usize, t["content"].as_str().unwrap_or_default())).collect()
}

/// The three tokens of a tokenizer.json, where they are its last. (Ids were checked: added tokens follow one another.)
pub(super) fn find(value: &Value) -> Option<TaskTokens> {
    let all = added(value);
    let [(start, a), (delimiter, b), (extract, c)] = all.last_chunk::<3>()?;
    let [start, delimiter, extract] = [start, delimiter, extract].map(|id| *id as u32);
    let behind = start + 1 == delimiter && delimiter + 1 == extract;
    ([*a, *b, *c] == Task::TOKENS && behind).then_some(TaskTokens { start, delimiter, extract })
}

/// A tokenizer.json without the three tokens that [`find`] has found, and what fills the ids before them.
pub(super) fn without(value: &Value) -> Value {
    let all = added(value);
    let own = all.len().saturating_sub(Task::TOKENS.len());
    let fill = all[..own].iter().rev().take_while(|(id, token)| *token == unused(*id)).count();
    let mut value = value.clone();
    if let Value::Array(tokens) = &mut value["added_tokens"] {
        tokens.truncate(own - fill);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::{Pretokenizer, Tokenizer};
    use std::path::Path;

    const TEXT: &str = "the cat sat on the mat, the cat and the hat";
    const NAMES: &str = "a _start_ b _delimiter_c_classify_ <unused274> <unk>";

    fn both() -> [Tokenizer; 2] {
        [(280, Pretokenizer::Bytes), (60, Pretokenizer::Bert)]
            .map(|(size, kind)| Tokenizer::train(&TEXT.repeat(2), size, kind).expect("train"))
    }

    fn ids(start: u32) -> TaskTokens {
        TaskTokens { start, delimiter: start + 1, extract: start + 2 }
    }

    #[test]
    fn texts_do_not_hold_them() {
        for tokenizer in both() {
            let v = tokenizer.vocab_size();
            let tuned = tokenizer.with_task_tokens(v).expect("tokens");
            assert_eq!((tuned.vocab_size(), tuned.task_tokens()), (v + 3, Some(ids(v as u32))));
            assert_eq!(tuned.id("_classify_"), Some(v as u32 + 2));
            for text in [TEXT, NAMES, "_start_", ""] {
                let encoded = tuned.encode(text).expect("ids");
                assert_eq!(encoded, tokenizer.encode(text).expect("ids"), "{text:?}");
                assert!(encoded.iter().all(|id| (*id as usize) < v));
            }
            let framed = [&[v as u32][..], &tokenizer.encode("cat").expect("ids"), &[v as u32 + 2]].concat();
            assert_eq!(tuned.decode(&framed).expect("text").replace(' ', ""), "_start_cat_classify_");
            assert_eq!(tokenizer.task_tokens(), None);
        }
    }

    #[test]
    fn they_stand_behind_the_models_ids() {
        for tokenizer in both() {
            let v = tokenizer.vocab_size();
            let tuned = tokenizer.with_task_tokens(v + 5).expect("tokens");
            assert_eq!((tuned.vocab_size(), tuned.task_tokens()), (v + 8, Some(ids(v as u32 + 5))));
            assert_eq!(tuned.id("_start_"), Some(v as u32 + 5));
            assert_eq!(tuned.decode(&[v as u32 + 4]).expect("text"), format!("<unused{}>", v + 4));
            for text in [NAMES.to_string(), format!("<unused{v}><unused{}>", v + 4)] {
                assert_eq!(tuned.encode(&text).expect("ids"), tokenizer.encode(&text).expect("ids"));
            }
            let again = tuned.with_task_tokens(v + 8).expect("tokens");
            assert_eq!((again.vocab_size(), again.task_tokens()), (v + 8, tuned.task_tokens()), "none twice");
            let error = tokenizer.with_task_tokens(v - 1).expect_err("too few").to_string();
            assert_eq!(error, format!("vocab_size = {}: the tokenizer has {v} ids", v - 1));
        }
    }

    #[test]
    fn a_file_brings_them_back() {
        for tokenizer in both() {
            for extra in [0, 4] {
                let tuned = tokenizer.with_task_tokens(tokenizer.vocab_size() + extra).expect("tokens");
                let json = tuned.to_json().expect("json");
                let back = Tokenizer::from_json(json.as_bytes(), Path::new("t.json")).expect("read");
                assert_eq!(back.to_json().expect("json"), json);
                assert_eq!((back.task_tokens(), back.vocab_size()), (tuned.task_tokens(), tuned.vocab_size()));
                assert_eq!(back.encode(NAMES).expect("ids"), tokenizer.encode(NAMES).expect("ids"));
                assert!(back.is_cuttable());
                let config = back.tokenizer_config_json(8);
                assert!(config.contains(r#""pad_token": "_start_""#), "{config}");
            }
        }
    }

    #[test]
    fn a_token_of_that_name_is_refused() {
        let [tokenizer, _] = both();
        let v = tokenizer.vocab_size();
        let mut value: Value = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("json");
        push(&mut value, v, "_delimiter_");
        let odd = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect("read");
        assert_eq!((odd.task_tokens(), odd.id("_delimiter_")), (None, Some(v as u32)));
        let error = odd.with_task_tokens(v + 1).expect_err("taken").to_string();
        assert_eq!(error, "the tokenizer has a token \"_delimiter_\" of its own: must be free");
    }
}
