//! Reads whole files of text: settings, tables, and the JSON of models, tokenizers and runs.

use super::file_errors::unreadable;
use super::file_kind::{OtherKind, other_kind};
use crate::{Error, Result};
use std::path::Path;

/// The byte-order mark that some editors write at the start of a UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The bytes of a text file, without its byte-order mark. They need not be UTF-8.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read, and for one that is not a text, such as a Git LFS pointer or an HTML page.
pub(crate) fn read_text_bytes(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, e))?;
    match other_kind(&bytes) {
        Some(kind) => Err(kind.in_file(path)),
        None => Ok(without_byte_order_mark(bytes)),
    }
}

/// A text without its byte-order mark.
pub(crate) fn without_byte_order_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    bytes
}

impl OtherKind {
    /// The error about a file of this kind.
    pub(crate) fn in_file(self, path: &Path) -> Error {
        Error::file(path, self.found).expected(self.expected)
    }
}
