//! Tests of [`Tokenizer`] with the tokenizers crate.

use super::task::{self, TaskTokens};
use super::{Pretokenizer, Tokenizer, UNKNOWN};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

const TEXT: &str = "The cat sat. The dog, the cat and the hat: that's that!\n\nThe end  of the\tcat's day.\n";

fn bytes() -> Tokenizer {
    Tokenizer::train(&TEXT.repeat(3), 280, Pretokenizer::Bytes).expect("train")
}

fn bert() -> Tokenizer {
    Tokenizer::train(TEXT, 80, Pretokenizer::Bert).expect("train")
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in any::<String>()) {
        let tokenizer = bytes();
        let ids = tokenizer.encode(&text).expect("encode");
        prop_assert_eq!(tokenizer.decode(&ids).expect("decode"), text);
    }
}

#[test]
fn a_vocabulary_is_the_alphabet_and_then_merges() {
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
fn a_written_tokenizer_reads_back_the_same() {
    let openai = bert().with_pretokenizer(Pretokenizer::OpenAi).expect("openai");
    for tokenizer in [bytes(), bert(), openai] {
        let json = tokenizer.to_json().expect("write");
        let back = Tokenizer::from_json(json.as_bytes(), Path::new("t.json")).expect("read");
        assert_eq!(back.to_json().expect("write"), json);
        assert_eq!(back.encode(TEXT).expect("encode"), tokenizer.encode(TEXT).expect("encode"));
        assert_eq!((back.vocab_size(), back.pretokenizer()), (tokenizer.vocab_size(), tokenizer.pretokenizer()));
        assert!(back.is_splittable());
    }
}

#[test]
fn other_rules_are_refused() {
    let own = bert().with_pretokenizer(Pretokenizer::OpenAi).expect("openai");
    let mut value: Value = serde_json::from_str(&own.to_json().expect("write")).expect("json");
    let splits = value["pre_tokenizer"]["pretokenizers"].as_array_mut().expect("splits");
    splits.retain(|split| !split["pattern"]["Regex"].as_str().expect("a pattern").contains("n't"));
    let refused = |value: &Value, message: &str| {
        let error = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect_err(message);
        assert!(error.is_invalid_input() && error.to_string().contains(message), "{error}");
    };
    refused(&value, "other regular expressions are not used");
    // One that takes exponential time.
    value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(?:(?:a|a)*)*(?=b)".into();
    refused(&value, "other regular expressions are not used");
    let mut value: Value = serde_json::from_str(&own.to_json().expect("write")).expect("json");
    value["normalizer"]["normalizers"][0]["pattern"]["Regex"] = "(a|a)*$".into();
    refused(&value, "expected that of pretokenizer");
    value["normalizer"] = Value::Null;
    refused(&value, "normalizer: null: expected that of pretokenizer");
    let error = bert().with_pretokenizer(Pretokenizer::Bytes).expect_err("bytes");
    assert!(error.to_string().contains("expected \"bert\""), "{error}");
}

#[test]
fn the_error_about_a_small_vocabulary_names_the_least_size() {
    let error = Tokenizer::train(TEXT, 255, Pretokenizer::Bytes).expect_err("255");
    assert!(error.to_string().contains("expected at least 256"), "{error}");
    let error = Tokenizer::train("abc ab", 6, Pretokenizer::Bert).expect_err("6");
    assert!(
        error.to_string().ends_with("expected at least 7, for <unk> and two forms of each of the text's 3 characters"),
        "{error}"
    );
    assert!(Tokenizer::train("abc ab", 7, Pretokenizer::Bert).is_ok());
    assert_eq!(Tokenizer::train("", 256, Pretokenizer::Bytes).expect("no text").vocab_size(), 256);
    assert!("word".parse::<Pretokenizer>().expect_err("word").to_string().contains("bytes, bert, openai"));
}

#[test]
fn ids_beyond_the_vocabulary_are_refused() {
    let error = bytes().decode(&[5, 280]).expect_err("280");
    assert_eq!(error.to_string(), "id = 280: expected less than vocab_size = 280");
}

#[test]
fn invalid_files_are_refused() {
    let good: Value = serde_json::from_str(&bert().to_json().expect("write")).expect("json");
    type Damage = fn(&mut Value);
    let damages: [(&str, Damage); 12] = [
        ("model.merges[0]: [\"zz\",\"y\"]: expected \"zz\" in model.vocab", |v| {
            v["model"]["merges"][0] = json!(["zz", "y"])
        }),
        ("in model.vocab", |v| v["model"]["merges"][0] = json!(["<unk>", "<unk>"])),
        ("expected two tokens", |v| v["model"]["merges"][0] = json!("a b c")),
        ("expected two tokens", |v| v["model"]["merges"][0] = json!(7)),
        ("expected ids from 0 to", |v| v["model"]["vocab"]["a"] = json!(4_000_000_000u32)),
        ("expected ids from 0 to", |v| v["model"]["vocab"]["a"] = json!(-1)),
        ("expected each id once", |v| v["model"]["vocab"]["a"] = json!(0)),
        ("expected null", |v| v["model"]["continuing_subword_prefix"] = json!("##long prefix")),
        ("expected null", |v| v["model"]["dropout"] = json!(0.5)),
        ("model.unk_token: \"[UNK]\": expected a token of model.vocab", |v| v["model"]["unk_token"] = json!("[UNK]")),
        ("expected id 0", |v| v["added_tokens"][0]["id"] = json!(1000)),
        ("expected ByteLevel", |v| v["pre_tokenizer"] = json!({"type": "Whitespace"})),
    ];
    for (expected, damage) in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        let error = Tokenizer::from_json(bad.to_string().as_bytes(), Path::new("t.json")).expect_err(expected);
        assert!(error.to_string().starts_with("t.json: ") && error.to_string().contains(expected), "{error}");
        assert!(error.is_invalid_input());
    }
    let text = good.to_string();
    for length in [0, 1, text.len() / 2, text.len() - 1] {
        assert!(Tokenizer::from_json(&text.as_bytes()[..length], Path::new("t.json")).is_err());
    }
    assert!(Tokenizer::from_json(b"[]", Path::new("t.json")).is_err());
}

#[test]
fn truncation_in_a_file_is_ignored_and_added_tokens_count() {
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

const CATS: &str = "the cat sat on the mat, the cat and the hat";
const NAMES: &str = "a _start_ b _delimiter_c_classify_ <unused274> <unk>";

fn bytes_and_bert() -> [Tokenizer; 2] {
    [(280, Pretokenizer::Bytes), (60, Pretokenizer::Bert)]
        .map(|(size, kind)| Tokenizer::train(&CATS.repeat(2), size, kind).expect("train"))
}

fn task_tokens(start: u32) -> TaskTokens {
    TaskTokens { start, delimiter: start + 1, extract: start + 2 }
}

#[test]
fn no_text_is_encoded_to_task_tokens() {
    for tokenizer in bytes_and_bert() {
        let v = tokenizer.vocab_size();
        let tuned = tokenizer.with_task_tokens(v).expect("tokens");
        assert_eq!((tuned.vocab_size(), tuned.task_tokens()), (v + 3, Some(task_tokens(v as u32))));
        assert_eq!(tuned.id("_classify_"), Some(v as u32 + 2));
        for text in [CATS, NAMES, "_start_", ""] {
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
fn task_tokens_follow_the_ids_of_the_model() {
    for tokenizer in bytes_and_bert() {
        let v = tokenizer.vocab_size();
        let tuned = tokenizer.with_task_tokens(v + 5).expect("tokens");
        assert_eq!((tuned.vocab_size(), tuned.task_tokens()), (v + 8, Some(task_tokens(v as u32 + 5))));
        assert_eq!(tuned.id("_start_"), Some(v as u32 + 5));
        assert_eq!(tuned.decode(&[v as u32 + 4]).expect("text"), format!("<unused{}>", v + 4));
        for text in [NAMES.to_string(), format!("<unused{v}><unused{}>", v + 4)] {
            assert_eq!(tuned.encode(&text).expect("ids"), tokenizer.encode(&text).expect("ids"));
        }
        let again = tuned.with_task_tokens(v + 8).expect("tokens");
        assert_eq!((again.vocab_size(), again.task_tokens()), (v + 8, tuned.task_tokens()), "not added twice");
        let error = tokenizer.with_task_tokens(v - 1).expect_err("too few").to_string();
        assert_eq!(error, format!("vocab_size = {}: expected the tokenizer's {v} ids or more", v - 1));
    }
}

#[test]
fn task_tokens_are_written_and_read() {
    for tokenizer in bytes_and_bert() {
        for extra in [0, 4] {
            let tuned = tokenizer.with_task_tokens(tokenizer.vocab_size() + extra).expect("tokens");
            let json = tuned.to_json().expect("json");
            let back = Tokenizer::from_json(json.as_bytes(), Path::new("t.json")).expect("read");
            assert_eq!(back.to_json().expect("json"), json);
            assert_eq!((back.task_tokens(), back.vocab_size()), (tuned.task_tokens(), tuned.vocab_size()));
            assert_eq!(back.encode(NAMES).expect("ids"), tokenizer.encode(NAMES).expect("ids"));
            assert!(back.is_splittable());
            let config = back.tokenizer_config_json(8);
            assert!(config.contains(r#""pad_token": "_start_""#), "{config}");
        }
    }
}

#[test]
fn a_token_with_the_name_of_a_task_token_is_refused() {
    let [tokenizer, _] = bytes_and_bert();
    let v = tokenizer.vocab_size();
    let mut value: Value = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("json");
    task::add(&mut value, v, "_delimiter_");
    let odd = Tokenizer::from_json(value.to_string().as_bytes(), Path::new("t.json")).expect("read");
    assert_eq!((odd.task_tokens(), odd.id("_delimiter_")), (None, Some(v as u32)));
    let error = odd.with_task_tokens(v + 1).expect_err("taken").to_string();
    assert_eq!(error, "tokenizer = a token \"_delimiter_\": expected none of this name before fine-tuning");
}
