//! Reads whole files of text: settings, tables, and the JSON of models, tokenizers and runs.

use super::file_errors::{not_utf8, unreadable};
use super::file_kind::{OtherKind, WEIGHTS, other_kind};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// The byte-order mark that some editors write at the start of a UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Opens a file of a folder that may come from a stranger. A device or a pipe, which a link may lead to, is refused: reading
/// it may never end.
///
/// # Errors
/// The system's, and one for what is not a regular file.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<File> {
    // Before the file is opened, because opening a pipe waits for its other end.
    let kind = path.metadata()?.file_type();
    if kind.is_dir() {
        return Err(std::io::Error::other("a folder"));
    }
    if !kind.is_file() {
        return Err(std::io::Error::other("a device or a pipe, not a regular file"));
    }
    File::open(path)
}

/// The bytes of a text file, without its byte-order mark. They need not be UTF-8.
///
/// # Errors
/// [`Error::File`] for a file that cannot be read or is not a regular file, and for one that is not a text, such as a Git LFS
/// pointer or an HTML page.
pub(crate) fn read_text_bytes(path: &Path) -> Result<Vec<u8>> {
    text_bytes(path, read_regular(path))
}

/// The bytes of a regular file.
pub(crate) fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file that the user names, which may be a pipe: as [`read_text_bytes`].
///
/// # Errors
/// As [`read_text_bytes`].
pub(crate) fn read_named_text_bytes(path: &Path) -> Result<Vec<u8>> {
    text_bytes(path, std::fs::read(path))
}

/// As [`read_text_bytes`], of what was read.
pub(crate) fn text_bytes(path: &Path, read: std::io::Result<Vec<u8>>) -> Result<Vec<u8>> {
    let bytes = read.map_err(|e| unreadable(path, e))?;
    match other_kind(&bytes) {
        Some(kind) => Err(kind.in_text(path)),
        None => Ok(without_byte_order_mark(bytes)),
    }
}

/// The text of bytes that were read.
///
/// # Errors
/// [`Error::File`] with the offset of the first byte that is not UTF-8.
pub(crate) fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| not_utf8(path, e.utf8_error().valid_up_to() as u64))
}

/// Skips a byte-order mark and returns its length.
pub(crate) fn skip_byte_order_mark(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let is_marked = reader.fill_buf()?.starts_with(BYTE_ORDER_MARK);
    let length = if is_marked { BYTE_ORDER_MARK.len() } else { 0 };
    reader.consume(length);
    Ok(length as u64)
}

/// The absolute path of an existing file or folder, behind all links. Some drives of Windows do not tell it: there, links stay.
///
/// # Errors
/// The system's, if nothing exists there.
pub(crate) fn final_path(path: &Path) -> std::io::Result<PathBuf> {
    path.canonicalize().or_else(|e| if path.exists() { std::path::absolute(path) } else { Err(e) })
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

    /// The error about a file of this kind where a text is expected.
    pub(crate) fn in_text(self, path: &Path) -> Error {
        match self.expected {
            WEIGHTS => {
                Error::file(path, self.found).expected("expected UTF-8 text, to which its program can export it")
            }
            _ => self.in_file(path),
        }
    }
}
