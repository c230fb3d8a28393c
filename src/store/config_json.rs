//! config.json: a model's configuration in Hugging Face's format.
//!
//! `model_type` is `openai-gpt`, which transformers loads, if every layer has full attention and transformers has a class for
//! the model's task. Otherwise it is `wgpt`, which transformers refuses: under `openai-gpt` it would load the model with full
//! attention, or without its head, and report nothing.

use crate::config::{Answers, KvGroups, KvNull, KvScale, ModelConfig, Task, TaskKind};
use crate::data::file_errors::json_type;
use crate::data::unique_json;
use crate::error::InvalidValue;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes config.json.
pub fn to_json(config: &ModelConfig) -> String {
    let class = class(config.task.as_ref());
    let is_openai_gpt = config.has_only_full_attention() && class != SIMILARITY;
    let mut json = json!({
        "model_type": if is_openai_gpt { "openai-gpt" } else { "wgpt" },
        "architectures": [format!("{}{class}", if is_openai_gpt { "OpenAIGPT" } else { "Wgpt" })],
        "afn": "gelu",
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_positions": config.n_positions,
        "n_ctx": config.n_positions,
        "vocab_size": config.vocab_size,
        "resid_pdrop": shortest(config.resid_pdrop),
        "embd_pdrop": shortest(config.embd_pdrop),
        "attn_pdrop": shortest(config.attn_pdrop),
        "summary_first_dropout": shortest(config.summary_first_dropout),
        "layer_norm_epsilon": shortest(config.layer_norm_epsilon),
        "initializer_range": shortest(config.initializer_range),
        "tie_word_embeddings": true,
    });
    if !is_openai_gpt {
        json["attention_pattern"] = json!(config.attention_pattern);
        json["local_block"] = json!(config.local_block);
        json["kv_factor"] = json!(config.kv_factor);
        json["kv_groups"] = match config.kv_groups {
            KvGroups::One => json!(1),
            other => json!(other.to_string()),
        };
        json["kv_shared"] = json!(config.kv_shared);
        json["kv_null"] = json!(config.kv_null.to_string());
        json["kv_scale"] = json!(config.kv_scale.to_string());
    }
    if let Some(task) = &config.task {
        add_task(&mut json, task, config.vocab_size);
    }
    format!("{json:#}\n")
}

const LANGUAGE_MODEL: &str = "LMHeadModel";
const CLASSIFICATION: &str = "ForSequenceClassification";
const CHOICE: &str = "DoubleHeadsModel";
/// Our own: transformers has no such class.
const SIMILARITY: &str = "ForSimilarity";

/// The name of a task's class without the prefix `OpenAIGPT`.
fn class(task: Option<&Task>) -> &'static str {
    match task.map(|task| task.kind) {
        None => LANGUAGE_MODEL,
        Some(TaskKind::Classify | TaskKind::Entail) => CLASSIFICATION,
        Some(TaskKind::Choose) => CHOICE,
        Some(TaskKind::Similar) => SIMILARITY,
    }
}

/// The label that transformers gives to the only output of a model without labels.
const ONLY_LABEL: &str = "LABEL_0";

/// Adds the keys that transformers reads for a head, and our own key `task`.
fn add_task(json: &mut Value, task: &Task, vocab_size: usize) {
    let only = [ONLY_LABEL.to_string()];
    let labels = match &task.answers {
        Answers::Labels(labels) => labels.as_slice(),
        Answers::Score | Answers::Candidate => &only,
    };
    let ids = || (0..).zip(labels);
    json["task"] = json!(task.kind);
    json["id2label"] = ids().map(|(id, label): (u32, _)| (id.to_string(), json!(label))).collect::<Map<_, _>>().into();
    json["label2id"] = ids().map(|(id, label): (u32, _)| (label.clone(), json!(id))).collect::<Map<_, _>>().into();
    // ForSequenceClassification reads the logits at the last token that is not padding. `_start_` is only at the front, so
    // that naming it as padding selects the last token.
    json["pad_token_id"] = json!(vocab_size.saturating_sub(Task::TOKENS.len()));
    match &task.answers {
        Answers::Labels(_) => json["problem_type"] = json!("single_label_classification"),
        Answers::Score => json["problem_type"] = json!("regression"),
        Answers::Candidate => {
            for (key, value) in summary() {
                json[key] = value;
            }
        }
    }
}

/// The keys that make the head of transformers' DoubleHeadsModel a linear layer, as ours is.
fn summary() -> [(&'static str, Value); 4] {
    [
        ("summary_type", json!("cls_index")),
        ("summary_use_proj", json!(true)),
        ("summary_activation", Value::Null),
        ("summary_proj_to_labels", json!(true)),
    ]
}

/// Reads config.json; errors name `path`. Missing keys have Hugging Face's defaults, unknown keys are ignored.
///
/// # Errors
/// [`Error::File`] naming the file and the key.
pub fn from_json(bytes: &[u8], path: &Path) -> Result<ModelConfig> {
    let keys = match unique_json::parse(bytes, path, "is not a JSON object")? {
        Value::Object(keys) => keys,
        other => return Err(Error::file(path, format!("is not a JSON object, but {}", json_type(&other)))),
    };
    let keys = Keys { keys: &keys, path };
    let kind = keys.text("model_type", "openai-gpt")?;
    if !["openai-gpt", "wgpt"].contains(&kind) {
        return Err(keys.error("model_type", format!("{kind:?}"), "must be \"openai-gpt\" or \"wgpt\""));
    }
    // The tanh form of GELU is "gelu" in this model of transformers and "gelu_new" in its other models.
    let activation = keys.text("afn", "gelu")?;
    if !["gelu", "gelu_new"].contains(&activation) {
        return Err(keys.error("afn", format!("{activation:?}"), "must be \"gelu\""));
    }
    let default = ModelConfig::default();
    let attention = match kind {
        "wgpt" => ModelConfig {
            attention_pattern: keys.text("attention_pattern", "F")?.to_string(),
            local_block: keys.size("local_block", default.local_block)?,
            kv_factor: keys.size("kv_factor", default.kv_factor)?,
            kv_groups: keys.choice("kv_groups", default.kv_groups, KvGroups::NAMES)?,
            kv_shared: keys.get("kv_shared", default.kv_shared, "true or false", Value::as_bool)?,
            kv_null: keys.choice("kv_null", default.kv_null, KvNull::NAMES)?,
            kv_scale: keys.choice("kv_scale", default.kv_scale, KvScale::NAMES)?,
            ..default
        },
        _ => default,
    };
    let config = ModelConfig {
        n_layer: keys.size("n_layer", 12)?,
        n_embd: keys.size("n_embd", 768)?,
        n_head: keys.size("n_head", 12)?,
        n_positions: keys.size("n_positions", 512)?,
        vocab_size: keys.size("vocab_size", 40478)?,
        resid_pdrop: keys.number("resid_pdrop", 0.1)?,
        embd_pdrop: keys.number("embd_pdrop", 0.1)?,
        attn_pdrop: keys.number("attn_pdrop", 0.1)?,
        summary_first_dropout: keys.number("summary_first_dropout", 0.1)?,
        layer_norm_epsilon: keys.number("layer_norm_epsilon", 1e-5)?,
        initializer_range: keys.number("initializer_range", 0.02)?,
        task: keys.task()?,
        ..attention
    };
    config.validate().map_err(|error| in_file(path, error))?;
    Ok(config)
}

/// An error about a value, as an error about the file that holds it.
pub(super) fn in_file(path: &Path, error: Error) -> Error {
    let Error::Value(InvalidValue { name, found, expected, .. }) = error else { return error };
    let error = Error::file(path, found.unwrap_or_default()).at(name);
    expected.into_iter().fold(error, Error::expected)
}

/// A number in the shortest decimal form of its f32: 0.1, not 0.10000000149011612.
fn shortest(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Keys and other names that transformers accepts for them.
const ALIASES: [(&str, &str); 4] = [
    ("n_layer", "num_hidden_layers"),
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_positions", "max_position_embeddings"),
];

/// The keys of a config.json.
struct Keys<'a> {
    keys: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Keys<'a> {
    /// An error about a key's value, of which the first characters are shown.
    fn error(&self, key: &str, found: impl std::fmt::Display, expected: impl Into<String>) -> Error {
        let found: String = found.to_string().chars().take(80).collect();
        Error::file(self.path, found).at(key).expected(expected)
    }

    /// The value of a key, converted by `read`; `default` if the key is missing or null.
    fn get<T>(&self, key: &str, default: T, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T> {
        let alias = || ALIASES.iter().find(|alias| alias.0 == key).and_then(|alias| self.keys.get(alias.1));
        match self.keys.get(key).or_else(alias) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => read(value).ok_or_else(|| self.error(key, value, format!("must be {what}"))),
        }
    }

    fn text(&self, key: &str, default: &'a str) -> Result<&'a str> {
        self.get(key, default, "a string", Value::as_str)
    }

    fn size(&self, key: &str, default: usize) -> Result<usize> {
        self.get(key, default, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// One of some names. A name may be written as a number: 1.
    fn choice<T: std::str::FromStr>(&self, key: &str, default: T, names: &[&str]) -> Result<T> {
        let read = |v: &Value| v.as_str().map_or_else(|| v.to_string(), Into::into).parse().ok();
        self.get(key, default, &format!("one of {}", names.join(", ")), read)
    }

    /// The task of a fine-tuned model: the value of our key `task`, else that of transformers' class.
    fn task(&self) -> Result<Option<Task>> {
        let class = self.keys.get("architectures").and_then(|all| all[0].as_str()).unwrap_or_default();
        let class = class.strip_prefix("OpenAIGPT").unwrap_or_default();
        let named = [(CLASSIFICATION, TaskKind::Classify), (CHOICE, TaskKind::Choose)];
        let named = named.into_iter().find(|(name, _)| *name == class).map(|(_, kind)| kind);
        let read = |v: &Value| v.as_str().and_then(|name| name.parse().ok()).map(Some);
        let Some(kind) = self.get("task", named, &format!("one of {}", TaskKind::NAMES.join(", ")), read)? else {
            return Ok(None);
        };
        if kind == TaskKind::Choose {
            for (key, right) in summary() {
                let value = self.keys.get(key).unwrap_or(&right);
                if *value != right {
                    return Err(self.error(key, value, format!("must be {right}")));
                }
            }
            return Ok(Some(Task { kind, answers: Answers::Candidate }));
        }
        let labels = self.labels()?;
        let scores = if labels.len() == 1 { "regression" } else { "single_label_classification" };
        let answers = match self.text("problem_type", scores)? {
            "regression" if labels.len() == 1 => Answers::Score,
            "single_label_classification" => Answers::Labels(labels),
            other => {
                let found = format!("{other:?} with {} labels", labels.len());
                let expected = "must be \"single_label_classification\", or \"regression\" with one label";
                return Err(self.error("problem_type", found, expected));
            }
        };
        Ok(Some(Task { kind, answers }))
    }

    /// The labels in the order of their ids. transformers writes no key for its default, two labels without names.
    fn labels(&self) -> Result<Vec<String>> {
        let two = || (0..2).map(|id| format!("LABEL_{id}")).collect();
        let (value, names) = match self.keys.get("id2label") {
            None | Some(Value::Null) => return Ok(two()),
            Some(value) => (value, value.as_object()),
        };
        let in_order = |names: &Map<String, Value>| -> Option<Vec<String>> {
            let name = |id: usize| names.get(&id.to_string())?.as_str().map(String::from);
            (0..names.len()).map(name).collect()
        };
        let error = || self.error("id2label", value, "must be an object of labels with the ids 0, 1, 2, …");
        names.filter(|names| !names.is_empty()).and_then(in_order).ok_or_else(error)
    }

    fn number(&self, key: &str, default: f32) -> Result<f32> {
        self.get(key, default, "a number", |v| v.as_f64().map(|x| x as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ModelConfig> {
        from_json(json.as_bytes(), Path::new("config.json"))
    }

    #[test]
    fn written_configurations_are_read_back() {
        for name in ["nano", "mini", "gpt1"] {
            let mut config = ModelConfig::preset(name).expect("preset");
            config.resid_pdrop = 0.3;
            config.layer_norm_epsilon = 1e-6;
            let json = to_json(&config);
            assert_eq!(read(&json).expect("read"), config);
            assert!(json.contains(r#""model_type": "openai-gpt""#) && json.contains(r#""OpenAIGPTLMHeadModel""#));
            assert!(json.contains(r#""resid_pdrop": 0.3,"#) && !json.contains("attention_pattern"), "{json}");
            config.attention_pattern = "LF".into();
            config.local_block = 32;
            let json = to_json(&config);
            assert_eq!(read(&json).expect("read"), config);
            assert!(json.contains(r#""model_type": "wgpt""#) && json.contains(r#""WgptLMHeadModel""#));
        }
        let long = ModelConfig {
            attention_pattern: "LMLML".into(),
            kv_factor: 4,
            kv_groups: KvGroups::Head,
            kv_shared: true,
            kv_null: KvNull::Zero,
            kv_scale: KvScale::Width,
            ..Default::default()
        };
        assert_eq!(read(&to_json(&long)).expect("read"), long);
        let one = ModelConfig { attention_pattern: "M".into(), ..Default::default() };
        assert!(to_json(&one).contains(r#""kv_groups": 1,"#));
        assert_eq!(read(&to_json(&one)).expect("read"), one);
        let short = ModelConfig { n_layer: 1, attention_pattern: "FL".into(), ..Default::default() };
        assert!(to_json(&short).contains("openai-gpt"), "layer 1, which would be L, does not exist");
    }

    fn tuned(kind: TaskKind, answers: Answers) -> ModelConfig {
        ModelConfig { vocab_size: 515, task: Some(Task { kind, answers }), ..Default::default() }
    }

    fn words(words: &[&str]) -> Answers {
        Answers::Labels(words.iter().map(|word| word.to_string()).collect())
    }

    #[test]
    fn written_tasks_are_read_back() {
        let many: Vec<String> = (0..12).map(|i| format!("word {i}")).collect();
        for (kind, answers, class, has_class) in [
            (TaskKind::Classify, words(&["0", "1"]), "ForSequenceClassification", true),
            (TaskKind::Classify, Answers::Score, "ForSequenceClassification", true),
            (TaskKind::Entail, Answers::Labels(many), "ForSequenceClassification", true),
            (TaskKind::Choose, Answers::Candidate, "DoubleHeadsModel", true),
            (TaskKind::Similar, Answers::Score, "ForSimilarity", false),
            (TaskKind::Similar, words(&["no", "yes"]), "ForSimilarity", false),
        ] {
            let mut config = tuned(kind, answers);
            for pattern in ["F", "LF"] {
                config.attention_pattern = pattern.into();
                let json = to_json(&config);
                assert_eq!(read(&json).expect("read"), config, "{json}");
                let value: Value = serde_json::from_str(&json).expect("JSON");
                let (kind, prefix) =
                    if has_class && pattern == "F" { ("openai-gpt", "OpenAIGPT") } else { ("wgpt", "Wgpt") };
                assert_eq!(value["model_type"], kind);
                assert_eq!(value["architectures"], json!([format!("{prefix}{class}")]));
                assert_eq!(value["pad_token_id"], 512);
            }
        }
        let value: Value =
            serde_json::from_str(&to_json(&tuned(TaskKind::Classify, words(&["no", "yes"])))).expect("JSON");
        assert_eq!(
            (&value["task"], &value["problem_type"]),
            (&json!("classify"), &json!("single_label_classification"))
        );
        assert_eq!(
            (&value["id2label"], &value["label2id"]),
            (&json!({"0": "no", "1": "yes"}), &json!({"no": 0, "yes": 1}))
        );
        let value: Value = serde_json::from_str(&to_json(&tuned(TaskKind::Choose, Answers::Candidate))).expect("JSON");
        assert_eq!((&value["summary_type"], &value["id2label"]), (&json!("cls_index"), &json!({"0": "LABEL_0"})));
    }

    #[test]
    fn hugging_faces_classes_are_tasks() {
        let task = |json: &str| read(json).expect("read").task;
        let classify = |answers| Some(Task { kind: TaskKind::Classify, answers });
        let class = r#""architectures": ["OpenAIGPTForSequenceClassification"]"#;
        assert_eq!(task(&format!("{{{class}}}")), classify(words(&["LABEL_0", "LABEL_1"])));
        let labels = r#""id2label": {"1": "b", "0": "a", "2": "c"}"#;
        assert_eq!(task(&format!("{{{class}, {labels}}}")), classify(words(&["a", "b", "c"])));
        assert_eq!(task(&format!(r#"{{{class}, "id2label": {{"0": "LABEL_0"}}}}"#)), classify(Answers::Score));
        let choose = Some(Task { kind: TaskKind::Choose, answers: Answers::Candidate });
        assert_eq!(task(r#"{"architectures": ["OpenAIGPTDoubleHeadsModel"]}"#), choose);
        for other in [r#"["OpenAIGPTLMHeadModel"]"#, r#"["OpenAIGPTModel"]"#, "null", "[]", "7"] {
            assert_eq!(task(&format!(r#"{{"architectures": {other}, {labels}}}"#)), None);
        }
    }

    #[test]
    fn absent_keys_have_hugging_faces_defaults() {
        assert_eq!(read("{}").expect("read"), ModelConfig::preset("gpt1").expect("preset"));
        let config = read(r#"{"n_layer": 3, "n_ctx": null, "id2label": {"0": "a"}, "afn": null}"#).expect("read");
        assert_eq!(config.n_layer, 3);
        let aliases =
            r#"{"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 4, "max_position_embeddings": 9}"#;
        let config = read(aliases).expect("read");
        assert_eq!((config.n_layer, config.n_embd, config.n_head, config.n_positions), (2, 24, 4, 9));
    }

    #[test]
    fn errors_name_file_and_key() {
        for (json, message) in [
            (r#"{"n_layer": "two"}"#, "config.json: n_layer: \"two\": must be a whole number"),
            (r#"{"n_layer": -1}"#, "config.json: n_layer: -1: must be a whole number"),
            (r#"{"attn_pdrop": 1.5}"#, "config.json: attn_pdrop: 1.5: must be at least 0 and below 1"),
            (r#"{"n_head": 5}"#, "config.json: n_embd: 768: must be divisible by n_head = 5"),
            (r#"{"model_type": "gpt2"}"#, "config.json: model_type: \"gpt2\": must be \"openai-gpt\" or \"wgpt\""),
            (r#"{"model_type": "wgpt", "kv_groups": 2}"#, "config.json: kv_groups: 2: must be one of 1, head, channel"),
            (
                r#"{"model_type": "wgpt", "kv_null": "none"}"#,
                "config.json: kv_null: \"none\": must be one of learned, zero",
            ),
            (r#"{"model_type": "wgpt", "kv_factor": 0}"#, "config.json: kv_factor: 0: must be 1 or more"),
            (
                r#"{"task": "translate"}"#,
                "config.json: task: \"translate\": must be one of classify, entail, similar, choose",
            ),
            (
                r#"{"task": "entail", "id2label": {"1": "a", "2": "b"}}"#,
                r#"config.json: id2label: {"1":"a","2":"b"}: must be an object of labels with the ids 0, 1, 2, …"#,
            ),
            (
                r#"{"task": "entail", "problem_type": "multi_label_classification"}"#,
                "config.json: problem_type: \"multi_label_classification\" with 2 labels: must be \"single_label_classification\", or \"regression\" with one label",
            ),
            (
                r#"{"task": "entail", "id2label": {"0": "a", "1": "a"}}"#,
                "config.json: labels of task entail: \"a\" twice: must be distinct",
            ),
            (
                r#"{"task": "choose", "summary_activation": "tanh"}"#,
                "config.json: summary_activation: \"tanh\": must be null",
            ),
            (r#"{"afn": "relu"}"#, "config.json: afn: \"relu\": must be \"gelu\""),
        ] {
            let error = read(json).expect_err(message);
            assert_eq!((error.to_string().as_str(), error.is_invalid_input()), (message, true));
        }
        for json in ["", "[]", "{\"n_layer\": 1"] {
            assert!(read(json).expect_err(json).to_string().starts_with("config.json: is not a JSON object"));
        }
        assert!(
            read(r#"{"model_type": "wgpt", "attention_pattern": "LX"}"#)
                .expect_err("X")
                .to_string()
                .contains("\"LX\": must be")
        );
    }
}
