//! A text to ids, block by block, with the bytes that each token stands for: ids of `bert` do not give the text back, so
//! its bytes must be counted where it is read.

use super::Tokenizer;
use crate::Result;
use crate::data::pieces::{Block, PIECE, on_threads};
use crate::data::shared::Shared;
use std::sync::Arc;

/// What a block's text gave. It goes behind what the blocks before gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Ids.
    pub ids: Vec<u32>,
    /// A byte an id, for [`Extents`].
    pub bytes: Vec<u8>,
    /// Where documents end, in tokens of the whole text.
    pub ends: Vec<u64>,
}

/// What is known of a text when all of it is encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Tokens.
    pub tokens: u64,
    /// Tokens that stand for [`LONG`] bytes or more, ascending, each with its bytes.
    pub long: Vec<(u64, u64)>,
    /// Bytes behind the last token.
    pub after: u64,
}

/// What a token's byte cannot say.
pub const LONG: u8 = u8::MAX;

/// Encodes blocks that follow one another.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    totals: Totals,
}

impl<'a> Encoder<'a> {
    /// At a text's beginning.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Encoder { tokenizer, totals: Totals::default() }
    }

    /// Encodes the next block on all threads.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&mut self, block: Block<'_>) -> Result<Encoded> {
        self.encode_in(PIECE, block)
    }

    fn encode_in(&mut self, piece: usize, block: Block<'_>) -> Result<Encoded> {
        let tokenizer = self.tokenizer;
        let pieces = block.pieces(piece, tokenizer.is_cuttable());
        let encoded = on_threads(&pieces, |pieces| {
            pieces
                .iter()
                .map(|piece| Ok((tokenizer.encode_measured(piece.text)?, piece.ends)))
                .collect::<Result<Vec<_>>>()
        });
        let mut out = Encoded::default();
        for run in encoded {
            for (measured, ends) in run? {
                for bytes in measured.bytes {
                    // What no token stands for, such as white space in `bert`, belongs to the token behind it.
                    let bytes = std::mem::take(&mut self.totals.after) + bytes as u64;
                    let short = u8::try_from(bytes).ok().filter(|short| *short < LONG);
                    if short.is_none() {
                        self.totals.long.push((self.totals.tokens, bytes));
                    }
                    out.bytes.push(short.unwrap_or(LONG));
                    self.totals.tokens += 1;
                }
                self.totals.after += measured.after as u64;
                out.ids.extend(measured.ids);
                if ends {
                    out.ends.push(self.totals.tokens);
                }
            }
        }
        Ok(out)
    }

    /// The text is at its end.
    pub fn finish(self) -> Totals {
        self.totals
    }
}

/// The bytes of a text that its tokens stand for: each from the end of the token before it to its own.
#[derive(Clone, Debug)]
pub struct Extents {
    bytes: Shared<u8>,
    totals: Arc<Totals>,
}

impl Extents {
    /// Of the bytes of every block, one behind the other, and the totals.
    pub fn new(bytes: impl Into<Shared<u8>>, totals: Totals) -> Self {
        Extents { bytes: bytes.into(), totals: Arc::new(totals) }
    }

    /// UTF-8 bytes of the text behind its first `tokens` tokens.
    pub fn behind(&self, tokens: usize) -> u64 {
        let short = self.bytes.get(tokens..).unwrap_or_default().iter();
        let short: u64 = short.filter(|bytes| **bytes < LONG).map(|bytes| u64::from(*bytes)).sum();
        let long = &self.totals.long;
        let long: u64 = long[long.partition_point(|(token, _)| *token < tokens as u64)..].iter().map(|(_, n)| n).sum();
        short + long + self.totals.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::pieces;
    use crate::data::tokenizer::Pretokenizer;
    use crate::philox::{Stream, Words};

    /// Words, white space of all kinds, accents that combine: what pieces could be cut wrongly at.
    fn awkward(bytes: usize) -> String {
        let mut text = String::new();
        let mut random = Words::new(4, Stream::Sampling, 0, 0);
        let parts = [
            "the", "cat's", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u{a0}", "\u{3000}", "é", "e\u{301}", "\u{301}",
            "12", "'", "中文", "🐈", "\u{0}", "\u{200d}", "don't", "\x07", "\x0b", "\x1b[0m", "\u{85}", "\u{feff}",
            "\u{2028}", "\r", "…", ".", "ΑΣ",
        ];
        while text.len() < bytes {
            text.push_str(parts[random.below(parts.len() as u32) as usize]);
        }
        text
    }

    fn tokenizers(text: &str) -> [Tokenizer; 3] {
        Pretokenizer::ALL.map(|p| Tokenizer::train(text, 400, p).expect("train"))
    }

    #[test]
    fn tiny_blocks_and_pieces_give_the_ids_of_the_whole() {
        let text = awkward(20_000);
        for tokenizer in tokenizers(&text) {
            let whole = tokenizer.encode_measured(&text).expect("encode");
            for size in [1, 3, 50, 1000] {
                let mut encoder = Encoder::new(&tokenizer);
                let (mut ids, mut bytes) = (Vec::new(), Vec::new());
                for part in pieces::cut(&text, size * 3) {
                    let encoded = encoder.encode_in(size, Block { text: part, ends: &[] }).expect("encode");
                    ids.extend(encoded.ids);
                    bytes.extend(encoded.bytes);
                }
                assert!(ids == whole.ids, "{tokenizer:?}, {size}");
                let extents = Extents::new(bytes, encoder.finish());
                assert_eq!(extents.behind(0), text.len() as u64, "{tokenizer:?}, {size}");
                let mut behind = text.len() as u64;
                for (i, bytes) in whole.bytes.iter().enumerate() {
                    assert_eq!(extents.behind(i), behind, "{tokenizer:?}, {size}, token {i}");
                    behind -= *bytes as u64;
                }
            }
        }
    }

    #[test]
    fn the_text_behind_a_token_gives_the_tokens_behind_it() {
        // Where a token of `bert` ends, the text behind it is known: it has the other tokens.
        let text = "The  Cat sat; on\n\n the mat.   And\tthe DOG\u{e9}, too.  \n";
        let tokenizer = Tokenizer::train(text, 60, Pretokenizer::Bert).expect("train");
        let mut encoder = Encoder::new(&tokenizer);
        let encoded = encoder.encode(Block { text, ends: &[] }).expect("encode");
        let extents = Extents::new(encoded.bytes, encoder.finish());
        for (i, id) in encoded.ids.iter().enumerate() {
            let token = tokenizer.decode(&[*id]).expect("decode");
            let end = text.len() - extents.behind(i + 1) as usize;
            assert!(
                text[..end].to_lowercase().replace('é', "e").ends_with(token.trim()),
                "token {i} {token:?} ends {:?}",
                &text[..end]
            );
        }
    }

    #[test]
    fn long_runs_of_white_space_are_counted() {
        let text = format!("a{}b{}c{}", " ".repeat(300), "\n".repeat(70_000), " ".repeat(500));
        let tokenizer = Tokenizer::train(&text, 10, Pretokenizer::Bert).expect("train");
        let mut encoder = Encoder::new(&tokenizer);
        let encoded = encoder.encode_in(8, Block { text: &text, ends: &[] }).expect("encode");
        let totals = encoder.finish();
        assert_eq!((encoded.ids.len(), totals.long.len(), totals.after), (3, 2, 500));
        let extents = Extents::new(encoded.bytes, totals);
        assert_eq!([0, 1, 2, 3].map(|i| extents.behind(i)), [70_803, 70_802, 70_501, 500]);
    }

    #[test]
    fn documents_are_encoded_on_their_own() {
        let texts = ["The cat", " sat ", "the\n", "cat"];
        let text = texts.concat();
        let ends: Vec<usize> = texts
            .iter()
            .scan(0, |at, t| {
                *at += t.len();
                Some(*at)
            })
            .collect();
        for tokenizer in tokenizers(&awkward(3000)) {
            let mut encoder = Encoder::new(&tokenizer);
            let encoded = encoder.encode_in(1, Block { text: &text, ends: &ends }).expect("encode");
            let each = texts.map(|text| tokenizer.encode(text).expect("encode"));
            assert_eq!(encoded.ids, each.concat());
            let lengths: Vec<usize> = each
                .iter()
                .scan(0, |at, ids| {
                    *at += ids.len();
                    Some(*at)
                })
                .collect();
            assert!(encoded.ends.iter().copied().eq(lengths.iter().map(|n| *n as u64)));
        }
    }
}
