//! Files of text.

use crate::{Error, Result};
use std::path::Path;

/// Reads a UTF-8 text; a byte-order mark is dropped.
///
/// # Errors
/// [`Error::Input`] with the path for what is missing, a folder, empty, or not UTF-8 (with the first bad byte's offset).
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: must be a text file"));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("could not be read: {e}")))?;
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error::file(path, format!("not UTF-8 at byte offset {at}: must be a UTF-8 text"))
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if text.is_empty() {
        return Err(Error::file(path, "is empty: must hold text"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("write");
            path
        };
        assert_eq!(read_text(write("bom", b"\xef\xbb\xbfhello")).expect("text"), "hello");
        let says = |path: &Path, what: &str| {
            let error = read_text(path).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert_eq!(error.exit_code(), 2);
        };
        says(&write("bad", b"abc\xffdef"), "byte offset 3");
        says(&write("empty", b""), "is empty");
        says(&write("only-bom", b"\xef\xbb\xbf"), "is empty");
        says(folder.path(), "is a folder");
        says(&folder.path().join("none"), "could not be read");
    }
}
