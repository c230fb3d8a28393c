//! Encoding and decoding with the tokenizers crate.

use super::json::{self, FILE_NAME};
use super::task::{self, TaskTokens};
use crate::data::block::Block;
use crate::data::chunk::CHUNK_BYTES;
use crate::data::parallel::map_shares;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The tokenizers crate's form of a tokenizer.json.
#[derive(Clone)]
pub(super) struct Codec {
    /// With all tokens; decodes.
    all: Arc<tokenizers::Tokenizer>,
    /// Encodes. Without the tokens of fine-tuning, whose names in a text are ordinary text.
    text: Arc<tokenizers::Tokenizer>,
}

impl Codec {
    /// Reads a tokenizer.json that passed the check.
    pub(super) fn new(
        mut value: Value,
        task_tokens: Option<TaskTokens>,
        vocab_size: usize,
        path: &Path,
    ) -> Result<Self> {
        json::clear_unused(&mut value);
        let parse = |value: &Value| -> Result<Arc<tokenizers::Tokenizer>> {
            let wrong = |e| Error::file(path, format!("the tokenizers crate cannot read it: {e}"));
            Ok(Arc::new(tokenizers::Tokenizer::from_bytes(value.to_string()).map_err(wrong)?))
        };
        let text = task_tokens.map(|_| parse(&task::without(&value))).transpose()?;
        if let Some(tokens) = task_tokens {
            value["post_processor"] = tokens.post_processor();
        }
        let all = parse(&value)?;
        match (0..vocab_size as u32).find(|id| all.id_to_token(*id).is_none()) {
            Some(id) => Err(Error::file(path, format!("no token has id {id}")).expected("expected ids without a gap")),
            None => Ok(Codec { text: text.unwrap_or_else(|| all.clone()), all }),
        }
    }

    pub(super) fn to_json(&self) -> Result<String> {
        self.all.to_string(true).map_err(|e| Error::file(FILE_NAME, format!("could not be written: {e}")))
    }

    /// The ids of a text, encoded in chunks on all CPU cores if it is `splittable`.
    pub(super) fn encode(&self, text: &str, splittable: bool) -> Result<Vec<u32>> {
        let chunks = Block { text, document_ends: &[] }.chunks(CHUNK_BYTES, splittable);
        let encoded = map_shares(&chunks, |chunks| -> Result<Vec<u32>> {
            let mut ids = Vec::new();
            for chunk in chunks {
                let encoding = self.text.encode_fast(chunk.text, false);
                ids.extend_from_slice(encoding.map_err(|e| not_encoded(chunk.text, &e))?.get_ids());
            }
            Ok(ids)
        });
        Ok(encoded.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// The ids of a chunk of text, and the bytes that each token covers.
    pub(super) fn encode_chunk(&self, text: &str) -> Result<EncodedChunk> {
        let encoding = self.text.encode(text, false).map_err(|e| not_encoded(text, &e))?;
        let (mut bytes, mut end) = (Vec::with_capacity(encoding.len()), 0);
        for (_, to) in encoding.get_offsets() {
            bytes.push(to.saturating_sub(end));
            end = end.max(*to);
        }
        Ok(EncodedChunk { ids: encoding.get_ids().to_vec(), bytes, bytes_after: text.len() - end })
    }

    /// The text of ids that are in the vocabulary.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        if ids.is_empty() {
            // The crate's decoder for words that end in `</w>` takes the last of no tokens and panics.
            return Ok(String::new());
        }
        let failed = |e| Error::value("ids", format!("{} ids", ids.len()), format!("could not be decoded: {e}"));
        self.all.decode(ids, false).map_err(failed)
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.all.token_to_id(token)
    }
}

/// An encoded chunk of text, with the bytes of the text that each token covers.
pub(super) struct EncodedChunk {
    pub ids: Vec<u32>,
    /// Bytes from the end of the token before to the end of each token.
    pub bytes: Vec<usize>,
    /// Bytes after the last token.
    pub bytes_after: usize,
}

fn not_encoded(text: &str, e: &tokenizers::Error) -> Error {
    Error::value("text", format!("{} bytes", text.len()), format!("could not be encoded: {e}"))
}
