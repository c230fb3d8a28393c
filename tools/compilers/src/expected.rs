//! The committed tables: what a chip's compiler made of each variant, and the exceptions that are accepted.

use crate::driver::Result;
use crate::measure::Row;
use std::fmt::Write;

/// A line of a committed table.
pub struct Expected {
    pub kernel: String,
    pub variant: String,
    pub registers: u32,
    pub spills: u32,
    pub occupancy: u32,
}

const HEADINGS: &str = "kernel\tvariant\tregisters\tspills\tscratch\tworkgroup memory\toccupancy\tcycles";

/// The text of a chip's table.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    if let Some(row) = rows.first() {
        writeln!(text, "# {}; occupancy: {}", row.driver, row.occupancy_unit).expect("writing to a string");
    }
    writeln!(text, "{HEADINGS}").expect("writing to a string");
    for r in rows {
        let numbers = [r.registers, r.spills, r.scratch, r.workgroup_memory, r.occupancy].map(|n| n.to_string());
        let numbers = numbers.join("\t");
        writeln!(text, "{}\t{}\t{numbers}\t{}", r.kernel, r.variant, r.cycles).expect("writing to a string");
    }
    text
}

/// The lines of a chip's table.
pub fn parse(text: &str) -> Result<Vec<Expected>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && *line != HEADINGS);
    let line = |line: &str| -> Result<Expected> {
        let cells: Vec<&str> = line.split('\t').collect();
        let [kernel, variant, registers, spills, _, _, occupancy, _] = cells[..] else {
            return Err(format!("{line:?}: expected the columns {HEADINGS:?}").into());
        };
        let (kernel, variant) = (kernel.into(), variant.into());
        let [registers, spills, occupancy] = [registers.parse()?, spills.parse()?, occupancy.parse()?];
        Ok(Expected { kernel, variant, registers, spills, occupancy })
    };
    lines.map(line).collect()
}

/// Variants of a chip whose spills and occupancy are accepted.
pub struct Exception {
    chip: String,
    /// `*`: any.
    kernel: String,
    /// Words that the variant has, such as `D=128`. `*`: any variant.
    words: String,
    reason: String,
}

/// A line of the list of exceptions: chip, kernel, words of the variant and reason, separated by tabs.
fn exception(line: &str) -> Result<Exception> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [chip, kernel, words, reason] = cells[..] else {
        return Err(format!("{line:?}: expected chip, kernel, words of the variant and reason, with tabs").into());
    };
    Ok(Exception { chip: chip.into(), kernel: kernel.into(), words: words.into(), reason: reason.into() })
}

/// Reads the list of exceptions.
pub fn exceptions(text: &str) -> Result<Vec<Exception>> {
    text.lines().filter(|line| !line.starts_with('#')).map(exception).collect()
}

/// The list of exceptions without those of the chip that no variant needs any more.
pub fn needed_exceptions(text: &str, chip: &str, rows: &[Row]) -> Result<String> {
    let mut left = String::new();
    for line in text.lines() {
        let is_needed = line.starts_with('#') || {
            let exception = exception(line)?;
            exception.chip != chip || rows.iter().any(|row| row.is_spilled() && exception.covers(row))
        };
        if is_needed {
            left += line;
            left.push('\n');
        }
    }
    Ok(left)
}

impl Exception {
    fn covers(&self, row: &Row) -> bool {
        let has = |word: &str| row.variant.split(' ').any(|own| own == word);
        self.chip == row.chip
            && (self.kernel == "*" || self.kernel == row.kernel)
            && (self.words == "*" || self.words.split(' ').all(has))
    }
}

/// What a comparison found.
#[derive(Default)]
pub struct Findings {
    pub failures: Vec<String>,
    pub accepted: Vec<String>,
    pub notes: Vec<String>,
}

/// Compares with a chip's table. A spill fails, and an occupancy below the table's.
pub fn compare(rows: &[Row], table: &str, exceptions: &[Exception]) -> Result<Findings> {
    let expected = parse(table)?;
    let mut found = Findings::default();
    for row in rows {
        let name = format!("{} {}", row.kernel, row.variant);
        let mut faults = Vec::new();
        if row.is_spilled() {
            faults.push(format!("{} spills, {} bytes of scratch", row.spills, row.scratch));
        }
        match expected.iter().find(|e| e.kernel == row.kernel && e.variant == row.variant) {
            None => found.notes.push(format!("{name}: not in the table")),
            Some(e) if row.occupancy < e.occupancy => {
                faults.push(format!("occupancy {}, was {} {}", row.occupancy, e.occupancy, row.occupancy_unit));
            }
            Some(e) if row.occupancy > e.occupancy => {
                found.notes.push(format!("{name}: occupancy {}, was {}", row.occupancy, e.occupancy));
            }
            Some(_) => {}
        }
        if faults.is_empty() {
            continue;
        }
        let fault = format!("{name}: {}", faults.join("; "));
        match exceptions.iter().find(|exception| exception.covers(row)) {
            Some(exception) => found.accepted.push(format!("{fault} ({})", exception.reason)),
            None => found.failures.push(fault),
        }
    }
    let gone = expected.iter().filter(|e| !rows.iter().any(|r| r.kernel == e.kernel && r.variant == e.variant));
    found.notes.extend(gone.map(|e| format!("{} {}: no longer chosen", e.kernel, e.variant)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(variant: &str, spills: u32, occupancy: u32) -> Row {
        Row {
            chip: "navi31".into(),
            driver: "driver 1".into(),
            kernel: "matmul".into(),
            variant: variant.into(),
            group: 64,
            subgroup: 64,
            registers: 96,
            spills,
            scratch: 0,
            workgroup_memory: 0,
            occupancy,
            occupancy_unit: "waves",
            instructions: 1,
            cycles: 1,
            models: Vec::new(),
            statistics: serde_json::Map::new(),
        }
    }

    #[test]
    fn spills_and_lost_occupancy_fail() {
        let table = text(&[row("D=32 bias", 0, 16), row("D=64", 0, 16), row("D=96", 0, 16)]);
        let compare =
            |rows: &[Row], list: &str| compare(rows, &table, &exceptions(list).expect("a list")).expect("a table");
        let found = compare(&[row("D=32 bias", 0, 16), row("D=64", 0, 16), row("D=96", 0, 16)], "");
        assert!(found.failures.is_empty() && found.accepted.is_empty() && found.notes.is_empty());

        let rows = [row("D=32 bias", 3, 16), row("D=64", 0, 8), row("D=128", 0, 4)];
        let found = compare(&rows, "");
        assert_eq!(
            found.failures,
            ["matmul D=32 bias: 3 spills, 0 bytes of scratch", "matmul D=64: occupancy 8, was 16 waves"]
        );
        assert_eq!(found.notes, ["matmul D=128: not in the table", "matmul D=96: no longer chosen"]);

        let found = compare(&rows, "# a comment\nnavi31\tmatmul\tbias D=32\tknown\nnavi31\t*\tD=6\tno whole word");
        assert_eq!(found.accepted, ["matmul D=32 bias: 3 spills, 0 bytes of scratch (known)"]);
        assert_eq!(found.failures.len(), 1);
        let found = compare(&rows, "navi31\t*\t*\tany");
        assert_eq!((found.accepted.len(), found.failures.len()), (2, 0));
        let found = compare(&rows, "ampere\t*\t*\tany");
        assert_eq!((found.accepted.len(), found.failures.len()), (0, 2));
    }

    #[test]
    fn exceptions_that_are_not_needed_are_dropped() {
        let list = "# a comment\nnavi31\tmatmul\tD=32\tx\nnavi31\tmatmul\tD=64\tx\nampere\tmatmul\tD=64\tx\n";
        let left = needed_exceptions(list, "navi31", &[row("D=32", 1, 16), row("D=64", 0, 16)]).expect("a list");
        assert_eq!(left, list.replace("navi31\tmatmul\tD=64\tx\n", ""));
        assert!(exceptions("navi31 matmul").is_err());
    }
}
