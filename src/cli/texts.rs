//! Notes about the texts that a subcommand reads.

use super::numbers::bytes;
use super::output::note;
use crate::data::text_files::TextFiles;
use std::path::PathBuf;

/// A text of this size takes a while to read.
const LONG: u64 = 32 << 20;

fn found(data: &[PathBuf]) -> Option<(TextFiles, u64)> {
    // Errors are reported when the files are read.
    let texts = TextFiles::find(data, None).ok()?;
    let size = texts.files().iter().map(|file| file.bytes).sum();
    Some((texts, size))
}

/// Prints how many files were read, if folders are given, and what is left out.
pub(super) fn note_folders(data: &[PathBuf]) {
    let Some((texts, size)) = found(data) else { return };
    let Some(left_out) = texts.left_out() else { return };
    let left_out = match left_out.to_string() {
        none if none.is_empty() => none,
        some => format!("; left out: {some}"),
    };
    let (n, files) = (texts.files().len(), if texts.files().len() == 1 { "file" } else { "files" });
    note(format_args!("read {n} {files} of text, {}{left_out}", bytes(size)));
}

/// Prints a note about a text that takes a while to read.
pub(super) fn note_long_text(data: &[PathBuf]) {
    if let Some((_, size)) = found(data).filter(|(_, size)| *size >= LONG) {
        note(format_args!("reading {} of text; its tokens are saved for the next run", bytes(size)));
    }
}
