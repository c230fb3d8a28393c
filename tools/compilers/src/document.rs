//! The committed tables as one Markdown table, for docs/performance.md.

use crate::driver::Result;
use crate::expected::{self, Expected};
use std::path::Path;

const BEGIN: &str = "<!-- begin: scripts/compilers.sh -- --write -->\n";
const END: &str = "<!-- end -->";

/// Kernels that are in the document.
const KERNELS: [&str; 3] = ["matmul", "attention", "layer_norm"];

/// Replaces the table in the document by that of the folder's files.
pub fn rewrite(document: &Path, folder: &Path) -> Result<()> {
    let mut chips = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let chip = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        chips.push((chip, expected::parse(&std::fs::read_to_string(&path)?)?));
    }
    chips.sort_by(|a, b| a.0.cmp(&b.0));
    let text = std::fs::read_to_string(document)?;
    std::fs::write(document, replaced(&text, &table(&chips))?)?;
    Ok(())
}

fn replaced(text: &str, table: &str) -> Result<String> {
    let missing = || format!("the document has no lines {BEGIN:?} and {END:?}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// One row a variant, one column a chip.
fn table(chips: &[(String, Vec<Expected>)]) -> String {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for (_, lines) in chips {
        for line in lines.iter().filter(|line| KERNELS.iter().any(|kernel| line.kernel.starts_with(kernel))) {
            if !names.contains(&(&line.kernel, &line.variant)) {
                names.push((&line.kernel, &line.variant));
            }
        }
    }
    // Variants of a kernel stay together where a chip has some that others have not.
    names.sort_by_key(|(kernel, _)| *kernel);
    let mut text = String::from("| kernel and variant |");
    chips.iter().for_each(|(chip, _)| text += &format!(" {chip} |"));
    text += &format!("\n|{}\n", " --- |".repeat(1 + chips.len()));
    for (kernel, variant) in names {
        text += &format!("| {} |", format!("{kernel} {}", short(variant)).trim_end());
        for (_, lines) in chips {
            let line = lines.iter().find(|line| (line.kernel.as_str(), line.variant.as_str()) == (kernel, variant));
            text += &match line {
                Some(Expected { registers, spills, occupancy, .. }) => {
                    format!(" {registers} / {spills} / {occupancy} |")
                }
                None => " – |".into(),
            };
        }
        text.push('\n');
    }
    text
}

/// A variant's words without switches that are off.
fn short(variant: &str) -> String {
    variant.split(' ').filter(|word| !word.ends_with("=0")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced() {
        let line = |kernel: &str, variant: &str| Expected {
            kernel: kernel.into(),
            variant: variant.into(),
            registers: 96,
            spills: 1,
            occupancy: 16,
        };
        let a = vec![line("attention", "D=64 DROPOUT=0"), line("dropout", "")];
        let b = vec![line("attention", "D=32 DROPOUT=1"), line("attention", "D=64 DROPOUT=0"), line("matmul", "")];
        let table = table(&[("a".into(), a), ("b".into(), b)]);
        let expected = "| kernel and variant | a | b |\n| --- | --- | --- |\n\
            | attention D=64 | 96 / 1 / 16 | 96 / 1 / 16 |\n\
            | attention D=32 DROPOUT=1 | – | 96 / 1 / 16 |\n| matmul | – | 96 / 1 / 16 |\n";
        assert_eq!(table, expected);
        let text = replaced(&format!("x\n{BEGIN}old\n{END}\ny"), &table).expect("both lines");
        assert_eq!(text, format!("x\n{BEGIN}{table}{END}\ny"));
        assert!(replaced("x", &table).is_err());
    }
}
