//! Reads text files and JSON lines into blocks.

use super::block_builder::BlockBuilder;
use super::file_errors::{json_type, listed, not_utf8, unreadable};
use super::json_line::{WrongLine, parse_object, unseen};
use super::read_file::skip_byte_order_mark;
use crate::{Error, Result};
use std::io::{BufRead, Read};
use std::path::Path;

/// Bytes that are read at a time.
pub(super) const READ_BYTES: usize = 1 << 16;

/// Reads a text file line by line, a long line in parts. A line that equals `separator` ends a document. `offset` is that
/// of the first byte, for errors.
pub(super) fn read_text_file(
    reader: &mut impl BufRead,
    path: &Path,
    mut offset: u64,
    separator: Option<&str>,
    blocks: &mut BlockBuilder<'_>,
) -> Result<()> {
    // A separator and its line break always fit into one part.
    let most = READ_BYTES.max(separator.map_or(0, str::len) + 2) as u64;
    let (mut part, mut at_line_start) = (Vec::new(), true);
    loop {
        let n = reader.by_ref().take(most).read_until(b'\n', &mut part).map_err(|e| unreadable(path, e))? as u64;
        let valid = match std::str::from_utf8(&part) {
            Ok(text) => text.len(),
            // The other bytes of the last character are in the next part.
            Err(e) if e.error_len().is_none() && n > 0 => e.valid_up_to(),
            Err(e) => return Err(not_utf8(path, offset + e.valid_up_to() as u64)),
        };
        if n == 0 {
            return Ok(());
        }
        let text = std::str::from_utf8(&part[..valid]).unwrap_or_default();
        let ends_line = text.ends_with('\n');
        let is_whole_line = at_line_start && (ends_line || n < most);
        if is_whole_line && separator.is_some_and(|separator| without_line_break(text) == separator) {
            blocks.end_document();
        } else {
            blocks.push(text)?;
        }
        at_line_start = ends_line;
        offset += valid as u64;
        part.drain(..valid);
    }
}

/// Where a separator occurs in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// As a line.
    pub line: bool,
    /// Inside of a line.
    pub inside: bool,
}

/// Searches a text for a separator, until it is found in both places.
pub(super) fn find_separator(reader: &mut impl BufRead, separator: &str) -> std::io::Result<Found> {
    skip_byte_order_mark(reader)?;
    let most = READ_BYTES.max(separator.len() + 2);
    let (mut part, mut at_line_start, mut found) = (Vec::new(), true, Found::default());
    // The end of the part before, in which a separator may begin.
    let mut before: Vec<u8> = Vec::new();
    loop {
        part.clear();
        let n = reader.by_ref().take(most as u64).read_until(b'\n', &mut part)?;
        if n == 0 || (found.line && found.inside) {
            return Ok(found);
        }
        let ends_line = part.ends_with(b"\n");
        let line = part.strip_suffix(b"\n").unwrap_or(&part);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if at_line_start && (ends_line || n < most) && line == separator.as_bytes() {
            found.line = true;
            continue;
        }
        let end_of_line = line.len();
        before.extend(&part[..end_of_line]);
        found.inside |= !separator.is_empty() && String::from_utf8_lossy(&before).contains(separator);
        at_line_start = ends_line;
        before.drain(..if ends_line { before.len() } else { before.len().saturating_sub(separator.len()) });
    }
}

fn without_line_break(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Reads JSON lines, the text of one document in each. Lines of white space are skipped. `offset` is that of the first
/// byte, for errors.
pub(super) fn read_json_lines(
    reader: &mut impl BufRead,
    path: &Path,
    mut offset: u64,
    blocks: &mut BlockBuilder<'_>,
) -> Result<()> {
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
        let wrong = |found: String| Error::file(path, found).at(format!("line {number}"));
        if !text.starts_with('{') && unseen(text).is_none() {
            return Err(wrong("not a JSON object".into()).expected("expected {\"text\": \"…\"}"));
        }
        let mut keys = parse_object(text).map_err(|found| match found {
            WrongLine::NotJson(why) => wrong(why),
            WrongLine::NotAnObject(kind) => wrong(kind.into()).expected("expected {\"text\": \"…\"}"),
            WrongLine::Repeated(why) => wrong(why).expected("expected each key once"),
        })?;
        match keys.remove("text") {
            Some(serde_json::Value::String(text)) => blocks.push(&text)?,
            None => {
                let names = listed(keys.keys().map(String::as_str));
                let keys = if names.is_empty() { String::new() } else { format!("; the keys are {names}") };
                let expected = format!("expected the document's text in it{keys}");
                return Err(wrong("no key `text`".into()).expected(expected));
            }
            Some(other) => {
                return Err(wrong(format!("`text` is {}", json_type(&other))).expected("expected a string"));
            }
        }
        blocks.end_document();
    }
    Ok(())
}
