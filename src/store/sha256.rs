//! SHA-256 in hexadecimal, which identifies files and texts.

use crate::data::read_file::open_regular;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// The hash of the concatenation of `parts`.
pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

/// The hash of a file, which is read in pieces.
///
/// # Errors
/// Those of opening and reading the file, and one for what is not a regular file.
pub fn of_file(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (open_regular(path)?, Sha256::new());
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// Bytes as hexadecimal, two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_abc_is_that_of_the_standard() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of([&b"a"[..], b"bc"]), known);
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("abc"), "abc").expect("write");
        assert_eq!(of_file(&folder.path().join("abc")).expect("hash"), known);
    }
}
