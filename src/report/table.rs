//! A table of text for the terminal: aligned columns, two spaces between them, a rule below the headings. Characters that
//! take two columns are counted as two, and control characters are shown as escapes.

use crate::terminal::{columns, visible};
use std::fmt;

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Headings and rows of cells. `Display` prints the table.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new(headings: &[(&str, Align)]) -> Self {
        Table {
            columns: headings.iter().map(|(heading, align)| (visible(heading).into(), *align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells are empty, additional cells are ignored.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| visible(&cell.into()).into_owned()).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (heading, _))| self.rows.iter().map(|row| columns(&row[i])).fold(columns(heading), usize::max))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, width), (_, align)) in cells.zip(&widths).zip(&self.columns) {
                let blanks = " ".repeat(width - columns(cell));
                line += &match align {
                    Align::Left => format!("{cell}{blanks}  "),
                    Align::Right => format!("{blanks}{cell}  "),
                };
            }
            line.truncate(line.trim_end().len());
            line
        };
        writeln!(f, "{}", line(&mut self.columns.iter().map(|(heading, _)| heading.as_str())))?;
        let rules: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
        writeln!(f, "{}", line(&mut rules.iter().map(String::as_str)))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&mut row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("kernel", Align::Left), ("ms", Align::Right), ("verdict", Align::Left)]);
        table.row(["gelu", "0.25", "ok"]).row(["λ", "12.50", "wrong"]).row(["short"]);
        let expected = "\
kernel     ms  verdict
──────  ─────  ───────
gelu     0.25  ok
λ       12.50  wrong
short
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn wide_and_control_characters_are_aligned() {
        let mut table =
            Table::new(&[("right \\ given", Align::Left), ("正面", Align::Right), ("\u{1b}[1m", Align::Right)]);
        table.row(["正面", "12", "3"]).row(["e\u{301}\n", "4", "5"]);
        let expected = "\
right \\ given  正面  \\u{1b}[1m
─────────────  ────  ─────────
正面             12          3
e\u{301}\\n               4          5
";
        assert_eq!(table.to_string(), expected);
    }
}
