//! The rows of TSV and CSV text: cells, and the line where each row begins.
//!
//! CSV is read strictly, as in RFC 4180: a file with a stray quote has no certain meaning, and a lenient reader would join or
//! lose rows. In TSV, quotes are ordinary characters and nothing is escaped. Lines end in LF or CRLF; more than one CR before
//! an LF, which a CRLF file that was written in text mode has, is one line end.

use crate::{Error, Result};
use std::path::Path;

/// Cells by row, with the line of each row, from 1. A row without cells is an empty line.
pub(super) type Rows = Vec<(usize, Vec<String>)>;

/// An error about a line.
pub(super) fn at(path: &Path, line: usize, found: impl std::fmt::Display) -> Error {
    Error::file(path, found).at(format!("line {line}"))
}

/// Numbered lines without their ends.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.split('\n').map(|line| line.trim_end_matches('\r')))
}

fn lone_carriage_return(path: &Path, line: usize) -> Error {
    at(path, line, "a carriage return inside of the line").expected("expected lines that end in LF or CRLF")
}

/// The rows of a TSV.
///
/// # Errors
/// [`Error::File`] with the line for a carriage return inside of a line.
pub(super) fn tsv(text: &str, path: &Path) -> Result<Rows> {
    let row = |(line, text): (usize, &str)| match text {
        _ if text.contains('\r') => Err(lone_carriage_return(path, line)),
        "" => Ok((line, Vec::new())),
        _ => Ok((line, text.split('\t').map(String::from).collect())),
    };
    lines(text).map(row).collect()
}

/// The rows of a CSV.
///
/// # Errors
/// [`Error::File`] with the line for a quote inside of a field without quotes, a quoted field that is never closed or that
/// does not end at a comma or line end, and a carriage return inside of a line.
pub(super) fn csv(text: &str, path: &Path) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut reader = Reader { rest: text, line: 1, path };
    while !reader.rest.is_empty() {
        let (line, is_empty) = (reader.line, line_end(reader.rest).is_some());
        let mut cells = vec![reader.cell()?];
        while let Some(rest) = reader.rest.strip_prefix(',') {
            reader.rest = rest;
            cells.push(reader.cell()?);
        }
        reader.end_line()?;
        rows.push((line, if is_empty { Vec::new() } else { cells }));
    }
    Ok(rows)
}

/// The length of the line end at the start of a text; 0 at the end of the text.
fn line_end(text: &str) -> Option<usize> {
    let returns = text.len() - text.trim_start_matches('\r').len();
    match text.as_bytes().get(returns) {
        None => Some(returns),
        Some(b'\n') => Some(returns + 1),
        Some(_) => None,
    }
}

/// The rest of a CSV, and its line.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    fn error(&self, found: impl std::fmt::Display) -> Error {
        at(self.path, self.line, found)
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn cell(&mut self) -> Result<String> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let end = self.rest.find([',', '\n', '\r', '"']).unwrap_or(self.rest.len());
        if self.rest[end..].starts_with('"') {
            let expected = "expected quotes around the whole field, and each quote in it written twice";
            return Err(self.error("a quote inside of a field that does not begin with one").expected(expected));
        }
        Ok(self.take(end).to_string())
    }

    fn quoted(&mut self) -> Result<String> {
        let opened = self.line;
        self.take(1);
        let mut cell = String::new();
        loop {
            let Some(end) = self.rest.find('"') else {
                return Err(at(self.path, opened, "a quote that is never closed"));
            };
            cell += self.take(end);
            self.take(1);
            if !self.rest.starts_with('"') {
                break;
            }
            cell.push('"');
            self.take(1);
        }
        if !self.rest.starts_with(',') && line_end(self.rest).is_none() {
            let found = match opened == self.line {
                true => "text after the quote that ends a field".to_string(),
                false => format!("text after the quote that ends the field begun in line {opened}"),
            };
            return Err(self
                .error(found)
                .expected("expected a comma or the end of the line; a quote is written twice"));
        }
        Ok(cell)
    }

    fn end_line(&mut self) -> Result<()> {
        match line_end(self.rest) {
            Some(length) => {
                self.take(length);
                Ok(())
            }
            None => Err(lone_carriage_return(self.path, self.line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Rows> {
        csv(text, Path::new("x.csv"))
    }

    fn refused(text: &str, message: &str) {
        assert_eq!(read(text).expect_err(text).to_string(), format!("x.csv: {message}"), "{text:?}");
    }

    #[test]
    fn csv_is_read_strictly() {
        let rows = read("a,b\r\n\"x, \"\"y\"\"\r\nz\",\r\r\n\n ,\"\"\n\"\"").expect("rows");
        let cells = |row: &[&str]| row.iter().map(|cell| cell.to_string()).collect::<Vec<_>>();
        let expected = [
            (1, cells(&["a", "b"])),
            (2, cells(&["x, \"y\"\r\nz", ""])),
            (4, cells(&[])),
            (5, cells(&[" ", ""])),
            (6, cells(&[""])),
        ];
        assert_eq!(rows, expected);
        refused("a,b\n1,\"2\n3,4\n", "line 2: a quote that is never closed");
        refused(
            "a,b\n\"one,1\n\"two\" x,2\n",
            "line 3: text after the quote that ends the field begun in line 2: expected a comma or the end of the line; \
             a quote is written twice",
        );
        refused(
            "a,b\n\"one\"x,1\n",
            "line 2: text after the quote that ends a field: expected a comma or the end of the line; a quote is \
             written twice",
        );
        for text in ["a,b\n5\" pipe,1\n", "a,b\n \"x\",1\n"] {
            refused(
                text,
                "line 2: a quote inside of a field that does not begin with one: expected quotes around the whole \
                 field, and each quote in it written twice",
            );
        }
        let lone = "a carriage return inside of the line: expected lines that end in LF or CRLF";
        refused("a,b\r1,2\r", &format!("line 1: {lone}"));
        refused(
            "a,b\n\"1\"\r,2\n",
            "line 2: text after the quote that ends a field: expected a comma or the end of the \
             line; a quote is written twice",
        );
        assert_eq!(
            tsv("a\tb\r1\t2\r", Path::new("x.csv")).expect_err("CR").to_string(),
            format!("x.csv: line 1: {lone}")
        );
    }

    proptest! {
        /// What is written with all cells quoted is read back; the lines are those of the rows.
        #[test]
        fn quoted_cells_are_read_back(rows in prop::collection::vec(prop::collection::vec("[a,\"\r\n é]{0,5}", 1..4), 0..6)) {
            let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\r\n";
            let texts: Vec<String> = rows.iter().map(line).collect();
            let read = read(&texts.concat()).expect("rows");
            prop_assert_eq!(read.iter().map(|(_, cells)| cells.clone()).collect::<Vec<_>>(), rows);
            for (i, (line, _)) in read.iter().enumerate() {
                prop_assert_eq!(*line, texts[..i].concat().matches('\n').count() + 1);
            }
        }

        /// Any text is read or refused, and every byte that is no comma, quote or line end is in a cell.
        #[test]
        fn no_text_is_lost(text in "[ab,\"\r\n]{0,40}") {
            if let Ok(rows) = read(&text) {
                let letters = |text: &str| text.matches(['a', 'b']).count();
                prop_assert_eq!(rows.iter().flat_map(|(_, cells)| cells).map(|cell| letters(cell)).sum::<usize>(), letters(&text));
            }
        }
    }
}
