//! Text files, and the part of a text that is held out.

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

/// The training part and the held-out part: the last `valid_share` of the tokens (0: none is held out).
pub fn split(ids: &[u32], valid_share: f64) -> (&[u32], &[u32]) {
    let held_out = (ids.len() as f64 * valid_share.clamp(0.0, 1.0)).floor() as usize;
    ids.split_at(ids.len() - held_out.min(ids.len()))
}

/// Checks that a part ("training", "held-out") has a window's P+1 tokens.
///
/// # Errors
/// [`Error::Input`] naming the part, what it has and what it needs.
pub fn check_part(part: &str, ids: &[u32], positions: usize) -> Result<()> {
    if ids.len() > positions {
        return Ok(());
    }
    Err(Error::Input(format!(
        "the {part} part of the data has {} tokens: a window of n_positions = {positions} needs {}, so give more text \
         or a smaller n_positions",
        ids.len(),
        positions + 1
    )))
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

    #[test]
    fn the_last_share_is_held_out() {
        let ids: Vec<u32> = (0..100).collect();
        assert_eq!(split(&ids, 0.05), (&ids[..95], &ids[95..]));
        assert_eq!(split(&ids, 0.0).1.len(), 0);
        assert_eq!(split(&ids[..7], 0.5).1, [4, 5, 6]);
        assert!(check_part("training", &ids[..9], 8).is_ok());
        let error = check_part("held-out", &ids[..8], 8).expect_err("8");
        assert!(error.to_string().contains("held-out part of the data has 8 tokens"), "{error}");
        assert!(error.to_string().contains("needs 9"), "{error}");
    }
}
