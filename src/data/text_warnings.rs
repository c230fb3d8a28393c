//! Warnings about texts that are probably not read as they are meant: a separator that ends no document, and files of another
//! format that are read as plain text.

use super::file_errors::unreadable;
use super::text_files::{TextFile, TextFiles};
use super::text_format::TextFormat;
use super::text_reader::{READ_BYTES, find_separator};
use crate::Result;
use crate::terminal::visible_path;
use serde_json::{Deserializer, Value};
use std::fs::File;
use std::io::{BufReader, Read};

/// Most files that have a warning each.
const WARNED: usize = 3;

impl TextFiles {
    /// All warnings.
    ///
    /// # Errors
    /// [`crate::Error::File`] with the path of a file that cannot be read.
    pub fn warnings(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> = self.separator_warning()?.into_iter().collect();
        let mut more = 0;
        for file in self.plain() {
            match other_format(file)? {
                Some(why) if all.len() <= WARNED => all.push(format!("{}: {why}", visible_path(&file.path))),
                found => more += usize::from(found.is_some()),
            }
        }
        if more > 0 {
            all.push(format!("the same of {more} more files"));
        }
        Ok(all)
    }

    /// A warning about a separator that ends no document, or that is inside of lines of a file.
    ///
    /// # Errors
    /// [`crate::Error::File`] with the path of a file that cannot be read.
    pub fn separator_warning(&self) -> Result<Option<String>> {
        let Some(separator) = self.separator() else { return Ok(None) };
        let shown = format!("document_separator = {separator:?}");
        if self.plain().next().is_none() {
            return Ok(Some(format!("{shown} has no effect: in JSON lines, each line is a document")));
        }
        let (mut is_line, mut inside, mut both) = (false, Vec::new(), Vec::new());
        for file in self.plain() {
            let reader = File::open(&file.path).map_err(|e| unreadable(&file.path, e))?;
            let mut reader = BufReader::with_capacity(READ_BYTES, reader);
            let found = find_separator(&mut reader, separator).map_err(|e| unreadable(&file.path, e))?;
            is_line |= found.line;
            if found.inside {
                let list = if found.line { &mut both } else { &mut inside };
                list.push(visible_path(&file.path));
            }
        }
        let rule = "inside of lines, but it must be a line by itself";
        let named = |first: &String, others: &[String]| match others.len() {
            0 => first.clone(),
            n => format!("{first} and {n} more files"),
        };
        Ok(match (is_line, inside.as_slice()) {
            (true, []) => both.split_first().map(|(first, others)| {
                let files = named(first, others);
                format!("{shown} is also inside of lines of {files}, where it ends no document and is read as text")
            }),
            (true, [first, others @ ..]) => Some(format!(
                "{shown} ends no document of {}: it occurs {rule}; each file is one document",
                named(first, others)
            )),
            (false, []) => Some(format!("{shown} ends no document: it does not occur; each file is one document")),
            (false, _) => Some(format!("{shown} ends no document: it occurs {rule}; each file is one document")),
        })
    }

    fn plain(&self) -> impl Iterator<Item = &TextFile> {
        self.files().iter().filter(|file| file.format == TextFormat::Text)
    }
}

/// What a file is that is read as plain text, where it is something else: a table, or JSON.
fn other_format(file: &TextFile) -> Result<Option<&'static str>> {
    let extension = file.path.extension().unwrap_or_default().to_ascii_lowercase();
    if extension == "csv" || extension == "tsv" {
        return Ok(Some(
            "a table, which is read as plain text with its separators; `wgpt finetune`, `predict` and `eval --task` read \
             tables of examples",
        ));
    }
    let mut start = Vec::new();
    let reader = File::open(&file.path).map_err(|e| unreadable(&file.path, e))?;
    reader.take(READ_BYTES as u64).read_to_end(&mut start).map_err(|e| unreadable(&file.path, e))?;
    let is_cut = file.bytes > start.len() as u64;
    Ok(is_json(&start, is_cut).then_some(
        "JSON, which is read as plain text with its keys and quotes; to learn its texts, put each as the key `text` of a \
         line into a .jsonl file",
    ))
}

/// Whether a file begins with an object, or is a list. `is_cut`: whether there are more bytes than these.
fn is_json(start: &[u8], is_cut: bool) -> bool {
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start).trim_ascii();
    if !start.starts_with(b"{") && !start.starts_with(b"[") {
        return false;
    }
    let mut values = Deserializer::from_slice(start).into_iter::<Value>();
    match values.next() {
        Some(Ok(Value::Object(_))) => true,
        // A text may begin with `[1]`.
        Some(Ok(_)) => start.len() == values.byte_offset(),
        Some(Err(e)) => is_cut && e.is_eof(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_text() {
        for json in ["{\"text\": \"a\"}\n{\"text\": \"b\"}\n", " [{\"text\": \"a\"}]\n", "\u{feff}{}", "[\"a\", 1]"] {
            assert!(is_json(json.as_bytes(), false), "{json}");
        }
        for text in ["", "[1] A text", "[Verse]\nla la", "{ braces }", "a {}", "[1, 2", "7", "{\"a\": "] {
            assert!(!is_json(text.as_bytes(), false), "{text}");
        }
        assert!(is_json(b"[{\"text\": \"cut he", true));
    }
}
