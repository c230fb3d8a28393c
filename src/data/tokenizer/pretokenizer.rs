//! The pipelines that split a text into words before merges are applied.

use super::openai;
use crate::config::choice;
use serde_json::{Value, json};

choice! {
    /// How a text is split into words before merges are applied.
    Pretokenizer {
        /// GPT-2's ByteLevel: decoding gives the exact text, and no token is unknown.
        Bytes = "bytes",
        /// GPT-1's in Hugging Face, BertNormalizer and BertPreTokenizer: lower case, white space is lost.
        Bert = "bert",
        /// GPT-1's own, as far as a few rules can follow it: "don't" is "do" and "n't", "Mrs." is one word, a line break
        /// is a word.
        OpenAi = "openai",
    }
}

impl Pretokenizer {
    /// All pipelines.
    pub const ALL: [Pretokenizer; 3] = [Pretokenizer::Bytes, Pretokenizer::Bert, Pretokenizer::OpenAi];

    /// Whether the last symbol of a word is marked as the last one. Such a vocabulary has an unknown token.
    pub fn marks_word_ends(self) -> bool {
        self != Pretokenizer::Bytes
    }

    /// The part `normalizer` of tokenizer.json: what is done to a text before it is split.
    pub(super) fn normalizer(self) -> Value {
        match self {
            Pretokenizer::Bytes => Value::Null,
            Pretokenizer::Bert => json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true}),
            Pretokenizer::OpenAi => openai::normalizer(),
        }
    }

    /// The part `pre_tokenizer` of tokenizer.json: how a text is split.
    pub(super) fn pre_tokenizer(self) -> Value {
        match self {
            Pretokenizer::Bytes => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
            }
            Pretokenizer::Bert => json!({"type": "BertPreTokenizer"}),
            Pretokenizer::OpenAi => openai::pre_tokenizer(),
        }
    }
}
