//! Files of examples: `.tsv`, `.csv`, or `.jsonl` with an object a line. Columns have names.
//!
//! Every row knows its line, for errors. An empty line is refused, because an answer for each line of the file would move up
//! otherwise; empty lines at the end are no rows. A byte-order mark is skipped. Names of columns are found although the file,
//! or the user, has blanks around them or invisible characters in them.

use super::table_text::{self, Rows, at, lines};
use crate::data::file_errors::{json_type, listed};
use crate::data::json_line::{WrongLine, parse_object};
use crate::data::read_file::read_text_bytes;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Whole numbers below this are exact as f64: 2^53.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// The rows of a file.
#[derive(Clone, Debug)]
pub struct ExampleFile {
    path: PathBuf,
    /// The columns; `None` where every row has keys.
    header: Option<Vec<Name>>,
    /// The line of each row, from 1, and its cells.
    rows: Vec<(usize, Cells)>,
}

#[derive(Clone, Debug)]
enum Cells {
    /// One for each column of the header.
    Texts(Vec<String>),
    Keys(Map<String, Value>),
}

/// The name of a column.
#[derive(Clone, Debug)]
struct Name {
    /// As it is in the file.
    text: String,
    /// Without what cannot be seen.
    visible: String,
}

impl Name {
    fn new(text: &str) -> Self {
        Name { text: text.to_string(), visible: visible(text) }
    }
}

/// A name without what cannot be seen: blanks at its ends, control characters, and characters without width.
pub(super) fn visible(name: &str) -> String {
    let has_width = |c: &char| (!c.is_control() || c.is_whitespace()) && !ZERO_WIDTH.contains(c);
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    name.chars().filter(has_width).map(blank).collect::<String>().trim().to_string()
}

/// Characters without width: soft hyphen, zero-width spaces and joiners, marks of direction, byte-order mark.
const ZERO_WIDTH: [char; 8] =
    ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];

/// The index of the only name that equals `wanted`, or else of the only one that looks the same. `Err` has the number of
/// such names.
fn find<'a>(names: impl Iterator<Item = (&'a str, &'a str)> + Clone, wanted: &str) -> Result<usize, usize> {
    let only = |matching: &dyn Fn(&(&str, &str)) -> bool| {
        let found: Vec<usize> = names.clone().enumerate().filter(|(_, name)| matching(name)).map(|(i, _)| i).collect();
        if let [one] = found[..] { Ok(one) } else { Err(found.len()) }
    };
    match only(&|(text, _)| *text == wanted) {
        Err(0) => {
            let wanted = visible(wanted);
            only(&|(_, visible)| *visible == wanted)
        }
        found => found,
    }
}

enum Cell<'a> {
    Text(&'a str),
    Json(&'a Value),
}

/// A row of an [`ExampleFile`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    file: &'a ExampleFile,
    /// Its line, from 1.
    pub line: usize,
    cells: &'a Cells,
}

impl ExampleFile {
    /// Reads a file. The extension is its format.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: another extension, a missing file, no rows, not UTF-8, an empty line that is not at
    /// the end, a row with more or fewer cells than the header, CSV that is not as in RFC 4180, a line that is not a JSON
    /// object.
    pub fn read(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let read = match extension.as_str() {
            "tsv" => tsv,
            "csv" => csv,
            "jsonl" => jsonl,
            _ => {
                let error = Error::file(path, "not a file of examples");
                return Err(error.expected("expected a .tsv, a .csv, or a .jsonl with an object a line"));
            }
        };
        let bytes = read_text_bytes(path)?;
        let line = |end: usize| bytes[..end].iter().filter(|b| **b == b'\n').count() + 1;
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| at(path, line(e.valid_up_to()), "not UTF-8").expected("expected UTF-8 text"))?;
        if let Some(end) = text.find('\0') {
            return Err(at(path, line(end), "a NUL byte").expected("expected UTF-8 text"));
        }
        let (header, rows) = read(text, path)?;
        if rows.is_empty() {
            return Err(Error::file(path, "no examples").expected("expected one or more"));
        }
        Ok(ExampleFile { path: path.to_path_buf(), header, rows })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether cells may be lists. They may not in a table.
    pub fn has_lists(&self) -> bool {
        self.header.is_none()
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, cells)| Row { file: self, line: *line, cells })
    }

    /// What to say about the separator of a table that seems to have one column because it has another separator.
    fn other_separator(&self) -> &'static str {
        let Some([only]) = self.header.as_deref() else { return "" };
        let is_csv = self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        match only.text.contains([';', ',', '\t', '|']) {
            true if is_csv => "; in a .csv, commas must separate the columns",
            true => "; in a .tsv, tabs must separate the columns",
            false => "",
        }
    }

    /// An error about a line of the file.
    pub fn error(&self, line: usize, found: impl std::fmt::Display) -> Error {
        at(&self.path, line, found)
    }
}

impl<'a> Row<'a> {
    fn cell(&self, column: &str) -> Result<Cell<'a>> {
        match (&self.file.header, self.cells) {
            (Some(header), Cells::Texts(cells)) => {
                match find(header.iter().map(|name| (name.text.as_str(), name.visible.as_str())), column) {
                    Ok(place) => Ok(Cell::Text(&cells[place])),
                    Err(0) => {
                        let error = self.file.error(1, format!("no column `{}`", column.escape_debug()));
                        let names = listed(header.iter().map(|name| name.text.as_str()));
                        Err(error.expected(format!("the columns are {names}{}", self.file.other_separator())))
                    }
                    Err(_) => {
                        let found = format!("two columns `{}`", column.escape_debug());
                        Err(self.file.error(1, found).expected("expected one"))
                    }
                }
            }
            (_, Cells::Keys(keys)) => {
                if let Some(value) = keys.get(column) {
                    return Ok(Cell::Json(value));
                }
                let names: Vec<Name> = keys.keys().map(|key| Name::new(key)).collect();
                match find(names.iter().map(|name| (name.text.as_str(), name.visible.as_str())), column) {
                    Ok(place) => Ok(Cell::Json(&keys[&names[place].text])),
                    Err(0) => {
                        let error = self.error(format!("no key `{}`", column.escape_debug()));
                        Err(error.expected(format!("the keys are {}", listed(keys.keys().map(String::as_str)))))
                    }
                    Err(_) => {
                        let found = format!("two keys `{}`", column.escape_debug());
                        Err(self.error(found).expected("expected one"))
                    }
                }
            }
            (None, Cells::Texts(_)) => Err(self.error(format!("no column `{column}`"))),
        }
    }

    /// The text of a cell, as it is.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such column, not a string, or only white space.
    pub fn text(&self, column: &str) -> Result<&'a str> {
        let text = match self.cell(column)? {
            Cell::Text(text) => text,
            Cell::Json(Value::String(text)) => text,
            Cell::Json(other) => return Err(self.wrong_type(column, other, "expected a string")),
        };
        if text.trim().is_empty() {
            return Err(self.error(format!("`{column}` is empty")).expected("expected text"));
        }
        Ok(text)
    }

    /// A label: a word or a number, without white space around it.
    ///
    /// # Errors
    /// As [`Row::text`].
    pub fn label(&self, column: &str) -> Result<String> {
        self.word(column, "expected a word or a number")
    }

    fn word(&self, column: &str, expected: &str) -> Result<String> {
        let label = match self.cell(column)? {
            Cell::Text(text) => text.trim().to_string(),
            Cell::Json(Value::String(text)) => text.trim().to_string(),
            // Whole numbers beyond 64 bits are read as floats, and different ones as the same.
            Cell::Json(Value::Number(number))
                if number.is_f64() && number.as_f64().is_some_and(|x| x.abs() >= EXACT) =>
            {
                let found = format!("`{column}` is a number of more than 15 digits");
                return Err(self.error(found).expected("expected a smaller number, or the digits in quotes"));
            }
            Cell::Json(Value::Number(number)) => number.to_string(),
            Cell::Json(Value::Bool(value)) => value.to_string(),
            Cell::Json(other) => return Err(self.wrong_type(column, other, expected)),
        };
        if label.is_empty() {
            return Err(self.error(format!("`{column}` is empty")).expected(expected));
        }
        Ok(label)
    }

    /// A finite number.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such column, or not a number.
    pub fn number(&self, column: &str) -> Result<f32> {
        let word = self.word(column, "expected a number")?;
        let number = word.parse::<f32>().ok();
        number.filter(|number| number.is_finite()).ok_or_else(|| {
            let is_large = number.is_some_and(f32::is_infinite) && word.contains(|c: char| c.is_ascii_digit());
            let expected = if is_large { "expected a number below 3.4e38" } else { "expected a number" };
            self.error(format!("`{column}` is {word:?}")).expected(expected)
        })
    }

    /// A list of texts.
    ///
    /// # Errors
    /// [`Error::File`] with file and line: no such key, not a list, or an item that is not a string or only white space.
    pub fn list(&self, column: &str) -> Result<Vec<&'a str>> {
        let items = match self.cell(column)? {
            Cell::Json(Value::Array(items)) => items,
            Cell::Json(other) => return Err(self.wrong_type(column, other, "expected a list of strings")),
            Cell::Text(_) => {
                let example = format!("{{\"{column}\": [\"one\", \"another\"]}}");
                let error = self.error(format!("`{column}` is a cell of a table"));
                return Err(error.expected(format!("expected a list, in a .jsonl with {example}")));
            }
        };
        let text = |(i, item): (usize, &'a Value)| match item {
            Value::String(text) if !text.trim().is_empty() => Ok(text.as_str()),
            Value::String(_) => Err(self.error(format!("`{column}[{i}]` is empty")).expected("expected text")),
            other => Err(self.wrong_type(&format!("{column}[{i}]"), other, "expected a string")),
        };
        items.iter().enumerate().map(text).collect()
    }

    /// Whether a cell is a JSON number, not a string.
    pub fn is_number(&self, column: &str) -> bool {
        matches!(self.cell(column), Ok(Cell::Json(Value::Number(_))))
    }

    /// An error about this row.
    pub fn error(&self, found: impl std::fmt::Display) -> Error {
        self.file.error(self.line, found)
    }

    fn wrong_type(&self, column: &str, value: &Value, expected: &str) -> Error {
        self.error(format!("`{column}` is {}", json_type(value))).expected(expected)
    }
}

type Table = (Option<Vec<Name>>, Vec<(usize, Cells)>);

fn empty_line(path: &Path, line: usize) -> Error {
    at(path, line, "an empty line").expected("expected a row")
}

fn tsv(text: &str, path: &Path) -> Result<Table> {
    table(table_text::tsv(text, path)?, path, "; in a .tsv, quotes are ordinary characters")
}

fn csv(text: &str, path: &Path) -> Result<Table> {
    table(table_text::csv(text, path)?, path, "")
}

/// Separates the names of the columns from the rows, and checks that each row has one cell for each column. `quotes` is what
/// to say where a row with another number of cells has quotes.
fn table(mut rows: Rows, path: &Path, quotes: &str) -> Result<Table> {
    // Empty lines at the end.
    while rows.pop_if(|(_, cells)| cells.is_empty() || matches!(&cells[..], [cell] if cell.trim().is_empty())).is_some()
    {
    }
    let mut rows = rows.into_iter().map(|(line, cells)| match cells.is_empty() {
        true => Err(empty_line(path, line)),
        false => Ok((line, cells)),
    });
    let Some(first) = rows.next() else { return Ok((Some(Vec::new()), Vec::new())) };
    let (line, names) = first?;
    if names.first().is_some_and(|name| name.starts_with("sep=")) {
        let error = at(path, line, "`sep=`, which tells Excel the separator");
        return Err(error.expected("expected the names of the columns, without such a line before them"));
    }
    let header: Vec<Name> = names.iter().map(|name| Name::new(name)).collect();
    let row = |row: Result<(usize, Vec<String>)>| {
        let (line, cells) = row?;
        if cells.len() != header.len() {
            let hint = if cells.iter().any(|cell| cell.starts_with('"')) { quotes } else { "" };
            let expected = format!("expected {}, as in the first line{hint}", header.len());
            return Err(at(path, line, format!("{} columns", cells.len())).expected(expected));
        }
        Ok((line, Cells::Texts(cells)))
    };
    let rows = rows.map(row).collect::<Result<_>>()?;
    Ok((Some(header), rows))
}

fn jsonl(text: &str, path: &Path) -> Result<Table> {
    let object = |(line, text): (usize, &str)| {
        if text.trim().is_empty() {
            return Err(empty_line(path, line));
        }
        let keys = parse_object(text).map_err(|wrong| match wrong {
            WrongLine::NotJson(why) => at(path, line, why),
            WrongLine::NotAnObject(kind) => {
                at(path, line, kind).expected("expected an object with a key for each column")
            }
            WrongLine::Repeated(why) => at(path, line, why).expected("expected each key once"),
        })?;
        Ok((line, Cells::Keys(keys)))
    };
    Ok((None, lines(text.trim_end()).filter(|_| !text.trim().is_empty()).map(object).collect::<Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, bytes: &[u8]) -> Result<ExampleFile> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        ExampleFile::read(&path)
    }

    fn texts(file: &ExampleFile, column: &str) -> Vec<(usize, String)> {
        file.rows().map(|row| (row.line, row.text(column).expect("a text").to_string())).collect()
    }

    fn strings(all: &[(usize, &str)]) -> Vec<(usize, String)> {
        all.iter().map(|(line, text)| (*line, text.to_string())).collect()
    }

    /// The message of an error without the folder.
    fn message_of(name: &str, bytes: &[u8], of: impl Fn(&ExampleFile) -> Result<()>) -> String {
        let error = read(name, bytes).and_then(|file| of(&file)).expect_err(name);
        let message = error.to_string();
        assert!(error.is_invalid_input() && message.lines().count() == 1, "{message}");
        message[message.find(name).expect("the file")..].to_string()
    }

    #[test]
    fn quotes_of_a_tsv_are_ordinary_characters() {
        let bytes = b"\xef\xbb\xbflabel\t#1 String\r\n1\t\"a\" said, \"b\r\n0\t no, it's \" \r\n\r\n\n";
        let file = read("x.TSV", bytes).expect("read");
        assert_eq!(texts(&file, "#1 String"), strings(&[(2, "\"a\" said, \"b"), (3, " no, it's \" ")]));
        assert_eq!(file.rows().map(|row| row.label("label").expect("label")).collect::<Vec<_>>(), ["1", "0"]);
        assert!(!file.has_lists());
    }

    #[test]
    fn quotes_of_a_csv_may_contain_commas_and_line_breaks() {
        let bytes = b"\xef\xbb\xbftext,label\r\n\"one, \"\"two\"\"\r\nthree\",x\r\nplain, y \r\n\"\",z";
        let file = read("x.csv", bytes).expect("read");
        let lines: Vec<usize> = file.rows().map(|row| row.line).collect();
        assert_eq!(lines, [2, 4, 5]);
        let rows: Vec<Row<'_>> = file.rows().collect();
        assert_eq!(rows[0].text("text").expect("a text"), "one, \"two\"\r\nthree");
        assert_eq!((rows[1].label("label").expect("y"), rows[2].label("label").expect("z")), ("y".into(), "z".into()));
        assert!(
            rows[2]
                .text("text")
                .expect_err("empty")
                .to_string()
                .ends_with("x.csv: line 5: `text` is empty: expected text")
        );
    }

    #[test]
    fn a_jsonl_has_an_object_a_line() {
        let bytes =
            "\u{feff}{\"c\": \"one\", \"ch\": [\"a\", \"b\"], \"l\": 1}\r\n {\"l\": \"x\", \"c\": \"é\\n\"}\n \n"
                .as_bytes();
        let file = read("x.jsonl", bytes).expect("read");
        assert_eq!(texts(&file, "c"), strings(&[(1, "one"), (2, "é\n")]));
        let rows: Vec<Row<'_>> = file.rows().collect();
        assert_eq!(rows[0].list("ch").expect("a list"), ["a", "b"]);
        assert_eq!((rows[0].number("l").expect("1"), rows[1].label("l").expect("x")), (1.0, "x".into()));
        assert_eq!((rows[0].is_number("l"), rows[1].is_number("l"), file.has_lists()), (true, false, true));
    }

    #[test]
    fn columns_are_found_whatever_is_invisible_in_their_names() {
        for header in ["t,a", " t , a ", "t\u{a0},\u{200b}a", "\u{feff}\u{feff}t,a\u{ad}", "\"t\r\",\"a\n\"", "t,a\r\r"]
        {
            let file = read("x.csv", format!("{header}\n1,2\n").as_bytes()).expect(header);
            assert_eq!((texts(&file, "t")[0].1.as_str(), texts(&file, "a")[0].1.as_str()), ("1", "2"), "{header:?}");
            assert_eq!(texts(&file, " a\u{a0}")[0].1, "2", "{header:?}");
        }
        let file = read("x.tsv", b"a \ta\n1\t2\n").expect("read");
        assert_eq!(texts(&file, "a")[0].1, "2", "the name itself comes first");
        let file = read("x.jsonl", "{\"a\\u00a0\": \"1\"}".as_bytes()).expect("read");
        assert_eq!(texts(&file, "a")[0].1, "1");
        let both =
            message_of("x.tsv", b"a \t a\n1\t2\n", |file| file.rows().try_for_each(|row| row.text("a").map(drop)));
        assert_eq!(both, "x.tsv: line 1: two columns `a`: expected one");
    }

    #[test]
    fn errors_name_file_and_line() {
        let text =
            |column: &'static str| move |file: &ExampleFile| file.rows().try_for_each(|row| row.text(column).map(drop));
        let check = |cases: &[(&str, &[u8], &str)], of: &dyn Fn(&ExampleFile) -> Result<()>| {
            for (name, bytes, message) in cases {
                assert_eq!(message_of(name, bytes, of), *message);
            }
        };
        let cases: [(&str, &[u8], &str); 28] = [
            ("x.tsv", b"b\tc\n1\t2", "x.tsv: line 1: no column `a`: the columns are `b`, `c`"),
            ("x.tsv", b"a\ta\n1\t2", "x.tsv: line 1: two columns `a`: expected one"),
            ("x.tsv", b"a\tb\n1\t2\n3", "x.tsv: line 3: 1 columns: expected 2, as in the first line"),
            ("x.tsv", b"a\tb\n1\t2\n\t \n", "x.tsv: line 3: `a` is empty: expected text"),
            ("x.tsv", b"a\tb\n1\t2\n\xff\t", "x.tsv: line 3: not UTF-8: expected UTF-8 text"),
            ("x.tsv", b"", "x.tsv: no examples: expected one or more"),
            ("x.tsv", b"a\tb\r\n", "x.tsv: no examples: expected one or more"),
            ("x.csv", b"a,b\n1,\"2\n\"\n3", "x.csv: line 4: 1 columns: expected 2, as in the first line"),
            ("x.csv", b"", "x.csv: no examples: expected one or more"),
            ("x.csv", b"a,b\n1,2\n3,\"4\n5,6\n7,8\n", "x.csv: line 3: a quote that is never closed"),
            ("x.jsonl", b"{\"a\": \"b\"}\n{\"a\": \"\"}", "x.jsonl: line 2: `a` is empty: expected text"),
            ("x.jsonl", b"{\"a\": null}", "x.jsonl: line 1: `a` is null: expected a string"),
            ("x.jsonl", b"{\"b\": 1, \"c\": 2}", "x.jsonl: line 1: no key `a`: the keys are `b`, `c`"),
            (
                "x.csv",
                b"a;b\n1;2\n",
                "x.csv: line 1: no column `a`: the columns are `a;b`; in a .csv, commas must separate the columns",
            ),
            (
                "x.tsv",
                b"a,b\n1,2\n",
                "x.tsv: line 1: no column `a`: the columns are `a,b`; in a .tsv, tabs must separate the columns",
            ),
            (
                "x.csv",
                b"sep=,\na,b\n1,2\n",
                "x.csv: line 1: `sep=`, which tells Excel the separator: expected the names of the columns, without such a line before them",
            ),
            (
                "x.jsonl",
                b"{\"a\": \"1\"}\r{\"a\": \"2\"}",
                "x.jsonl: line 1: not JSON: a carriage return inside of the line, but lines must end in LF or CRLF",
            ),
            ("x.jsonl", b"[]", "x.jsonl: line 1: a list: expected an object with a key for each column"),
            ("x.jsonl", b"{}\n{", "x.jsonl: line 2: not JSON: EOF while parsing an object at column 1"),
            ("x.tsv", b"a\n1\n\n2\n", "x.tsv: line 3: an empty line: expected a row"),
            ("x.csv", b"a\n1\n\r\n2\n", "x.csv: line 3: an empty line: expected a row"),
            ("x.jsonl", b"{\"a\": \"b\"}\n \n{\"a\": \"b\"}", "x.jsonl: line 2: an empty line: expected a row"),
            ("x.tsv", b"\na\n1\n", "x.tsv: line 1: an empty line: expected a row"),
            ("x.tsv", b"a\n1\0\n", "x.tsv: line 2: a NUL byte: expected UTF-8 text"),
            ("x.tsv", b"\xff\xfea\0\n\0", "x.tsv: UTF-16 text: expected UTF-8 text"),
            (
                "x.tsv",
                b"a\tb\n\"1\n2\"\t3\n",
                "x.tsv: line 2: 1 columns: expected 2, as in the first line; in a .tsv, quotes are ordinary characters",
            ),
            (
                "x.csv",
                "A, b\u{200b}\u{a0}\n1,2".as_bytes(),
                "x.csv: line 1: no column `a`: the columns are `A`, ` b\\u{200b}\\u{a0}`",
            ),
            (
                "x.txt",
                b"a\nb",
                "x.txt: not a file of examples: expected a .tsv, a .csv, or a .jsonl with an object a line",
            ),
        ];
        check(&cases, &text("a"));
        let list = |file: &ExampleFile| file.rows().try_for_each(|row| row.list("a").map(drop));
        let cases: [(&str, &[u8], &str); 4] = [
            ("x.jsonl", b"{\"a\": \"b\"}", "x.jsonl: line 1: `a` is a string: expected a list of strings"),
            ("x.jsonl", b"{\"a\": [\"b\", 3]}", "x.jsonl: line 1: `a[1]` is a number: expected a string"),
            ("x.jsonl", b"{\"a\": [\" \"]}", "x.jsonl: line 1: `a[0]` is empty: expected text"),
            (
                "x.csv",
                b"a,b\n1,2",
                "x.csv: line 2: `a` is a cell of a table: expected a list, in a .jsonl with {\"a\": [\"one\", \"another\"]}",
            ),
        ];
        check(&cases, &list);
        let number = |file: &ExampleFile| file.rows().try_for_each(|row| row.number("a").map(drop));
        for (word, below) in [("x", ""), ("nan", ""), ("inf", ""), ("1e99", " below 3.4e38")] {
            let message = message_of("x.tsv", format!("a\n2.5\n{word}").as_bytes(), number);
            assert_eq!(message, format!("x.tsv: line 3: `a` is {word:?}: expected a number{below}"));
        }
        let message =
            message_of("x.jsonl", b"{\"a\": [1]}", |file| file.rows().try_for_each(|row| row.label("a").map(drop)));
        assert_eq!(message, "x.jsonl: line 1: `a` is a list: expected a word or a number");
        let missing = ExampleFile::read(Path::new("none.tsv")).expect_err("none").to_string();
        assert!(missing.starts_with("none.tsv: could not be read"), "{missing}");
    }
}
