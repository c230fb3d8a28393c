//! How a file holds text.

use std::path::Path;

/// How a file holds text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// The file is the text.
    Text,
    /// JSON lines: the text is in the key `text` of each line.
    JsonLines,
}

impl TextFormat {
    /// The format by the extension of a path, if it has one that is known.
    pub(super) fn by_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        let is = |name: &str| extension.eq_ignore_ascii_case(name);
        if is("jsonl") { Some(TextFormat::JsonLines) } else { is("txt").then_some(TextFormat::Text) }
    }
}
