//! A vocabulary file and a merges file, which older models have in place of tokenizer.json.
//!
//! GPT-1's vocabulary marks word ends by `</w>`. GPT-2's and RoBERTa's are byte-level: each byte is one of 256 characters.
//! Names of files do not tell which, so the tokens decide. A pair of neither kind is refused, because it would give wrong
//! ids.

use super::Tokenizer;
use super::file_names::{GPT1_FILES, other_tokenizer};
use super::json::{self, END_OF_WORD, FILE_NAME, byte_symbols};
use super::pretokenizer::Pretokenizer;
use crate::data::text_files::read_text;
use crate::data::unique_json;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::Path;

impl Tokenizer {
    /// Reads a vocabulary (a JSON object, token to id) and its merges (one a line; the first line may be a comment). With
    /// GPT-1's, the pretokenizer is [`Pretokenizer::Bert`], Hugging Face's; with a byte-level vocabulary, such as GPT-2's, it
    /// is [`Pretokenizer::Bytes`].
    ///
    /// # Errors
    /// [`Error::File`] with the file and what is wrong in it: also for a vocabulary of another kind, and for merges that are
    /// not those of the vocabulary.
    pub fn from_gpt1_files(vocabulary: &Path, merges: &Path) -> Result<Self> {
        let text = read_text(vocabulary)?;
        let vocab = unique_json::parse(text.as_bytes(), vocabulary, "not JSON")?;
        let Some(tokens) = vocab.as_object() else {
            return Err(Error::file(vocabulary, "not an object").expected("expected an object of tokens and ids"));
        };
        let pretokenizer = pretokenizer(tokens, vocabulary)?;
        let (list, special) = merges_of(merges, tokens, pretokenizer, vocabulary)?;
        let mut document = json::document(vocab, json!(list), pretokenizer);
        if pretokenizer == Pretokenizer::Bytes {
            let added = |(token, id): (String, Value)| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true})
            };
            document["added_tokens"] = special.into_iter().map(added).collect();
        }
        Self::from_value(document, vocabulary)
    }

    /// The error about a folder without a tokenizer.
    pub fn missing_in(folder: &Path) -> Error {
        let pairs = GPT1_FILES.map(|[vocabulary, merges]| format!("{vocabulary} and {merges}")).join(", or ");
        let entries = std::fs::read_dir(folder).ok().into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let other = entries.filter_map(|path| Some((other_tokenizer(&path)?, path))).min();
        let found = match other {
            Some((what, path)) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                format!("no tokenizer that can be read ({name} is {what})")
            }
            None => "no tokenizer".into(),
        };
        Error::file(folder, found).expected(format!("expected {FILE_NAME}, or {pairs}"))
    }
}

/// The pipeline of a vocabulary, by the form of its tokens.
fn pretokenizer(tokens: &Map<String, Value>, path: &Path) -> Result<Pretokenizer> {
    let any = |matches: &dyn Fn(&str) -> bool| tokens.keys().any(|token| matches(token));
    let marks_ends = any(&|token| token.ends_with(END_OF_WORD));
    let bytes = byte_symbols().filter(|symbol| tokens.contains_key(symbol.to_string().as_str())).count();
    let refused = |found: &str| {
        let expected = "expected GPT-1's, whose words end in `</w>`, or a byte-level one such as GPT-2's";
        Err(Error::file(path, found).at("tokens").expected(expected))
    };
    match (marks_ends, bytes) {
        (true, 256) => refused("a byte-level vocabulary whose words end in `</w>`, such as CLIP's"),
        (true, _) => Ok(Pretokenizer::Bert),
        (false, 256) => Ok(Pretokenizer::Bytes),
        // The space is a part of nearly every byte-level vocabulary.
        (false, _) if any(&|token| token.starts_with('Ġ')) => Ok(Pretokenizer::Bytes),
        _ if any(&|token| token.starts_with("##")) => refused("a WordPiece vocabulary"),
        _ if any(&|token| token.starts_with('▁')) => refused("a SentencePiece vocabulary"),
        _ if any(&|token| token.ends_with("@@")) => {
            refused("a vocabulary whose words go on after `@@`, such as CTRL's")
        }
        _ => refused("a vocabulary of an unknown kind"),
    }
}

type Merges = (Vec<[String; 2]>, Vec<(String, Value)>);

/// The merges of a file, and the tokens that are neither a symbol nor the result of a merge, with their ids: special tokens.
fn merges_of(
    path: &Path,
    tokens: &Map<String, Value>,
    pretokenizer: Pretokenizer,
    vocabulary: &Path,
) -> Result<Merges> {
    let text = read_text(path)?;
    let (mut list, mut results) = (Vec::new(), HashSet::new());
    for (line, text) in (1..).zip(text.lines()) {
        let wrong =
            |expected: String| Error::file(path, format!("{text:?}")).at(format!("line {line}")).expected(expected);
        if text.contains('\r') {
            let error = Error::file(path, "a carriage return inside of the line").at(format!("line {line}"));
            return Err(error.expected("expected lines that end in LF or CRLF"));
        }
        if text.starts_with("#version") || text.trim().is_empty() {
            continue;
        }
        let Some([left, right]) = text.split_once(' ').map(|(left, right)| [left, right]) else {
            return Err(wrong("expected two tokens with a space between them".into()));
        };
        let merged = format!("{left}{right}");
        for token in [left, right, &merged] {
            if !tokens.contains_key(token) {
                let vocabulary = vocabulary.file_name().unwrap_or_default().to_string_lossy();
                return Err(wrong(format!("expected {token:?} in {vocabulary}, or the merges of that vocabulary")));
            }
        }
        list.push([left, right].map(String::from));
        results.insert(merged);
    }
    let is_symbol = |token: &str| {
        let symbol =
            if pretokenizer.marks_word_ends() { token.strip_suffix(END_OF_WORD).unwrap_or(token) } else { token };
        symbol.chars().count() == 1
    };
    let special = tokens.iter().filter(|(token, _)| !is_symbol(token) && !results.contains(*token));
    let special: Vec<(String, Value)> = special.map(|(token, id)| (token.clone(), id.clone())).collect();
    let (n, all) = (special.len(), tokens.len());
    if n > MOST_SPECIAL + all / 100 {
        let found = format!("{} merges, which give all but {n} of {all} tokens", list.len());
        return Err(Error::file(path, found).expected("expected all merges of the vocabulary: the file may be cut off"));
    }
    Ok((list, special))
}

/// A vocabulary has about this many special tokens at most.
const MOST_SPECIAL: usize = 16;

#[cfg(all(test, feature = "tokenizers"))]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder(vocab: &Value, merges: &str) -> (tempfile::TempDir, [PathBuf; 2]) {
        let folder = tempfile::tempdir().expect("folder");
        let paths = GPT1_FILES[0].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], vocab.to_string()).expect("write");
        std::fs::write(&paths[1], merges).expect("write");
        (folder, paths)
    }

    /// The parts of a trained tokenizer as two files.
    fn parts(tokenizer: &Tokenizer) -> (Value, String) {
        let json: Value = serde_json::from_str(&tokenizer.to_json().expect("json")).expect("JSON");
        let pair = |m: &Value| format!("{} {}\n", m[0].as_str().expect("left"), m[1].as_str().expect("right"));
        let merges = json["model"]["merges"].as_array().expect("merges").iter().map(pair).collect();
        (json["model"]["vocab"].clone(), merges)
    }

    #[test]
    fn byte_level_files_are_read_as_such() {
        let text = "the cat sat on the mat, and the hat too. ".repeat(3);
        let own = Tokenizer::train(&text, 280, Pretokenizer::Bytes).expect("train");
        let (mut vocab, merges) = parts(&own);
        let first = vocab.as_object().expect("object").len();
        vocab["<|endoftext|>"] = json!(first);
        let (_folder, [vocabulary, file]) = folder(&vocab, &format!("\u{feff}#version: 0.2\n{merges}"));
        let read = Tokenizer::from_gpt1_files(&vocabulary, &file).expect("read");
        assert_eq!((read.pretokenizer(), read.vocab_size()), (Pretokenizer::Bytes, first + 1));
        let text = "The cat sat 🐈";
        assert_eq!(read.encode(text).expect("ids"), own.encode(text).expect("ids"));
        assert_eq!(read.encode("a<|endoftext|>").expect("ids").last(), Some(&(first as u32)));
        // A file of the pair names both.
        for path in [&vocabulary, &file] {
            let opened = Tokenizer::open(path).expect("open");
            assert_eq!(opened.to_json().expect("json"), read.to_json().expect("json"));
        }
        let lines: Vec<&str> = merges.lines().collect();
        std::fs::write(&file, lines[..lines.len() - 19].join("\n")).expect("write");
        let error = Tokenizer::from_gpt1_files(&vocabulary, &file).expect_err("cut off").to_string();
        assert!(error.contains("merges.txt: ") && error.contains("the file may be cut off"), "{error}");
        std::fs::write(&file, merges.replace('\n', "\r")).expect("write");
        let error = Tokenizer::from_gpt1_files(&vocabulary, &file).expect_err("CR").to_string();
        assert!(error.contains("merges.txt: line 1: a carriage return inside of the line"), "{error}");
        std::fs::write(&vocabulary, vocab.to_string().replacen('{', "{\"!\": 7,", 1)).expect("write");
        let error = Tokenizer::from_gpt1_files(&vocabulary, &file).expect_err("twice").to_string();
        assert!(error.contains("vocab.json: the key `!` twice"), "{error}");
        std::fs::write(&vocabulary, vocab.to_string()).expect("write");
        std::fs::write(&file, format!("{}\nh ###\n", lines[0])).expect("write");
        let error = Tokenizer::from_gpt1_files(&vocabulary, &file).expect_err("others").to_string();
        assert!(error.contains("merges.txt: line 2: \"h ###\": expected \"###\" in vocab.json"), "{error}");
    }

    #[test]
    fn other_vocabularies_are_refused() {
        let bytes: Map<String, Value> =
            byte_symbols().map(|c| c.to_string()).zip((0..).map(|id: u32| json!(id))).collect();
        let clip = bytes.keys().map(|c| format!("{c}</w>")).zip((256..).map(|id: u32| json!(id)));
        let clip: Map<String, Value> = bytes.clone().into_iter().chain(clip).collect();
        for (vocab, what) in [
            (json!({"[UNK]": 0, "a": 1, "##b": 2}), "a WordPiece vocabulary"),
            (json!({"<unk>": 0, "▁a": 1}), "a SentencePiece vocabulary"),
            (json!({"a": 0, "b": 1}), "of an unknown kind"),
            (Value::Object(clip), "such as CLIP's"),
            (json!([1]), "not an object"),
        ] {
            let (_folder, [vocabulary, merges]) = folder(&vocab, "#version: 0.2\na b\n");
            let error = Tokenizer::from_gpt1_files(&vocabulary, &merges).expect_err(what).to_string();
            assert!(error.contains("vocab.json: ") && error.contains(what), "{error}");
        }
        let other = tempfile::tempdir().expect("folder");
        std::fs::write(other.path().join("spiece.model"), "x").expect("write");
        let error = Tokenizer::open(other.path()).expect_err("none").to_string();
        assert!(error.contains("no tokenizer that can be read (spiece.model is a SentencePiece model)"), "{error}");
        let error = Tokenizer::open(other.path().join("spiece.model")).expect_err("none").to_string();
        assert!(error.contains("spiece.model: a SentencePiece model: expected tokenizer.json"), "{error}");
    }
}
