//! Encoding a text block by block, with the bytes that each token covers.

use super::Tokenizer;
use super::token_bytes::{LONG, Totals};
use crate::Result;
use crate::data::block::Block;
use crate::data::chunk::CHUNK_BYTES;
use crate::data::parallel::map_shares;

/// An encoded block. The blocks of a text follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedBlock {
    /// Ids.
    pub ids: Vec<u32>,
    /// The bytes that each token covers, for [`TokenBytes`](super::token_bytes::TokenBytes); [`LONG`] where a byte cannot
    /// hold them.
    pub bytes: Vec<u8>,
    /// The ends of documents, in tokens from the beginning of the text.
    pub document_ends: Vec<u64>,
}

/// Encodes the blocks of a text in order.
#[derive(Debug)]
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    totals: Totals,
}

impl<'a> Encoder<'a> {
    /// At the beginning of a text.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Encoder { tokenizer, totals: Totals::default() }
    }

    /// Encodes the next block, on all CPU cores.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&mut self, block: Block<'_>) -> Result<EncodedBlock> {
        self.encode_in_chunks(CHUNK_BYTES, block)
    }

    fn encode_in_chunks(&mut self, chunk_bytes: usize, block: Block<'_>) -> Result<EncodedBlock> {
        let tokenizer = self.tokenizer;
        let chunks = block.chunks(chunk_bytes, tokenizer.is_splittable());
        let encoded = map_shares(&chunks, |chunks| {
            chunks
                .iter()
                .map(|chunk| Ok((tokenizer.encode_chunk(chunk.text)?, chunk.ends_document)))
                .collect::<Result<Vec<_>>>()
        });
        let mut out = EncodedBlock::default();
        for share in encoded {
            for (chunk, ends_document) in share? {
                for bytes in chunk.bytes {
                    // Text that no token covers, such as white space in `bert`, counts for the next token.
                    let bytes = std::mem::take(&mut self.totals.after) + bytes as u64;
                    let short = u8::try_from(bytes).ok().filter(|short| *short < LONG);
                    if short.is_none() {
                        self.totals.long.push((self.totals.tokens, bytes));
                    }
                    out.bytes.push(short.unwrap_or(LONG));
                    self.totals.tokens += 1;
                }
                self.totals.after += chunk.bytes_after as u64;
                out.ids.extend(chunk.ids);
                if ends_document {
                    out.document_ends.push(self.totals.tokens);
                }
            }
        }
        Ok(out)
    }

    /// The totals, at the end of the text.
    pub fn finish(self) -> Totals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::chunk;
    use crate::data::tokenizer::Pretokenizer;
    use crate::data::tokenizer::token_bytes::TokenBytes;
    use crate::philox::{Stream, Words};

    /// Words, white space of all kinds, combining accents: places where a wrong split would change ids.
    fn awkward_text(bytes: usize) -> String {
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
    fn small_blocks_and_chunks_give_the_ids_of_the_whole_text() {
        let text = awkward_text(20_000);
        for tokenizer in tokenizers(&text) {
            let whole = tokenizer.encode_chunk(&text).expect("encode");
            for size in [1, 3, 50, 1000] {
                let mut encoder = Encoder::new(&tokenizer);
                let (mut ids, mut bytes) = (Vec::new(), Vec::new());
                for part in chunk::split(&text, size * 3) {
                    let encoded =
                        encoder.encode_in_chunks(size, Block { text: part, document_ends: &[] }).expect("encode");
                    ids.extend(encoded.ids);
                    bytes.extend(encoded.bytes);
                }
                assert!(ids == whole.ids, "{tokenizer:?}, {size}");
                let covered = TokenBytes::new(bytes, encoder.finish());
                assert_eq!(covered.after(0), text.len() as u64, "{tokenizer:?}, {size}");
                let mut after = text.len() as u64;
                for (i, bytes) in whole.bytes.iter().enumerate() {
                    assert_eq!(covered.after(i), after, "{tokenizer:?}, {size}, token {i}");
                    after -= *bytes as u64;
                }
            }
        }
    }

    #[test]
    fn bert_tokens_end_where_the_counted_bytes_end() {
        // The text before the counted end of a token ends with that token.
        let text = "The  Cat sat; on\n\n the mat.   And\tthe DOG\u{e9}, too.  \n";
        let tokenizer = Tokenizer::train(text, 60, Pretokenizer::Bert).expect("train");
        let mut encoder = Encoder::new(&tokenizer);
        let encoded = encoder.encode(Block { text, document_ends: &[] }).expect("encode");
        let covered = TokenBytes::new(encoded.bytes, encoder.finish());
        for (i, id) in encoded.ids.iter().enumerate() {
            let token = tokenizer.decode(&[*id]).expect("decode");
            let end = text.len() - covered.after(i + 1) as usize;
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
        let encoded = encoder.encode_in_chunks(8, Block { text: &text, document_ends: &[] }).expect("encode");
        let totals = encoder.finish();
        assert_eq!((encoded.ids.len(), totals.long.len(), totals.after), (3, 2, 500));
        let covered = TokenBytes::new(encoded.bytes, totals);
        assert_eq!([0, 1, 2, 3].map(|i| covered.after(i)), [70_803, 70_802, 70_501, 500]);
    }

    #[test]
    fn documents_are_encoded_separately() {
        let texts = ["The cat", " sat ", "the\n", "cat"];
        let text = texts.concat();
        let ends: Vec<usize> = texts
            .iter()
            .scan(0, |at, t| {
                *at += t.len();
                Some(*at)
            })
            .collect();
        for tokenizer in tokenizers(&awkward_text(3000)) {
            let mut encoder = Encoder::new(&tokenizer);
            let encoded = encoder.encode_in_chunks(1, Block { text: &text, document_ends: &ends }).expect("encode");
            let each = texts.map(|text| tokenizer.encode(text).expect("encode"));
            assert_eq!(encoded.ids, each.concat());
            let lengths: Vec<usize> = each
                .iter()
                .scan(0, |at, ids| {
                    *at += ids.len();
                    Some(*at)
                })
                .collect();
            assert!(encoded.document_ends.iter().copied().eq(lengths.iter().map(|n| *n as u64)));
        }
    }
}
