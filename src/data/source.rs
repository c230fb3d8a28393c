//! What `--data` names, read as a stream: a block of text in memory at a time, cut only where no id changes by it.
//!
//! Text files follow one another as one stream, unless something tells documents apart: JSON lines (a document a line,
//! its key `text`), or a line that ends a document; then a text file without that line is one document. A JSON line is
//! in memory whole; a text file may be as large as it likes.

use super::pieces::{self, BLOCK, Block};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const READ: usize = 1 << 16;

/// How a file holds text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of it is text.
    Text,
    /// JSON lines: the key `text` of every line.
    Lines,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, by its name.
    pub kind: Kind,
    /// Its size.
    pub bytes: u64,
    /// Whether it was named, or found in a folder: there an empty file is nothing to complain of.
    named: bool,
}

/// The files of a text, in order.
#[derive(Clone, Debug)]
pub struct Sources {
    files: Vec<Source>,
    separator: Option<String>,
}

/// The SHA-256 of each file: what tells a text from another.
pub type Digests = Vec<[u8; 32]>;

impl Sources {
    /// The files that `paths` name: themselves, and every `*.txt` and `*.jsonl` under a folder, by path.
    ///
    /// # Errors
    /// [`Error::File`] with the path of what is missing, no regular file, or a folder without a text.
    pub fn find(paths: &[PathBuf], separator: Option<&str>) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            if path.is_dir() {
                let before = files.len();
                for entry in walkdir::WalkDir::new(path).follow_links(true) {
                    let entry = entry.map_err(|e| Error::file(path, format!("could not be read: {e}")))?;
                    if entry.file_type().is_file() && kind(entry.path()).is_some() {
                        files.push(source(entry.path(), false)?);
                    }
                }
                if files.len() == before {
                    return Err(Error::file(path, "holds no *.txt and no *.jsonl: must hold text"));
                }
                files[before..].sort_by(|a, b| a.path.cmp(&b.path));
            } else {
                files.push(source(path, true)?);
            }
        }
        Ok(Sources { files, separator: separator.map(Into::into) })
    }

    /// The files.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// The line that ends a document in text files.
    pub fn separator(&self) -> Option<&str> {
        self.separator.as_deref()
    }

    /// Whether the text consists of documents; else it is one stream.
    pub fn are_documents(&self) -> bool {
        self.separator.is_some() || self.files.iter().any(|file| file.kind == Kind::Lines)
    }

    /// Reads all of it for its digests alone.
    ///
    /// # Errors
    /// [`Error::File`] with the path of what cannot be read.
    pub fn digests(&self) -> Result<Digests> {
        let digest = |file: &Source| {
            let mut reader = Hashing::open(&file.path)?;
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|e| unreadable(&file.path, e))?;
            Ok(reader.digest())
        };
        self.files.iter().map(digest).collect()
    }

    /// Reads all of it and hands it over block by block. Where a document must not be cut (`cuttable` is false), a
    /// block holds whole ones, however long.
    ///
    /// # Errors
    /// [`Error::File`] with path and place of what is not UTF-8, no JSON, without a text, or empty; those of `each`.
    pub fn read(&self, cuttable: bool, each: &mut dyn FnMut(Block<'_>) -> Result<()>) -> Result<Digests> {
        self.read_in(BLOCK, cuttable, each)
    }

    fn read_in(&self, size: usize, cuttable: bool, each: &mut dyn FnMut(Block<'_>) -> Result<()>) -> Result<Digests> {
        let documents = self.are_documents();
        let mut blocks = Blocks::new(size, cuttable, each);
        let mut digests = Digests::with_capacity(self.files.len());
        for file in &self.files {
            let before = blocks.bytes;
            if !documents {
                blocks.line_ends_before_more = true;
            }
            let mut reader = BufReader::with_capacity(READ, Hashing::open(&file.path)?);
            let offset = skip_mark(&mut reader).map_err(|e| unreadable(&file.path, e))?;
            match file.kind {
                Kind::Text => text_lines(&mut reader, &file.path, offset, self.separator(), &mut blocks)?,
                Kind::Lines => json_lines(&mut reader, &file.path, offset, &mut blocks)?,
            }
            if documents {
                blocks.end_document();
            }
            if blocks.bytes == before && file.named {
                return Err(Error::file(&file.path, "is empty: must hold text"));
            }
            digests.push(reader.into_inner().digest());
        }
        if blocks.bytes == 0 {
            return Err(Error::input(format!("the {} files of the data are empty: must hold text", self.files.len())));
        }
        blocks.end()?;
        Ok(digests)
    }
}

/// Reads a text from anywhere, such as memory, as [`Sources::read`] reads a file that holds nothing but text, a
/// byte-order mark included. `name` only names it in errors.
///
/// # Errors
/// [`Error::File`] for what cannot be read or is not UTF-8; those of `each`.
pub fn read_from(
    mut reader: &mut dyn BufRead,
    name: &Path,
    separator: Option<&str>,
    cuttable: bool,
    each: &mut dyn FnMut(Block<'_>) -> Result<()>,
) -> Result<()> {
    let mut blocks = Blocks::new(BLOCK, cuttable, each);
    text_lines(&mut reader, name, 0, separator, &mut blocks)?;
    if separator.is_some() {
        blocks.end_document();
    }
    blocks.end()
}

/// Reads a whole UTF-8 text; a byte-order mark is dropped.
///
/// # Errors
/// [`Error::File`] with the path for what is missing, a folder, empty, or not UTF-8 (with the first bad byte's offset).
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: must be a text file"));
    }
    let sources = Sources { files: vec![source_of(path, Kind::Text, true)?], separator: None };
    let mut text = String::new();
    sources.read(false, &mut |block| {
        text.push_str(block.text);
        Ok(())
    })?;
    Ok(text)
}

fn kind(path: &Path) -> Option<Kind> {
    let extension = path.extension()?;
    let is = |name: &str| extension.eq_ignore_ascii_case(name);
    if is("jsonl") { Some(Kind::Lines) } else { is("txt").then_some(Kind::Text) }
}

fn source(path: &Path, named: bool) -> Result<Source> {
    source_of(path, kind(path).unwrap_or(Kind::Text), named)
}

fn source_of(path: &Path, kind: Kind, named: bool) -> Result<Source> {
    let data = std::fs::metadata(path).map_err(|e| unreadable(path, e))?;
    if !data.is_file() {
        return Err(Error::file(path, "is no regular file: must be one, for it is read more than once"));
    }
    Ok(Source { path: path.to_path_buf(), kind, bytes: data.len(), named })
}

pub(super) fn unreadable(path: &Path, e: std::io::Error) -> Error {
    Error::file(path, format!("could not be read: {e}"))
}

/// A file that is hashed as it is read.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Hashing {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| unreadable(path, e))?;
        Ok(Hashing { file, hash: Sha256::new() })
    }

    fn digest(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

fn not_utf8(path: &Path, offset: u64) -> Error {
    Error::file(path, format!("not UTF-8 at byte offset {offset}: must be a UTF-8 text"))
}

/// Goes past a byte-order mark, and gives its length.
fn skip_mark(reader: &mut impl BufRead) -> std::io::Result<u64> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let marked = reader.fill_buf()?.starts_with(MARK);
    if marked {
        reader.consume(MARK.len());
    }
    Ok(if marked { MARK.len() as u64 } else { 0 })
}

/// A text file, line by line, a long line in parts.
fn text_lines(
    reader: &mut impl BufRead,
    path: &Path,
    mut offset: u64,
    separator: Option<&str>,
    blocks: &mut Blocks<'_>,
) -> Result<()> {
    // A separator and its line's end are in one part always.
    let most = READ.max(separator.map_or(0, str::len) + 2) as u64;
    let (mut part, mut line_begins) = (Vec::new(), true);
    loop {
        let n = reader.by_ref().take(most).read_until(b'\n', &mut part).map_err(|e| unreadable(path, e))? as u64;
        let valid = match std::str::from_utf8(&part) {
            Ok(text) => text.len(),
            // The character's other bytes come with the next part.
            Err(e) if e.error_len().is_none() && n > 0 => e.valid_up_to(),
            Err(e) => return Err(not_utf8(path, offset + e.valid_up_to() as u64)),
        };
        if n == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&part[..valid]).unwrap_or_default();
        let ends = text.ends_with('\n');
        let whole = line_begins && (ends || n < most);
        if whole && separator.is_some_and(|separator| line(text) == separator) {
            blocks.end_document();
        } else {
            blocks.push(text)?;
        }
        line_begins = ends;
        offset += valid as u64;
        part.drain(..valid);
    }
}

/// A line without its end.
fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[derive(serde::Deserialize)]
struct Line {
    #[serde(default)]
    text: serde_json::Value,
}

/// JSON lines, a document each. Lines of white space are no documents.
fn json_lines(reader: &mut impl BufRead, path: &Path, mut offset: u64, blocks: &mut Blocks<'_>) -> Result<()> {
    let mut bytes = Vec::new();
    for number in 1u64.. {
        bytes.clear();
        let n = reader.read_until(b'\n', &mut bytes).map_err(|e| unreadable(path, e))?;
        if n == 0 {
            break;
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| not_utf8(path, offset + e.valid_up_to() as u64))?;
        offset += n as u64;
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let bad = |message: String| Error::file(path, format!("line {number}: {message}"));
        if !text.starts_with('{') {
            return Err(bad("no JSON object: must be one with a text in its key `text`".into()));
        }
        let line: Line = serde_json::from_str(text).map_err(|e| bad(not_json(&e)))?;
        match line.text {
            serde_json::Value::String(text) => blocks.push(&text)?,
            serde_json::Value::Null => return Err(bad("has no key `text`: must have one with the document".into())),
            other => return Err(bad(format!("its `text` is {}: must be a text in quotes", shape(&other)))),
        }
        blocks.end_document();
    }
    Ok(())
}

/// Why a line is no JSON. Every line is parsed by itself, so its number would be 1.
pub(super) fn not_json(e: &serde_json::Error) -> String {
    format!("not JSON: {}", e.to_string().replace(" at line 1 column ", " at column "))
}

/// What a JSON value is.
pub(super) fn shape(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::String(_) => "a text",
        serde_json::Value::Array(_) => "a list",
        serde_json::Value::Object(_) => "an object",
        serde_json::Value::Number(_) => "a number",
        _ => "true or false",
    }
}

/// Gathers text and hands it over in blocks.
struct Blocks<'a> {
    size: usize,
    cuttable: bool,
    each: &'a mut dyn FnMut(Block<'_>) -> Result<()>,
    text: String,
    ends: Vec<usize>,
    /// How long the text may become until a place to cut it is looked for.
    limit: usize,
    /// Text so far.
    bytes: u64,
    /// Whether a document has begun.
    open: bool,
    /// Whether what follows stands on a line of its own: another file of the stream.
    line_ends_before_more: bool,
    last: Option<u8>,
}

impl<'a> Blocks<'a> {
    fn new(size: usize, cuttable: bool, each: &'a mut dyn FnMut(Block<'_>) -> Result<()>) -> Self {
        Blocks {
            size,
            cuttable,
            each,
            text: String::new(),
            ends: Vec::new(),
            limit: size,
            bytes: 0,
            open: false,
            line_ends_before_more: false,
            last: None,
        }
    }

    fn push(&mut self, text: &str) -> Result<()> {
        let Some(last) = text.as_bytes().last() else { return Ok(()) };
        if std::mem::take(&mut self.line_ends_before_more) && self.last.is_some_and(|last| last != b'\n') {
            self.push("\n")?;
        }
        self.text.push_str(text);
        self.bytes += text.len() as u64;
        self.last = Some(*last);
        self.open = true;
        if self.text.len() >= self.limit { self.give() } else { Ok(()) }
    }

    /// Documents without a text are none.
    fn end_document(&mut self) {
        if std::mem::take(&mut self.open) {
            self.ends.push(self.text.len());
        }
    }

    /// Hands over up to the last place where the open document may be cut, or to its beginning.
    fn give(&mut self) -> Result<()> {
        let begins = self.ends.last().copied().unwrap_or(0);
        let inside = if self.cuttable { pieces::last_cut(&self.text[begins..]) } else { None };
        match begins + inside.unwrap_or(0) {
            // Looked for again when there is twice as much, so that the whole search is no longer than the text.
            0 => self.limit = self.text.len().max(self.size) * 2,
            at => {
                (self.each)(Block { text: &self.text[..at], ends: &self.ends })?;
                self.text.drain(..at);
                self.ends.clear();
                self.limit = self.size;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<()> {
        if self.text.is_empty() { Ok(()) } else { (self.each)(Block { text: &self.text, ends: &self.ends }) }
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

        fn find(&self, names: &[&str], separator: Option<&str>) -> Result<Sources> {
            Sources::find(&names.iter().map(|name| self.path(name)).collect::<Vec<_>>(), separator)
        }
    }

    /// The documents (or the one stream) and how many blocks they came in.
    fn documents(sources: &Sources, size: usize, cuttable: bool) -> Result<(Vec<String>, usize)> {
        let (mut all, mut blocks) = (vec![String::new()], 0);
        sources.read_in(size, cuttable, &mut |block| {
            blocks += 1;
            let mut start = 0;
            for end in block.ends {
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
            assert!(error.is_invalid_input());
        };
        says(&write("bad", b"abc\xffdef"), "byte offset 3");
        says(&write("empty", b""), "is empty");
        says(&write("only-bom", b"\xef\xbb\xbf"), "is empty");
        says(folder.path(), "is a folder");
        says(&folder.path().join("none"), "could not be read");
    }

    #[test]
    fn files_make_one_stream_or_documents() {
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
            documents(&folder.find(names, separator).expect("find"), BLOCK, true).expect("read").0
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
    fn blocks_are_the_text() {
        let long = "x".repeat(3 * READ);
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
            let sources = folder.find(&["a.txt", "b.txt"], separator).expect("find");
            for (size, cuttable) in [(1, true), (7, true), (1000, true), (BLOCK, true), (7, false)] {
                let (all, blocks) = documents(&sources, size, cuttable).expect("read");
                assert!(all == whole, "{separator:?}, {size}, {cuttable}");
                assert_eq!(blocks > 20, cuttable && size < BLOCK, "{separator:?}, {size}, {cuttable}: {blocks}");
            }
        }
    }

    #[test]
    fn digests_are_of_the_contents() {
        let folder = Folder::new(&[("a.txt", b"one"), ("b.jsonl", b"{\"text\":\"two\"}\n")]);
        let sources = folder.find(&["a.txt", "b.jsonl"], None).expect("find");
        let digests = sources.digests().expect("digests");
        assert_eq!(sources.read(true, &mut |_| Ok(())).expect("read"), digests);
        // SHA-256 of "one", by another program.
        assert_eq!(digests[0][..4], [0x76, 0x92, 0xc3, 0xad]);
        assert_eq!((sources.files()[0].bytes, sources.files()[1].kind), (3, Kind::Lines));
    }

    #[test]
    fn wrong_lines_are_named() {
        let says = |line: &[u8], what: &str| {
            let bytes = [b"{\"text\": \"good\"}\n\n", line].concat();
            let folder = Folder::new(&[("l.jsonl", &bytes)]);
            let error = documents(&folder.find(&["l.jsonl"], None).expect("find"), 7, true).expect_err(what);
            let path = folder.path("l.jsonl").display().to_string();
            assert_eq!((error.to_string(), error.is_invalid_input()), (format!("{path}: {what}"), true));
        };
        says(b"{\"text\": \"a\"", "line 3: not JSON: EOF while parsing an object at column 12");
        says(b"{\"text\": \"a\"} {", "line 3: not JSON: trailing characters at column 15");
        says(b"[\"text\"]", "line 3: no JSON object: must be one with a text in its key `text`");
        says(b"{\"txt\": \"a\"}", "line 3: has no key `text`: must have one with the document");
        says(b"{\"text\": [\"a\"]}", "line 3: its `text` is a list: must be a text in quotes");
        says(b"{\"text\": 7}", "line 3: its `text` is a number: must be a text in quotes");
        says(b"{\"text\": \"\xe9\"}", "not UTF-8 at byte offset 28: must be a UTF-8 text");
        let folder = Folder::new(&[
            ("a.txt", b"caf\xc3"),
            ("e.jsonl", b"\n{\"text\":\"\"}\n"),
            ("d/e.txt", b""),
            ("n/x.md", b"x"),
        ]);
        let error = |name: &str| {
            let read = folder.find(&[name], None).and_then(|sources| documents(&sources, 7, true));
            read.expect_err(name).to_string()
        };
        assert!(
            error("a.txt").ends_with("a.txt: not UTF-8 at byte offset 3: must be a UTF-8 text"),
            "{}",
            error("a.txt")
        );
        assert!(error("e.jsonl").ends_with("e.jsonl: is empty: must hold text"));
        assert!(error("d").ends_with("the 1 files of the data are empty: must hold text"));
        assert!(error("n").ends_with("n: holds no *.txt and no *.jsonl: must hold text"));
        assert!(error("none").contains("none: could not be read"));
    }
}
