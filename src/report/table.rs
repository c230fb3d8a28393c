//! A table of text for the terminal: aligned columns, two spaces between them, a rule below the headings.

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
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Table {
            columns: columns.iter().map(|(heading, align)| ((*heading).into(), *align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells are empty, additional cells are ignored.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |text: &str| text.chars().count();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, (heading, _))| self.rows.iter().map(|row| length(&row[i])).fold(length(heading), usize::max))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((cell, width), (_, align)) in cells.zip(&widths).zip(&self.columns) {
                line += &match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
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
}
