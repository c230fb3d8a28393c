//! Files of a task's examples, columns by name: `.tsv`, `.csv`, or `.jsonl` with an object a line.
//!
//! In a TSV quotes are plain characters and nothing is escaped; a CSV has quotes as RFC 4180 has them; lines may end in
//! CRLF, and a byte-order mark is dropped. Every row knows its line, for errors.

use super::source::{not_json, shape, unreadable};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The rows of a file.
#[derive(Clone, Debug)]
pub struct TaskFile {
    path: PathBuf,
    /// Names of the columns; none where every row has its own keys.
    header: Option<Vec<String>>,
    /// Each row's line, from 1, and cells.
    rows: Vec<(usize, Cells)>,
}

#[derive(Clone, Debug)]
enum Cells {
    /// As many as the header has.
    Texts(Vec<String>),
    Keys(Map<String, Value>),
}

/// What stands in one place.
enum Cell<'a> {
    Text(&'a str),
    Json(&'a Value),
}

/// One row of a [`TaskFile`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    file: &'a TaskFile,
    /// Its line, from 1.
    pub line: usize,
    cells: &'a Cells,
}

impl TaskFile {
    /// Reads a file, by its extension.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: a file of another kind, missing or without a row, not UTF-8, a row with more or
    /// fewer cells than the header, a line that is no JSON object.
    pub fn read(path: &Path) -> Result<Self> {
        let kind = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let read = match kind.as_str() {
            "tsv" => tsv,
            "csv" => csv,
            "jsonl" => jsonl,
            _ => return Err(Error::file(path, "must be a .tsv, a .csv, or a .jsonl with an object a line")),
        };
        let bytes = std::fs::read(path).map_err(|e| unreadable(path, e))?;
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            at(path, line, "not UTF-8: must be a UTF-8 text")
        })?;
        let (header, rows) = read(text.strip_prefix('\u{feff}').unwrap_or(text), path)?;
        if rows.is_empty() {
            return Err(Error::file(path, "holds no examples"));
        }
        Ok(TaskFile { path: path.to_path_buf(), header, rows })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether cells may be lists: not in a table.
    pub fn has_lists(&self) -> bool {
        self.header.is_none()
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, cells)| Row { file: self, line: *line, cells })
    }

    /// An error about one of its lines.
    pub fn error(&self, line: usize, message: impl std::fmt::Display) -> Error {
        at(&self.path, line, message)
    }
}

impl<'a> Row<'a> {
    fn cell(&self, column: &str) -> Result<Cell<'a>> {
        match (&self.file.header, self.cells) {
            (Some(header), Cells::Texts(cells)) => {
                let mut places = (0..header.len()).filter(|i| header[*i] == column);
                match (places.next(), places.next()) {
                    (Some(place), None) => Ok(Cell::Text(&cells[place])),
                    (None, _) => {
                        let message = format!("has no column `{column}`: its columns are {}", header.join(", "));
                        Err(self.file.error(1, message))
                    }
                    _ => Err(self.file.error(1, format!("has the column `{column}` twice"))),
                }
            }
            (_, Cells::Keys(keys)) => match keys.get(column) {
                Some(value) => Ok(Cell::Json(value)),
                None => {
                    let known: Vec<&str> = keys.keys().map(String::as_str).collect();
                    Err(self.error(format!("has no key `{column}`: its keys are {}", known.join(", "))))
                }
            },
            (None, Cells::Texts(_)) => Err(self.error(format!("has no column `{column}`"))),
        }
    }

    /// A text as it stands there.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such column, no text, or one of white space alone.
    pub fn text(&self, column: &str) -> Result<&'a str> {
        let text = match self.cell(column)? {
            Cell::Text(text) => text,
            Cell::Json(Value::String(text)) => text,
            Cell::Json(other) => return Err(self.wrong(column, other, "a text in quotes")),
        };
        if text.trim().is_empty() {
            return Err(self.error(format!("its `{column}` is empty: must hold text")));
        }
        Ok(text)
    }

    /// A label: a word or a number, without the white space around it.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn label(&self, column: &str) -> Result<String> {
        let label = match self.cell(column)? {
            Cell::Text(text) => text.trim().to_string(),
            Cell::Json(Value::String(text)) => text.trim().to_string(),
            Cell::Json(Value::Number(number)) => number.to_string(),
            Cell::Json(Value::Bool(yes)) => yes.to_string(),
            Cell::Json(other) => return Err(self.wrong(column, other, "a word or a number")),
        };
        if label.is_empty() {
            return Err(self.error(format!("its `{column}` is empty: must be a word or a number")));
        }
        Ok(label)
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such column, or no number.
    pub fn number(&self, column: &str) -> Result<f32> {
        let label = self.label(column)?;
        let number = label.parse::<f32>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| self.error(format!("its `{column}` is {label:?}: must be a number")))
    }

    /// A list of texts.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such key, no list, or something in it that is no text.
    pub fn list(&self, column: &str) -> Result<Vec<&'a str>> {
        let items = match self.cell(column)? {
            Cell::Json(Value::Array(items)) => items,
            Cell::Json(other) => return Err(self.wrong(column, other, "a list of texts")),
            Cell::Text(_) => {
                let example = format!("{{\"{column}\": [\"one\", \"another\"]}}");
                return Err(self.error(format!("a table's `{column}` is no list: must be a .jsonl with {example}")));
            }
        };
        let text = |(i, item): (usize, &'a Value)| match item {
            Value::String(text) if !text.trim().is_empty() => Ok(text.as_str()),
            Value::String(_) => Err(self.error(format!("its `{column}[{i}]` is empty: must hold text"))),
            other => Err(self.wrong(&format!("{column}[{i}]"), other, "a text in quotes")),
        };
        items.iter().enumerate().map(text).collect()
    }

    /// Whether a label is a number of its own, not a number's text in quotes.
    pub fn is_number(&self, column: &str) -> bool {
        matches!(self.cell(column), Ok(Cell::Json(Value::Number(_))))
    }

    /// An error about this row.
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        self.file.error(self.line, message)
    }

    fn wrong(&self, column: &str, value: &Value, right: &str) -> Error {
        self.error(format!("its `{column}` is {}: must be {right}", shape(value)))
    }
}

type Table = (Option<Vec<String>>, Vec<(usize, Cells)>);

fn at(path: &Path, line: usize, message: impl std::fmt::Display) -> Error {
    Error::file(path, format!("line {line}: {message}"))
}

/// Lines without their ends, each with its number; empty ones are none.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let ended = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    (1..).zip(ended).filter(|(_, line)| !line.is_empty())
}

/// A row with as many cells as there are columns.
fn fits(header: &[String], cells: Vec<String>, line: usize, path: &Path) -> Result<(usize, Cells)> {
    if cells.len() != header.len() {
        let (has, columns) = (cells.len(), header.len());
        return Err(at(path, line, format!("has {has} columns: the first line has {columns}")));
    }
    Ok((line, Cells::Texts(cells)))
}

fn tsv(text: &str, path: &Path) -> Result<Table> {
    let cells = |line: &str| line.split('\t').map(String::from).collect::<Vec<_>>();
    let mut lines = lines(text);
    let Some((_, first)) = lines.next() else { return Ok((Some(Vec::new()), Vec::new())) };
    let header = cells(first);
    let rows = lines.map(|(line, text)| fits(&header, cells(text), line, path)).collect::<Result<_>>()?;
    Ok((Some(header), rows))
}

fn csv(text: &str, path: &Path) -> Result<Table> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let wrong = |e: csv::Error| Error::file(path, format!("not CSV: {e}"));
    let cells = |record: &csv::StringRecord| record.iter().map(String::from).collect::<Vec<_>>();
    let header = cells(reader.headers().map_err(wrong)?);
    let mut records = Vec::new();
    // The place and line of the record before: newlines are counted once.
    let (mut counted, mut line) = (0, 1);
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let start = record.position().map_or(counted, |position| position.byte() as usize);
        // Empty lines in front of a record count as part of it.
        let blank = text.as_bytes()[start..].iter().take_while(|b| b"\r\n".contains(b)).count();
        line += text.as_bytes()[counted..start + blank].iter().filter(|b| **b == b'\n').count();
        counted = start + blank;
        records.push((line, cells(&record)));
    }
    // The crate takes the end of the file for the end of a quote that nobody closed.
    let last = text[counted..].trim_end();
    if last.contains('\n') && last.matches('"').count() % 2 == 1 {
        return Err(at(path, line, "has a quote that is never closed"));
    }
    let rows = records.into_iter().map(|(line, cells)| fits(&header, cells, line, path)).collect::<Result<_>>()?;
    Ok((Some(header), rows))
}

fn jsonl(text: &str, path: &Path) -> Result<Table> {
    let object = |(line, text): (usize, &str)| {
        let value: Value = serde_json::from_str(text).map_err(|e| at(path, line, not_json(&e)))?;
        match value {
            Value::Object(keys) => Ok((line, Cells::Keys(keys))),
            other => Err(at(path, line, format!("is {}: must be an object with a key a column", shape(&other)))),
        }
    };
    Ok((None, lines(text).filter(|(_, line)| !line.trim().is_empty()).map(object).collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<TaskFile> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        TaskFile::read(&path)
    }

    fn texts(file: &TaskFile, column: &str) -> Vec<(usize, String)> {
        file.rows().map(|row| (row.line, row.text(column).expect("a text").to_string())).collect()
    }

    fn owned(all: &[(usize, &str)]) -> Vec<(usize, String)> {
        all.iter().map(|(line, text)| (*line, text.to_string())).collect()
    }

    /// The error of what is read, without the folder: one line, exit code 2.
    fn says(name: &str, bytes: &[u8], of: impl Fn(&TaskFile) -> Result<()>) -> String {
        let error = read(name, bytes).and_then(|file| of(&file)).expect_err(name);
        let message = error.to_string();
        assert!(error.is_invalid_input() && message.lines().count() == 1, "{message}");
        message[message.find(name).expect("the file")..].to_string()
    }

    #[test]
    fn quotes_of_a_tsv_are_plain_characters() {
        let bytes = b"\xef\xbb\xbflabel\t#1 String\r\n1\t\"a\" said, \"b\r\n\r\n0\t no, it's \" \r\n";
        let file = read("x.TSV", bytes).expect("read");
        assert_eq!(texts(&file, "#1 String"), owned(&[(2, "\"a\" said, \"b"), (4, " no, it's \" ")]));
        assert_eq!(file.rows().map(|row| row.label("label").expect("label")).collect::<Vec<_>>(), ["1", "0"]);
        assert!(!file.has_lists());
    }

    #[test]
    fn quotes_of_a_csv_hold_commas_and_lines() {
        let bytes = b"\xef\xbb\xbftext,label\r\n\"one, \"\"two\"\"\r\nthree\",x\r\n\r\n\r\nplain, y \r\n\"\",z";
        let file = read("x.csv", bytes).expect("read");
        let lines: Vec<usize> = file.rows().map(|row| row.line).collect();
        assert_eq!(lines, [2, 6, 7]);
        let rows: Vec<Row<'_>> = file.rows().collect();
        assert_eq!(rows[0].text("text").expect("a text"), "one, \"two\"\r\nthree");
        assert_eq!((rows[1].label("label").expect("y"), rows[2].label("label").expect("z")), ("y".into(), "z".into()));
        assert!(
            rows[2]
                .text("text")
                .expect_err("empty")
                .to_string()
                .ends_with("x.csv: line 7: its `text` is empty: must hold text")
        );
    }

    #[test]
    fn an_object_a_line() {
        let bytes = "\u{feff}{\"c\": \"one\", \"ch\": [\"a\", \"b\"], \"l\": 1}\r\n\n {\"l\": \"x\", \"c\": \"é\\n\"}"
            .as_bytes();
        let file = read("x.jsonl", bytes).expect("read");
        assert_eq!(texts(&file, "c"), owned(&[(1, "one"), (3, "é\n")]));
        let rows: Vec<Row<'_>> = file.rows().collect();
        assert_eq!(rows[0].list("ch").expect("a list"), ["a", "b"]);
        assert_eq!((rows[0].number("l").expect("1"), rows[1].label("l").expect("x")), (1.0, "x".into()));
        assert_eq!((rows[0].is_number("l"), rows[1].is_number("l"), file.has_lists()), (true, false, true));
    }

    #[test]
    fn errors_name_file_and_line() {
        let text =
            |column: &'static str| move |file: &TaskFile| file.rows().try_for_each(|row| row.text(column).map(drop));
        let any = text("a");
        for (name, bytes, message) in [
            ("x.tsv", &b"b\tc\n1\t2"[..], "x.tsv: line 1: has no column `a`: its columns are b, c"),
            ("x.tsv", b"a\ta\n1\t2", "x.tsv: line 1: has the column `a` twice"),
            ("x.tsv", b"a\tb\n1\t2\n3", "x.tsv: line 3: has 1 columns: the first line has 2"),
            ("x.tsv", b"a\tb\n1\t2\n\t \n", "x.tsv: line 3: its `a` is empty: must hold text"),
            ("x.tsv", b"a\tb\n1\t2\n\xff\t", "x.tsv: line 3: not UTF-8: must be a UTF-8 text"),
            ("x.tsv", b"", "x.tsv: holds no examples"),
            ("x.tsv", b"a\tb\r\n", "x.tsv: holds no examples"),
            ("x.csv", b"a,b\n1,\"2\n\"\n3", "x.csv: line 4: has 1 columns: the first line has 2"),
            ("x.csv", b"", "x.csv: holds no examples"),
            ("x.csv", b"a,b\n1,2\n3,\"4\n5,6\n7,8\n", "x.csv: line 3: has a quote that is never closed"),
            ("x.jsonl", b"\n{\"a\": \"\"}", "x.jsonl: line 2: its `a` is empty: must hold text"),
            ("x.jsonl", b"{\"a\": null}", "x.jsonl: line 1: its `a` is null: must be a text in quotes"),
            ("x.jsonl", b"{\"b\": 1, \"c\": 2}", "x.jsonl: line 1: has no key `a`: its keys are b, c"),
            ("x.jsonl", b"[]", "x.jsonl: line 1: is a list: must be an object with a key a column"),
            ("x.jsonl", b"{}\n{", "x.jsonl: line 2: not JSON: EOF while parsing an object at column 1"),
            ("x.txt", b"a\nb", "x.txt: must be a .tsv, a .csv, or a .jsonl with an object a line"),
        ] {
            assert_eq!(says(name, bytes, any), message);
        }
        let list = |file: &TaskFile| file.rows().try_for_each(|row| row.list("a").map(drop));
        for (name, bytes, message) in [
            ("x.jsonl", &b"{\"a\": \"b\"}"[..], "x.jsonl: line 1: its `a` is a text: must be a list of texts"),
            ("x.jsonl", b"{\"a\": [\"b\", 3]}", "x.jsonl: line 1: its `a[1]` is a number: must be a text in quotes"),
            ("x.jsonl", b"{\"a\": [\" \"]}", "x.jsonl: line 1: its `a[0]` is empty: must hold text"),
            (
                "x.csv",
                b"a,b\n1,2",
                "x.csv: line 2: a table's `a` is no list: must be a .jsonl with {\"a\": [\"one\", \"another\"]}",
            ),
        ] {
            assert_eq!(says(name, bytes, list), message);
        }
        let number = |file: &TaskFile| file.rows().try_for_each(|row| row.number("a").map(drop));
        for word in ["x", "nan", "inf", "1e99"] {
            let message = says("x.tsv", format!("a\n2.5\n{word}").as_bytes(), number);
            assert_eq!(message, format!("x.tsv: line 3: its `a` is {word:?}: must be a number"));
        }
        let message = says("x.jsonl", b"{\"a\": [1]}", |file| file.rows().try_for_each(|row| row.label("a").map(drop)));
        assert_eq!(message, "x.jsonl: line 1: its `a` is a list: must be a word or a number");
        let missing = TaskFile::read(Path::new("none.tsv")).expect_err("none").to_string();
        assert!(missing.starts_with("none.tsv: could not be read"), "{missing}");
    }
}
