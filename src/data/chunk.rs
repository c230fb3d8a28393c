//! Chunks of a block, for work on all CPU cores.

use super::block::{Block, is_split_point};

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

/// Splits a text at split points into parts of `size` bytes or a little more.
pub(super) fn split(text: &str, size: usize) -> Vec<&str> {
    let mut parts = Vec::with_capacity(text.len() / size + 1);
    let (mut start, mut at) = (0, size);
    while at < text.len() {
        if is_split_point(text, at) {
            parts.push(&text[start..at]);
            start = at;
            at += size;
        } else {
            at += 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

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
