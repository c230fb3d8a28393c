//! The three tokens that fine-tuning adds to a tokenizer.json: the last added tokens of all.
//!
//! For a model of V ids they are V, V+1 and V+2, and added tokens have ids without a gap. Where a model has more ids than
//! its tokenizer (training found too few pairs to merge), tokens named after their ids fill the gap. No text is encoded
//! to any of these: texts are encoded by the tokenizer without them.

use crate::config::Task;
use serde_json::{Value, json};

/// Ids of the three tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskTokens {
    /// `_start_`, the first token of every sequence, and nowhere else.
    pub start: u32,
    /// `_delimiter_`, between two texts.
    pub delimiter: u32,
    /// `_classify_`, the last token of every sequence: a task head reads the state there.
    pub extract: u32,
}

#[cfg(feature = "tokenizers")]
impl TaskTokens {
    /// The part `post_processor` of tokenizer.json: how transformers puts the tokens around a text or a pair of texts.
    pub(super) fn post_processor(self) -> Value {
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

/// The name of a token that fills a gap.
fn unused(id: usize) -> String {
    format!("<unused{id}>")
}

/// Ids and names of the tokens to add to a tokenizer of `tokenizer_size` ids for a model of `vocab_size` ids.
pub(super) fn to_add(tokenizer_size: usize, vocab_size: usize) -> impl Iterator<Item = (usize, String)> {
    let tokens = Task::TOKENS.into_iter().map(String::from);
    (tokenizer_size..).zip((tokenizer_size..vocab_size).map(unused).chain(tokens))
}

/// Adds a token to a tokenizer.json.
pub(super) fn add(value: &mut Value, id: usize, token: &str) {
    let token = json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true});
    match &mut value["added_tokens"] {
        Value::Array(all) => all.push(token),
        other => *other = json!([token]),
    }
}

/// Ids and names of the added tokens.
fn added(value: &Value) -> Vec<(usize, &str)> {
    let all = value["added_tokens"].as_array().into_iter().flatten();
    all.map(|t| (t["id"].as_u64().unwrap_or(0) as usize, t["content"].as_str().unwrap_or_default())).collect()
}

/// The three tokens of a tokenizer.json that passed the check, if its last added tokens are these.
pub(super) fn find(value: &Value) -> Option<TaskTokens> {
    let all = added(value);
    let [(start, a), (delimiter, b), (extract, c)] = all.last_chunk::<3>()?;
    let [start, delimiter, extract] = [start, delimiter, extract].map(|id| *id as u32);
    let consecutive = start + 1 == delimiter && delimiter + 1 == extract;
    ([*a, *b, *c] == Task::TOKENS && consecutive).then_some(TaskTokens { start, delimiter, extract })
}

/// A tokenizer.json without the three tokens that [`find`] found, and without those that fill the gap before them.
#[cfg(feature = "tokenizers")]
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
