//! Recognizes files that are not what their names say, such as a Git LFS pointer in place of weights, by their first bytes.

/// What a file is, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OtherKind {
    /// What the file is.
    pub found: &'static str,
    /// What would be right.
    pub expected: &'static str,
    /// Whether such a file may be a text in itself.
    pub may_be_text: bool,
}

const fn binary(found: &'static str, expected: &'static str) -> OtherKind {
    OtherKind { found, expected, may_be_text: false }
}

const COMPRESSED: &str = "expected it decompressed";
const UTF8: &str = "expected UTF-8 text";
/// What is expected in place of a file in another format of weights.
pub(super) const WEIGHTS: &str =
    "expected the format of the file's name: `save_pretrained` of transformers writes safetensors";
const PLAIN: &str = "expected plain text, or JSON lines";

/// First bytes, and the kind of file that they tell.
const SIGNATURES: [(&[u8], OtherKind); 20] = [
    (
        b"version https://git-lfs.github.com/spec/",
        binary("a Git LFS pointer, not the file itself", "`git lfs pull` fetches the file"),
    ),
    (b"version https://hawser.github.com/spec/", binary("a Git LFS pointer", "`git lfs pull` fetches the file")),
    (b"version http://git-media.io/v/", binary("a Git LFS pointer", "`git lfs pull` fetches the file")),
    (b"\x93NUMPY", binary("a NumPy array", WEIGHTS)),
    (b"PK\x03\x04", binary("a zip archive, such as a file of PyTorch or Excel", WEIGHTS)),
    (b"\x80\x02", binary("a Python pickle", WEIGHTS)),
    (b"\x80\x03", binary("a Python pickle", WEIGHTS)),
    (b"\x80\x04", binary("a Python pickle", WEIGHTS)),
    (b"\x80\x05", binary("a Python pickle", WEIGHTS)),
    (b"\x89HDF\r\n", binary("an HDF5 file", WEIGHTS)),
    (b"GGUF", binary("a GGUF file", WEIGHTS)),
    (b"\x1f\x8b", binary("compressed by gzip", COMPRESSED)),
    (b"\x28\xb5\x2f\xfd", binary("compressed by zstd", COMPRESSED)),
    (b"\xfd7zXZ\0", binary("compressed by xz", COMPRESSED)),
    (b"BZh91AY&SY", binary("compressed by bzip2", COMPRESSED)),
    (b"PAR1", binary("a Parquet file", PLAIN)),
    (b"%PDF-", binary("a PDF", PLAIN)),
    (b"\xff\xfe\0\0", binary("UTF-32 text", UTF8)),
    (b"\xff\xfe", binary("UTF-16 text", UTF8)),
    (b"\xfe\xff", binary("UTF-16 text", UTF8)),
];

/// The beginnings of an HTML page, in lower case.
const HTML: [&[u8]; 2] = [b"<!doctype html", b"<html"];

/// Recognizes a file by its first bytes; `None` for everything else. A safetensors file may begin with any bytes, so ask
/// only after its header turned out to be wrong.
pub(crate) fn other_kind(start: &[u8]) -> Option<OtherKind> {
    // An editor or a shell may have put a byte-order mark before a pointer or a page.
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    if let Some((_, kind)) = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature)) {
        return Some(*kind);
    }
    let words = start.trim_ascii_start();
    if HTML.iter().any(|tag| words.get(..tag.len()).is_some_and(|word| word.eq_ignore_ascii_case(tag))) {
        let found = "an HTML page, such as the error page of a failed download";
        return Some(OtherKind { found, expected: "expected the file itself", may_be_text: true });
    }
    // The first characters of most texts are ASCII.
    match start {
        [0, low, 0, other, ..] | [low, 0, other, 0, ..] if *low != 0 && *other != 0 => {
            Some(binary("UTF-16 text", UTF8))
        }
        _ => None,
    }
}

/// Bytes of a text that an error shows.
const SHOWN: usize = 60;

/// The beginning of a file that is a text, as an answer of a server in place of the file is.
pub(crate) fn beginning_of_text(start: &[u8]) -> Option<&str> {
    let start = &start[..start.len().min(SHOWN)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut.
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&start[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    (!text.trim().is_empty() && text.chars().all(is_text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognized_by_their_first_bytes() {
        let found = |start: &[u8]| other_kind(start).map(|kind| kind.found);
        let pointer = "a Git LFS pointer, not the file itself";
        assert_eq!(found(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), Some(pointer));
        assert_eq!(found(b"PK\x03\x04\0"), Some("a zip archive, such as a file of PyTorch or Excel"));
        assert_eq!(found(b"\x1f\x8b\x08"), Some("compressed by gzip"));
        assert!(found(b"\n <!DOCTYPE HTML>").is_some_and(|found| found.starts_with("an HTML page")));
        for start in [
            &b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1"[..],
            b"version http://git-media.io/v/2\noid aa\n",
        ] {
            assert!(found(start).is_some_and(|found| found.starts_with("a Git LFS pointer")), "{start:?}");
        }
        assert_eq!(beginning_of_text(b"Entry not found\n"), Some("Entry not found\n"));
        assert_eq!([&b"\x05\0\0\0\0\0\0\0{"[..], b"", b"\xff"].map(beginning_of_text), [None; 3]);
        for text in ["version", "PK", "<htm", "", "{\"a\": 1}", "a\0b"] {
            assert_eq!(found(text.as_bytes()), None, "{text:?}");
        }
        for bytes in [&b"\xff\xfeh\0i\0"[..], b"\xfe\xff\0h", b"h\0i\0", b"\0h\0i"] {
            assert_eq!(found(bytes), Some("UTF-16 text"), "{bytes:?}");
        }
    }
}
