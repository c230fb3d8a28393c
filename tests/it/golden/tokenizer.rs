//! Case j: the tokenizer of GPT-1.

use super::case::Case;
use crate::common::files::shared_data;
use serde_json::Value;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};

/// GPT-1's own files give Hugging Face's ids and texts exactly: returns 0, or infinity. None without GPT-1's vocabulary.
pub fn tokenizer(case: &Case) -> Option<f64> {
    let (vocabulary, merges) =
        (shared_data("gpt1-bpe/encoder_bpe_40000.json")?, shared_data("gpt1-bpe/vocab_40000.bpe")?);
    let tokenizer = Tokenizer::from_gpt1_files(&vocabulary, &merges).expect("GPT-1's vocabulary");
    let bytes = std::fs::read(case.folder.join("tokenizer.json")).expect("tokenizer.json");
    let texts: Value = serde_json::from_slice(&bytes).expect("JSON");
    let texts: Vec<&Value> =
        ["sentences", "paragraphs"].into_iter().flat_map(|key| texts[key].as_array().expect(key)).collect();
    let own = tokenizer.with_pretokenizer(Pretokenizer::OpenAi).expect("GPT-1's own pre-tokenizer");
    let (mut right, mut original, mut nearly) = (0, 0, 0);
    for text in &texts {
        let ids = tokenizer.encode(text["text"].as_str().expect("text")).expect("ids");
        let fast = &text["hf_fast"];
        let decoded = fast["decode"].as_str().is_none_or(|d| tokenizer.decode(&ids).expect("text") == d);
        match decoded && serde_json::json!(ids) == fast["ids"] {
            true => right += 1,
            false => println!("{}: {ids:?}, expected {}", text["text"], fast["ids"]),
        }
        let is_original = |ids: &[u32]| usize::from(serde_json::json!(ids) == text["openai_original"]["ids"]);
        original += is_original(&ids);
        nearly += is_original(&own.encode(text["text"].as_str().expect("text")).expect("ids"));
    }
    println!("{right} of {} texts as hf_fast, {original} as openai_original", texts.len());
    println!("with pretokenizer = \"openai\", {nearly} as openai_original");
    Some(if right == texts.len() && right > 0 { 0.0 } else { f64::INFINITY })
}
