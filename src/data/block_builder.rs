//! Collects text and passes it on in blocks.

use super::block::{Block, LONGEST_RUN, OnBlock, last_split};
use crate::Result;

/// Collects text and passes it on in blocks of about `size` bytes. If the text is not `splittable`, a block holds whole
/// documents, however long.
pub(super) struct BlockBuilder<'a> {
    size: usize,
    splittable: bool,
    on_block: &'a mut OnBlock<'a>,
    text: String,
    document_ends: Vec<usize>,
    /// The length of `text` at which the next block is passed on.
    limit: usize,
    /// Bytes of text so far.
    bytes: u64,
    /// Whether the document has text.
    in_document: bool,
    /// Whether the next text must begin on a new line, because it is from another file of the same stream.
    new_line: bool,
    last_byte: Option<u8>,
}

impl<'a> BlockBuilder<'a> {
    pub(super) fn new(size: usize, splittable: bool, on_block: &'a mut OnBlock<'a>) -> Self {
        BlockBuilder {
            size,
            splittable,
            on_block,
            text: String::new(),
            document_ends: Vec::new(),
            limit: size,
            bytes: 0,
            in_document: false,
            new_line: false,
            last_byte: None,
        }
    }

    /// Bytes of text so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, text: &str) -> Result<()> {
        let Some(last) = text.as_bytes().last() else { return Ok(()) };
        if std::mem::take(&mut self.new_line) && self.last_byte.is_some_and(|last| last != b'\n') {
            self.push("\n")?;
        }
        self.text.push_str(text);
        self.bytes += text.len() as u64;
        self.last_byte = Some(*last);
        self.in_document = true;
        if self.text.len() >= self.limit { self.pass_on() } else { Ok(()) }
    }

    /// Starts a new line before the next text, unless it is at the start of a line already.
    pub(super) fn begin_line(&mut self) {
        self.new_line = true;
    }

    /// Ends a document. A document without text is not counted.
    pub(super) fn end_document(&mut self) {
        if std::mem::take(&mut self.in_document) {
            self.document_ends.push(self.text.len());
        }
    }

    /// Passes on the text up to the last place where the unfinished document may be split, or else up to its beginning.
    fn pass_on(&mut self) -> Result<()> {
        let begin = self.document_ends.last().copied().unwrap_or(0);
        let inside = if self.splittable { last_split(&self.text[begin..], LONGEST_RUN) } else { None };
        match begin + inside.unwrap_or(0) {
            // The next search is at twice the length, so that all searches together read the text only about once.
            0 => self.limit = self.text.len().max(self.size) * 2,
            at => {
                (self.on_block)(Block { text: &self.text[..at], document_ends: &self.document_ends })?;
                self.text.drain(..at);
                self.document_ends.clear();
                self.limit = self.size;
            }
        }
        Ok(())
    }

    /// Passes on the rest of the text.
    pub(super) fn finish(self) -> Result<()> {
        match self.text.as_str() {
            "" => Ok(()),
            text => (self.on_block)(Block { text, document_ends: &self.document_ends }),
        }
    }
}
