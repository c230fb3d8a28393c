//! Chunks of a block, for work on all CPU cores.

use super::block::{Block, LONGEST_RUN, next_split};

/// Bytes of text in a chunk.
pub(super) const CHUNK_BYTES: usize = 1 << 15;

/// A part of a block, from one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub text: &'a str,
    /// Whether its document ends with it.
    pub ends_document: bool,
}

impl<'a> Block<'a> {
    /// Chunks of about `size` bytes, each from one document. If the text is not `splittable`, a chunk is a whole document.
    pub(super) fn chunks(&self, size: usize, splittable: bool) -> Vec<Chunk<'a>> {
        let mut chunks = Vec::with_capacity(self.text.len() / size + self.document_ends.len() + 1);
        let mut start = 0;
        let ends = self.document_ends.iter().map(|end| (*end, true)).chain([(self.text.len(), false)]);
        for (end, ends_document) in ends {
            let document = &self.text[start..end];
            let texts = if splittable { split(document, size) } else { vec![document] };
            chunks.extend(texts.into_iter().map(|text| Chunk { text, ends_document: false }));
            if let Some(last) = chunks.last_mut() {
                last.ends_document = ends_document;
            }
            start = end;
        }
        chunks
    }
}

/// Splits a text, which begins at a split point, into parts of `size` bytes or a little more.
pub(super) fn split(text: &str, size: usize) -> Vec<&str> {
    split_runs(text, size, LONGEST_RUN)
}

fn split_runs(text: &str, size: usize, longest: usize) -> Vec<&str> {
    let mut parts = Vec::with_capacity(text.len() / size + 1);
    let mut start = 0;
    while start + size < text.len()
        && let Some(next) = next_split(text, start, start + size, longest)
    {
        parts.push(&text[start..next]);
        start = next;
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::block::last_split;
    use proptest::prelude::*;

    proptest! {
        /// A run that is too long is split at the same places, whatever the sizes of blocks and chunks.
        #[test]
        fn long_runs_are_split_at_the_same_places(text in "[aé中 \n]{0,60}", size in 1usize..8, block in 1usize..40) {
            const LONGEST: usize = 12;
            /// Words that are between places where a text must be split: natural places do not count.
            fn pieces<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<String> {
                let mut pieces: Vec<String> = Vec::new();
                for part in parts {
                    match pieces.last_mut() {
                        Some(last) if part.starts_with([' ', '\n']) && !last.ends_with([' ', '\n']) => *last += part,
                        _ => pieces.push(part.into()),
                    }
                }
                pieces
            }
            let expected = pieces(split_runs(&text, 1, LONGEST).into_iter());
            prop_assert!(expected.concat() == text && split_runs(&text, 1, LONGEST).iter().all(|part| part.len() <= LONGEST));
            let (mut blocks, mut rest) = (Vec::new(), text.as_str());
            // Blocks that end at the last split of what has been read so far.
            while let Some(end) = (block..rest.len()).find(|at| rest.is_char_boundary(*at))
                && let Some(at) = last_split(&rest[..end], LONGEST)
            {
                blocks.push(&rest[..at]);
                rest = &rest[at..];
            }
            blocks.push(rest);
            let parts = blocks.iter().flat_map(|block| split_runs(block, size, LONGEST));
            prop_assert_eq!(pieces(parts), expected);
        }
    }

    #[test]
    fn chunks_do_not_cross_documents() {
        let block = Block { text: "a b\nc dd  e", document_ends: &[0, 4, 4] };
        let chunks = |size, splittable| -> Vec<(&str, bool)> {
            block.chunks(size, splittable).iter().map(|chunk| (chunk.text, chunk.ends_document)).collect()
        };
        let small = [
            ("", true),
            ("a", false),
            (" b", false),
            ("\n", true),
            ("", true),
            ("c", false),
            (" dd", false),
            ("  e", false),
        ];
        assert_eq!(chunks(1, true), small);
        assert_eq!(chunks(1, false), [("", true), ("a b\n", true), ("", true), ("c dd  e", false)]);
    }
}
