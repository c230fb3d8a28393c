//! The text files of `data`, read as a stream of blocks: one block is in memory at a time.
//!
//! Text files follow one another as one stream of text, unless something separates documents: a JSON-lines file (one
//! document a line, in the key `text`), or a separator line that ends a document. If there is any, each text file also
//! ends a document. A line of JSON is in memory as a whole; a text file may have any size.

use super::block::{BLOCK_BYTES, OnBlock};
use super::block_builder::BlockBuilder;
use super::file_errors::unreadable;
use super::file_kind::other_kind;
use super::read_file::{final_path, skip_byte_order_mark};
use super::text_folder::{LeftOut, is_own, texts_in};
pub use super::text_format::TextFormat;
use super::text_reader::{READ_BYTES, read_json_lines, read_text_file};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: TextFormat,
    /// Its size.
    pub bytes: u64,
    /// Whether the user named it. An empty file that was found in a folder is no error.
    named: bool,
}

impl TextFile {
    fn new(path: &Path, format: TextFormat, named: bool) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| unreadable(path, e))?;
        if !metadata.is_file() {
            let found = Error::file(path, "not a regular file");
            return Err(found.expected("expected one, because it is read more than once"));
        }
        Ok(TextFile { path: path.to_path_buf(), format, bytes: metadata.len(), named })
    }
}

/// The files of a text, in order.
#[derive(Clone, Debug)]
pub struct TextFiles {
    files: Vec<TextFile>,
    separator: Option<String>,
    /// What is left out of folders; `None` without folders.
    left_out: Option<LeftOut>,
}

/// The SHA-256 of each file, by which a text is recognized.
pub type Digests = Vec<[u8; 32]>;

impl TextFiles {
    /// The files at `paths`; of a folder, every `*.txt` and `*.jsonl` in it, sorted by path, except those of
    /// [`LeftOut`]. A line that equals `separator` ends a document in text files.
    ///
    /// # Errors
    /// [`Error::File`] with the path of what is missing, is not a regular file, or is a folder without text.
    pub fn find(paths: &[PathBuf], separator: Option<&str>) -> Result<Self> {
        let (mut files, mut left_out) = (Vec::new(), None);
        for (i, path) in paths.iter().enumerate().filter(|(_, path)| path.is_file()) {
            let is_same = |other: &&PathBuf| same_file::is_same_file(path, other).unwrap_or(false);
            if let Some(other) = paths[..i].iter().find(is_same) {
                let found = if other == path {
                    "is given twice".into()
                } else {
                    format!("is the same file as {}", other.display())
                };
                return Err(Error::file(path, found).expected("must be given once"));
            }
        }
        let mut known: HashSet<PathBuf> =
            paths.iter().filter(|path| path.is_file()).filter_map(|path| final_path(path).ok()).collect();
        for path in paths {
            if path.is_dir() {
                if is_own(path) {
                    let error = Error::file(path, "the folder of a run, a model or a tokenizer");
                    return Err(error.expected("expected text: files, or a folder with them"));
                }
                for (path, format) in texts_in(path, &mut known, left_out.get_or_insert_default())? {
                    files.push(TextFile::new(&path, format, false)?);
                }
            } else {
                let format = TextFormat::by_extension(path).unwrap_or(TextFormat::Text);
                files.push(TextFile::new(path, format, true)?);
            }
        }
        Ok(TextFiles { files, separator: separator.map(Into::into), left_out })
    }

    /// What is left out of folders; `None` without folders.
    pub fn left_out(&self) -> Option<&LeftOut> {
        self.left_out.as_ref()
    }

    /// The files.
    pub fn files(&self) -> &[TextFile] {
        &self.files
    }

    /// The line that ends a document in text files.
    pub fn separator(&self) -> Option<&str> {
        self.separator.as_deref()
    }

    /// Whether the text is divided into documents. If not, it is one stream.
    pub fn are_documents(&self) -> bool {
        self.separator.is_some() || self.files.iter().any(|file| file.format == TextFormat::JsonLines)
    }

    /// Reads all files and returns their digests.
    ///
    /// # Errors
    /// [`Error::File`] with the path of a file that cannot be read.
    pub fn digests(&self) -> Result<Digests> {
        let digest = |file: &TextFile| {
            let mut reader = HashingReader::open(&file.path)?;
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|e| unreadable(&file.path, e))?;
            Ok(reader.digest())
        };
        self.files.iter().map(digest).collect()
    }

    /// Reads all files, calls `on_block` for each block of the text, and returns the digests. If the text is not
    /// `splittable`, a block holds whole documents, however long.
    ///
    /// # Errors
    /// [`Error::File`] with path and place for a file that is empty, not UTF-8, not JSON or without text; errors of
    /// `on_block`.
    pub fn read<'a>(&self, splittable: bool, on_block: &'a mut OnBlock<'a>) -> Result<Digests> {
        self.read_in_blocks(BLOCK_BYTES, splittable, on_block)
    }

    fn read_in_blocks<'a>(&self, size: usize, splittable: bool, on_block: &'a mut OnBlock<'a>) -> Result<Digests> {
        let documents = self.are_documents();
        let mut blocks = BlockBuilder::new(size, splittable, on_block);
        let mut digests = Digests::with_capacity(self.files.len());
        for file in &self.files {
            let before = blocks.bytes();
            if !documents {
                blocks.begin_line();
            }
            let mut reader = BufReader::with_capacity(READ_BYTES, HashingReader::open(&file.path)?);
            let start = reader.fill_buf().map_err(|e| unreadable(&file.path, e))?;
            // A page of HTML may be a text to learn.
            if let Some(kind) = other_kind(start).filter(|kind| !kind.may_be_text) {
                return Err(kind.in_text(&file.path));
            }
            let offset = skip_byte_order_mark(&mut reader).map_err(|e| unreadable(&file.path, e))?;
            match file.format {
                TextFormat::Text => read_text_file(&mut reader, &file.path, offset, self.separator(), &mut blocks)?,
                TextFormat::JsonLines => read_json_lines(&mut reader, &file.path, offset, &mut blocks)?,
            }
            if documents {
                blocks.end_document();
            }
            if blocks.bytes() == before && file.named {
                return Err(Error::file(&file.path, "empty").expected("expected text"));
            }
            digests.push(reader.into_inner().digest());
        }
        if blocks.bytes() == 0 {
            return Err(Error::value("data", format!("{} empty files", self.files.len()), "expected text"));
        }
        blocks.finish()?;
        Ok(digests)
    }
}

/// Reads text from any reader, such as memory, as [`TextFiles::read`] reads a text file; a byte-order mark stays in the
/// text. `name` is the text's name in errors.
///
/// # Errors
/// [`Error::File`] for what cannot be read or is not UTF-8; errors of `on_block`.
pub fn read_from<'a>(
    mut reader: &mut dyn BufRead,
    name: &Path,
    separator: Option<&str>,
    splittable: bool,
    on_block: &'a mut OnBlock<'a>,
) -> Result<()> {
    let mut blocks = BlockBuilder::new(BLOCK_BYTES, splittable, on_block);
    read_text_file(&mut reader, name, 0, separator, &mut blocks)?;
    if separator.is_some() {
        blocks.end_document();
    }
    blocks.finish()
}

/// Reads a whole UTF-8 text without its byte-order mark.
///
/// # Errors
/// [`Error::File`] with the path for what is missing, a folder, empty, or not UTF-8 (with the offset of the first wrong
/// byte).
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(Error::file(path, "a folder").expected("expected a text file"));
    }
    let files = vec![TextFile::new(path, TextFormat::Text, true)?];
    let files = TextFiles { files, separator: None, left_out: None };
    let mut text = String::new();
    files.read(false, &mut |block| {
        text.push_str(block.text);
        Ok(())
    })?;
    Ok(text)
}

/// A file that is hashed while it is read.
struct HashingReader {
    file: File,
    hash: Sha256,
}

impl HashingReader {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| unreadable(path, e))?;
        Ok(HashingReader { file, hash: Sha256::new() })
    }

    fn digest(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl Read for HashingReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let folder = Folder(tempfile::tempdir().expect("folder"));
            for (name, bytes) in files {
                let path = folder.path(name);
                std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
                std::fs::write(path, bytes).expect("write");
            }
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn find(&self, names: &[&str], separator: Option<&str>) -> Result<TextFiles> {
            TextFiles::find(&names.iter().map(|name| self.path(name)).collect::<Vec<_>>(), separator)
        }
    }

    /// The documents (or the one stream) and the number of blocks.
    fn documents(files: &TextFiles, size: usize, splittable: bool) -> Result<(Vec<String>, usize)> {
        let (mut all, mut blocks) = (vec![String::new()], 0);
        files.read_in_blocks(size, splittable, &mut |block| {
            blocks += 1;
            let mut start = 0;
            for end in block.document_ends {
                all.last_mut().expect("one").push_str(&block.text[start..*end]);
                all.push(String::new());
                start = *end;
            }
            all.last_mut().expect("one").push_str(&block.text[start..]);
            Ok(())
        })?;
        if all.len() > 1 {
            assert_eq!(all.pop().as_deref(), Some(""), "the last document has an end");
        }
        Ok((all, blocks))
    }

    #[test]
    fn errors_about_unreadable_files_name_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("write");
            path
        };
        assert_eq!(read_text(write("bom", b"\xef\xbb\xbfhello")).expect("text"), "hello");
        let refused = |path: &Path, what: &str| {
            let error = read_text(path).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert!(error.is_invalid_input());
        };
        refused(&write("bad", b"abc\xffdef"), "byte offset 3: not UTF-8: expected UTF-8 text");
        refused(&write("empty", b""), "empty: expected text");
        refused(&write("only-bom", b"\xef\xbb\xbf"), "empty: expected text");
        refused(folder.path(), "a folder: expected a text file");
        refused(&folder.path().join("none"), "could not be read");
    }

    #[test]
    fn files_are_one_stream_or_documents() {
        let folder = Folder::new(&[
            ("d/b.txt", b"second\n"),
            ("d/a.txt", b"\xef\xbb\xbffirst"),
            ("d/a-1.TXT", b"between"),
            ("d/a/z.txt", b"before all"),
            ("d/empty.txt", b""),
            ("d/none.md", b"not this"),
            (
                "l.jsonl",
                b"\xef\xbb\xbf{\"text\": \"one\\n\\u00e9\", \"id\": 3}\r\n\n{\"text\": \"\"}\n  {\"text\":\"two\"}",
            ),
            ("s.txt", b"a\n---\nb\n ---\nc\r\n---\r\n---\nd\n---"),
        ]);
        let of = |names: &[&str], separator| {
            documents(&folder.find(names, separator).expect("find"), BLOCK_BYTES, true).expect("read").0
        };
        assert_eq!(of(&["d"], None), ["before all\nbetween\nfirst\nsecond\n"]);
        assert_eq!(of(&["d/b.txt", "d/a.txt"], None), ["second\nfirst"]);
        assert_eq!(of(&["l.jsonl", "d"], None), ["one\né", "two", "before all", "between", "first", "second\n"]);
        assert_eq!(of(&["s.txt"], Some("---")), ["a\n", "b\n ---\nc\r\n", "d\n"]);
        assert_eq!(of(&["s.txt"], None), ["a\n---\nb\n ---\nc\r\n---\r\n---\nd\n---"]);
        let blank = Folder::new(&[("b.txt", b"a\nb\n\n\nc\n")]);
        assert_eq!(
            documents(&blank.find(&["b.txt"], Some("")).expect("find"), 9, true).expect("read").0,
            ["a\nb\n", "c\n"]
        );
    }

    #[test]
    fn a_separator_that_ends_no_document_is_named() {
        let inline = format!("{}a<|end|>b\n", "words and words ".repeat(9000));
        let folder = Folder::new(&[
            ("line.txt", b"a\n<|end|>\r\nb"),
            ("last.txt", b"a\nb\n<|end|>"),
            ("inside.txt", inline.as_bytes()),
            ("none.txt", b"a\nb\n"),
            ("l.jsonl", b"{\"text\": \"a\"}"),
        ]);
        let warning = |names: &[&str], separator| {
            folder.find(names, separator).expect("find").separator_warning().expect("read").unwrap_or_default()
        };
        let end = Some("<|end|>");
        for names in [&["line.txt"][..], &["last.txt"], &["none.txt", "l.jsonl", "line.txt"]] {
            assert_eq!(warning(names, end), "", "{names:?}");
        }
        assert_eq!((warning(&["none.txt"], None), warning(&["none.txt"], Some("a"))), (String::new(), String::new()));
        let shown = "document_separator = \"<|end|>\"";
        std::fs::write(folder.path("both.txt"), format!("a\n<|end|>\nb\n{inline}")).expect("write");
        assert_eq!(
            warning(&["line.txt", "both.txt"], end),
            format!(
                "{shown} is also inside of lines of {}, where it ends no document and is read as text",
                folder.path("both.txt").display()
            )
        );
        assert_eq!(
            warning(&["none.txt"], end),
            format!("{shown} ends no document: it does not occur; each file is one document")
        );
        assert_eq!(
            warning(&["none.txt", "inside.txt"], end),
            format!(
                "{shown} ends no document: it occurs inside of lines, but it must be a line by itself; each file is one \
                     document"
            )
        );
        assert_eq!(
            warning(&["l.jsonl"], end),
            format!("{shown} has no effect: in JSON lines, each line is a document")
        );
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        for (bytes, what) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], "a Git LFS pointer"),
            (b"\x1f\x8b\x08\0", "compressed by gzip"),
            (b"\xff\xfea\0", "UTF-16 text: expected UTF-8 text"),
        ] {
            let folder = Folder::new(&[("a.txt", bytes)]);
            let error = read_text(folder.path("a.txt")).expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
        let page = Folder::new(&[("a.txt", b"<html>a page to learn")]);
        assert_eq!(read_text(page.path("a.txt")).expect("text"), "<html>a page to learn");
    }

    #[test]
    fn blocks_together_are_the_text() {
        let long = "x".repeat(3 * READ_BYTES);
        let text = format!("é{long}ü and\n\n  more {}\n=\n{long} {long}é\n=\n", "words of a text\n".repeat(9000));
        let folder = Folder::new(&[("a.txt", text.as_bytes()), ("b.txt", b"end")]);
        for (separator, whole) in [
            (None, vec![format!("{text}end")]),
            (Some("="), {
                let mut all: Vec<String> = text.split("=\n").map(Into::into).collect();
                all.pop();
                all.push("end".into());
                all
            }),
        ] {
            let files = folder.find(&["a.txt", "b.txt"], separator).expect("find");
            for (size, splittable) in [(1, true), (7, true), (1000, true), (BLOCK_BYTES, true), (7, false)] {
                let (all, blocks) = documents(&files, size, splittable).expect("read");
                assert!(all == whole, "{separator:?}, {size}, {splittable}");
                assert_eq!(
                    blocks > 20,
                    splittable && size < BLOCK_BYTES,
                    "{separator:?}, {size}, {splittable}: {blocks}"
                );
            }
        }
    }

    #[test]
    fn a_separator_across_the_end_of_a_read_is_found() {
        let folder = Folder::new(&[]);
        for before in READ_BYTES - 12..READ_BYTES + 4 {
            let (x, lines) = ("x".repeat(before), |line_break: &str| format!("{line_break}<|end|>{line_break}"));
            for line_break in ["\n", "\r\n"] {
                std::fs::write(folder.path("a.txt"), format!("{x}{}yé", lines(line_break))).expect("write");
                let files = folder.find(&["a.txt"], Some("<|end|>")).expect("find");
                let all = documents(&files, BLOCK_BYTES, true).expect("read").0;
                assert_eq!(all.iter().map(String::len).collect::<Vec<_>>(), [before + line_break.len(), 3], "{before}");
                assert_eq!(files.separator_warning().expect("read"), None);
            }
            std::fs::write(folder.path("a.txt"), format!("{x}<|end|>{x}")).expect("write");
            let files = folder.find(&["a.txt"], Some("<|end|>")).expect("find");
            let warning = files.separator_warning().expect("read").unwrap_or_default();
            assert!(warning.contains("it occurs inside of lines"), "{before}: {warning}");
        }
    }

    /// Memory is bounded: no block is much longer than its size, whatever the text.
    #[test]
    fn a_text_without_white_space_is_read_in_blocks() {
        let (run, folder) = ("añ中".repeat(100_000), Folder::new(&[]));
        for text in [run.clone(), " ".repeat(500_000), format!("a b\n{run} {run}")] {
            std::fs::write(folder.path("a.txt"), &text).expect("write");
            let (mut whole, mut longest) = (String::new(), 0);
            let files = folder.find(&["a.txt"], None).expect("find");
            files
                .read_in_blocks(1000, true, &mut |block| {
                    longest = longest.max(block.text.len());
                    whole.push_str(block.text);
                    Ok(())
                })
                .expect("read");
            assert!(whole == text && longest < 4 * READ_BYTES, "{longest}");
        }
    }

    #[test]
    fn digests_are_of_the_contents() {
        let folder = Folder::new(&[("a.txt", b"one"), ("b.jsonl", b"{\"text\":\"two\"}\n")]);
        let files = folder.find(&["a.txt", "b.jsonl"], None).expect("find");
        let digests = files.digests().expect("digests");
        assert_eq!(files.read(true, &mut |_| Ok(())).expect("read"), digests);
        // SHA-256 of "one", by another program.
        assert_eq!(digests[0][..4], [0x76, 0x92, 0xc3, 0xad]);
        assert_eq!((files.files()[0].bytes, files.files()[1].format), (3, TextFormat::JsonLines));
    }

    #[test]
    fn errors_about_lines_name_the_line() {
        let refused = |line: &[u8], what: &str| {
            let bytes = [b"{\"text\": \"good\"}\n\n", line].concat();
            let folder = Folder::new(&[("l.jsonl", &bytes)]);
            let error = documents(&folder.find(&["l.jsonl"], None).expect("find"), 7, true).expect_err(what);
            let path = folder.path("l.jsonl").display().to_string();
            assert_eq!((error.to_string(), error.is_invalid_input()), (format!("{path}: {what}"), true));
        };
        refused(b"{\"text\": \"a\"", "line 3: not JSON: EOF while parsing an object at column 12");
        refused(b"{\"text\": \"a\"} {", "line 3: not JSON: trailing characters at column 15");
        refused(b"[\"text\"]", "line 3: not a JSON object: expected {\"text\": \"…\"}");
        refused(b"{\"txt\": \"a\"}", "line 3: no key `text`: expected the document's text in it; the keys are `txt`");
        refused(b"{}", "line 3: no key `text`: expected the document's text in it");
        refused(b"{\"text\": null}", "line 3: `text` is null: expected a string");
        refused(
            b"{\"text\": \"a\"}\r{\"text\": \"b\"}",
            "line 3: not JSON: a carriage return inside of the line, but lines must end in LF or CRLF",
        );
        refused(
            "\u{feff}{\"text\": \"a\"}".as_bytes(),
            "line 3: not JSON: a byte-order mark before it, which only the beginning of a file may have",
        );
        refused(b"{\"text\": [\"a\"]}", "line 3: `text` is a list: expected a string");
        refused(b"{\"text\": 7}", "line 3: `text` is a number: expected a string");
        refused(b"{\"text\": \"\xe9\"}", "byte offset 28: not UTF-8: expected UTF-8 text");
        let folder = Folder::new(&[
            ("a.txt", b"caf\xc3"),
            ("e.jsonl", b"\n{\"text\":\"\"}\n"),
            ("d/e.txt", b""),
            ("n/x.md", b"x"),
        ]);
        let error = |name: &str| {
            let read = folder.find(&[name], None).and_then(|files| documents(&files, 7, true));
            read.expect_err(name).to_string()
        };
        assert!(error("a.txt").ends_with("a.txt: byte offset 3: not UTF-8: expected UTF-8 text"), "{}", error("a.txt"));
        assert!(error("e.jsonl").ends_with("e.jsonl: empty: expected text"));
        assert!(error("d").ends_with("data = 1 empty files: expected text"));
        assert!(error("n").contains("n: no text in the folder"));
        assert!(error("none").contains("none: could not be read"));
    }
}
