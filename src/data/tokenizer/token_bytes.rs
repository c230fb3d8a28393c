//! The bytes of a text that each token covers. They are counted while the text is encoded, because the ids of `bert` and
//! `openai` do not give the text back.

use crate::data::shared_slice::SharedSlice;
use std::sync::Arc;

/// In place of a byte count that a byte cannot hold.
pub const LONG: u8 = u8::MAX;

/// What is known about a text when all of it is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Tokens.
    pub tokens: u64,
    /// Tokens that cover [`LONG`] bytes or more, ascending, each with its bytes.
    pub long: Vec<(u64, u64)>,
    /// Bytes after the last token.
    pub after: u64,
}

/// The bytes of a text that each token covers: from the end of the token before to its own end.
#[derive(Clone, Debug)]
pub struct TokenBytes {
    bytes: SharedSlice<u8>,
    totals: Arc<Totals>,
}

impl TokenBytes {
    /// From the byte counts of all blocks, one after another, and the totals.
    pub fn new(bytes: impl Into<SharedSlice<u8>>, totals: Totals) -> Self {
        TokenBytes { bytes: bytes.into(), totals: Arc::new(totals) }
    }

    /// UTF-8 bytes of the text after its first `tokens` tokens.
    pub fn after(&self, tokens: usize) -> u64 {
        let short = self.bytes.get(tokens..).unwrap_or_default().iter();
        let short: u64 = short.filter(|bytes| **bytes < LONG).map(|bytes| u64::from(*bytes)).sum();
        let long = &self.totals.long;
        let long: u64 = long[long.partition_point(|(token, _)| *token < tokens as u64)..].iter().map(|(_, n)| n).sum();
        short + long + self.totals.after
    }
}
