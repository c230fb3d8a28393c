//! config.json: the model's numbers as Hugging Face keeps them.
//!
//! A pattern of full attention alone is `openai-gpt`, which transformers loads. Anything else says `wgpt`: transformers
//! would load it as full attention without a word, and so refuses it.

use crate::config::{KvGroups, KvNull, KvScale, ModelConfig};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The text of config.json.
pub fn to_json(config: &ModelConfig) -> String {
    let full = config.is_all_full();
    let mut json = json!({
        "model_type": if full { "openai-gpt" } else { "wgpt" },
        "architectures": [if full { "OpenAIGPTLMHeadModel" } else { "WgptLMHeadModel" }],
        "afn": "gelu",
        "n_layer": config.n_layer,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_positions": config.n_positions,
        "n_ctx": config.n_positions,
        "vocab_size": config.vocab_size,
        "resid_pdrop": short(config.resid_pdrop),
        "embd_pdrop": short(config.embd_pdrop),
        "attn_pdrop": short(config.attn_pdrop),
        "summary_first_dropout": short(config.summary_first_dropout),
        "layer_norm_epsilon": short(config.layer_norm_epsilon),
        "initializer_range": short(config.initializer_range),
        "tie_word_embeddings": true,
    });
    if !full {
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
    format!("{json:#}\n")
}

/// Reads config.json; `path` only names it in errors. Keys that are absent have Hugging Face's defaults, keys that are
/// not known are ignored.
///
/// # Errors
/// [`Error::Input`] naming the file and the key.
pub fn from_json(bytes: &[u8], path: &Path) -> Result<ModelConfig> {
    let bad = |message: String| Error::file(path, message);
    let keys: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|e| bad(format!("not a JSON object of keys: {e}")))?;
    let keys = Keys { keys: &keys, path };
    let kind = keys.text("model_type", "openai-gpt")?;
    if !["openai-gpt", "wgpt"].contains(&kind) {
        return Err(bad(format!("model_type is {kind:?}: must be \"openai-gpt\" or \"wgpt\"")));
    }
    // transformers calls the tanh form "gelu" in this model and "gelu_new" elsewhere.
    let activation = keys.text("afn", "gelu")?;
    if !["gelu", "gelu_new"].contains(&activation) {
        return Err(bad(format!("afn is {activation:?}: must be \"gelu\"")));
    }
    let ours = ModelConfig::default();
    let long = match kind {
        "wgpt" => ModelConfig {
            attention_pattern: keys.text("attention_pattern", "F")?.to_string(),
            local_block: keys.size("local_block", ours.local_block)?,
            kv_factor: keys.size("kv_factor", ours.kv_factor)?,
            kv_groups: keys.choice("kv_groups", ours.kv_groups, KvGroups::NAMES)?,
            kv_shared: keys.get("kv_shared", ours.kv_shared, "true or false", Value::as_bool)?,
            kv_null: keys.choice("kv_null", ours.kv_null, KvNull::NAMES)?,
            kv_scale: keys.choice("kv_scale", ours.kv_scale, KvScale::NAMES)?,
            ..ours
        },
        _ => ours,
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
        ..long
    };
    config.validate().map_err(|e| bad(e.to_string()))?;
    Ok(config)
}

/// A number in as few digits as bring the same f32 back: 0.1, not 0.10000000149011612.
fn short(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Names that transformers takes for the same keys.
const ALIASES: [(&str, &str); 4] = [
    ("n_layer", "num_hidden_layers"),
    ("n_embd", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_positions", "max_position_embeddings"),
];

struct Keys<'a> {
    keys: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Keys<'a> {
    /// A key's value by `read`; null is as good as absent.
    fn get<T>(&self, key: &str, default: T, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T> {
        let alias = || ALIASES.iter().find(|alias| alias.0 == key).and_then(|alias| self.keys.get(alias.1));
        match self.keys.get(key).or_else(alias) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => {
                read(value).ok_or_else(|| Error::file(self.path, format!("{key} is {value}: must be {what}")))
            }
        }
    }

    fn text(&self, key: &str, default: &'static str) -> Result<&'a str> {
        self.get(key, default, "a string", Value::as_str)
    }

    fn size(&self, key: &str, default: usize) -> Result<usize> {
        self.get(key, default, "a whole number", |v| v.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    /// One of some names, the number 1 among them or not.
    fn choice<T: std::str::FromStr>(&self, key: &str, default: T, names: &[&str]) -> Result<T> {
        let read = |v: &Value| v.as_str().map_or_else(|| v.to_string(), Into::into).parse().ok();
        self.get(key, default, &format!("one of {}", names.join(", ")), read)
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
    fn configs_go_out_and_in() {
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
        assert!(to_json(&short).contains("openai-gpt"), "the L is never reached");
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
        for (json, says) in [
            (r#"{"n_layer": "two"}"#, "config.json: n_layer is \"two\": must be a whole number"),
            (r#"{"n_layer": -1}"#, "config.json: n_layer is -1: must be a whole number"),
            (r#"{"attn_pdrop": 1.5}"#, "config.json: attn_pdrop = 1.5: a dropout rate is at least 0 and below 1"),
            (r#"{"n_head": 5}"#, "config.json: n_embd = 768 is not divisible by n_head = 5"),
            (r#"{"model_type": "gpt2"}"#, "config.json: model_type is \"gpt2\": must be \"openai-gpt\" or \"wgpt\""),
            (
                r#"{"model_type": "wgpt", "kv_groups": 2}"#,
                "config.json: kv_groups is 2: must be one of 1, head, channel",
            ),
            (
                r#"{"model_type": "wgpt", "kv_null": "none"}"#,
                "config.json: kv_null is \"none\": must be one of learned, zero",
            ),
            (r#"{"model_type": "wgpt", "kv_factor": 0}"#, "config.json: kv_factor = 0: must be 1 or more"),
            (r#"{"afn": "relu"}"#, "config.json: afn is \"relu\": must be \"gelu\""),
        ] {
            let error = read(json).expect_err(says);
            assert_eq!((error.to_string().as_str(), error.exit_code()), (says, 2));
        }
        for json in ["", "[]", "{\"n_layer\": 1"] {
            assert!(read(json).expect_err(json).to_string().starts_with("config.json: not a JSON object"));
        }
        assert!(
            read(r#"{"model_type": "wgpt", "attention_pattern": "LX"}"#).expect_err("X").to_string().contains("'X'")
        );
    }
}
