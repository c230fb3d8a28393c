//! Sections and files that comments and documents cite: each is in the repository.

use super::source::{line_of, words};
use std::collections::BTreeSet;

/// The numbers of a specification's headings: `## 4. Long sequences` and `### 4.1 Layer types`.
pub fn sections(specification: &str) -> BTreeSet<String> {
    let number = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim_start();
        let number = title.split_whitespace().next()?.trim_end_matches('.');
        number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.to_string())
    };
    specification.lines().filter_map(number).collect()
}

/// Citations of sections that the specification has not, and of the specification by a name that no file has.
pub fn missing_sections(text: &str, sections: &BTreeSet<String>) -> Vec<String> {
    let mut missing = Vec::new();
    for at in words(text, "SPEC") {
        missing.push(format!("line {}: SPEC: must be docs/spec.md section N", line_of(text, at)));
    }
    for (at, name) in text.match_indices("spec.md") {
        let rest = text[at + name.len()..].trim_start_matches(|c: char| c.is_whitespace() || ",:)".contains(c));
        let Some(rest) = rest.strip_prefix("sections").or_else(|| rest.strip_prefix("section")) else { continue };
        // `section N` tells how to cite.
        let list =
            rest.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty() && *word != "and");
        for number in list.map_while(number) {
            if !sections.contains(&number) {
                missing.push(format!("line {}: docs/spec.md has no section {number}", line_of(text, at)));
            }
        }
    }
    missing
}

/// The section's number that a word starts with.
fn number(word: &str) -> Option<String> {
    let number: String = word.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let number = number.trim_end_matches('.');
    (!number.is_empty()).then(|| number.to_string())
}

/// Names of Python, Markdown, Rust, WGSL and shell files in a text that are no file of the repository: neither by the path
/// from the root or from the text's folder, nor by the end of a path. An address that comes before a name, in the same
/// paragraph, makes it another project's.
pub fn missing_files(text: &str, folder: &str, files: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || "_-./<>*{}".contains(c);
    for ending in [".py", ".md", ".rs", ".wgsl", ".sh"] {
        for (at, _) in text.match_indices(ending) {
            let end = at + ending.len();
            if text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let start =
                text[..at].rfind(|c| !is_part(c)).map_or(0, |i| i + text[i..].chars().next().map_or(1, char::len_utf8));
            let name = &text[start..end];
            let is_pattern = name.contains(['*', '<', '{']) || name.contains("NAME") || start == at;
            let paragraph = text[..start].rfind("\n\n").unwrap_or(0);
            let is_elsewhere =
                name.contains("//") || ["://", "github.com/"].iter().any(|a| text[paragraph..start].contains(a));
            if !is_pattern && !is_elsewhere && !is_file(name, folder, files) {
                missing.push(format!("line {}: {name}: no such file", line_of(text, start)));
            }
        }
    }
    missing
}

fn is_file(name: &str, folder: &str, files: &[String]) -> bool {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let from_folder = parts.join("/");
    let name = name.trim_start_matches("./");
    files.iter().any(|file| *file == from_folder || file == name || file.ends_with(&format!("/{name}")))
}

#[test]
fn a_section_that_is_not_there_is_seen() {
    let sections =
        sections("# Specification\n\n## 1. Decoder\n### 1.1 Forward pass\ntext 9.9\n## 6. Names\n### 6.10 Sampling\n");
    assert_eq!(sections.iter().collect::<Vec<_>>(), ["1", "1.1", "6", "6.10"]);
    let missing = |text: &str| missing_sections(text, &sections);
    assert_eq!(
        missing("docs/spec.md section 1.1, and (docs/spec.md sections 1 and 6.10) or docs/spec.md, section 6."),
        [""; 0]
    );
    assert_eq!(missing("a\n docs/spec.md\n   section 1.7"), ["line 2: docs/spec.md has no section 1.7"]);
    assert_eq!(
        missing("docs/spec.md sections 1, 2 and 7 are"),
        ["line 1: docs/spec.md has no section 2", "line 1: docs/spec.md has no section 7"]
    );
    assert_eq!(missing("cite `docs/spec.md section N`; see docs/spec.md. Spec 7"), [""; 0]);
    assert_eq!(missing("SPEC 4, SPEC.md").len(), 2);
}

#[test]
fn a_file_that_is_not_there_is_seen() {
    let files = ["src/ops/matmul.rs", "docs/spec.md", "shaders/matmul/tiled.wgsl", "test.sh"].map(String::from);
    let missing = |text: &str| missing_files(text, "docs", &files);
    assert_eq!(missing("matmul/tiled.wgsl, src/ops/matmul.rs, `spec.md`. (../src/ops/matmul.rs) ./test.sh"), [""; 0]);
    assert_eq!(
        missing("a\nsee verify.py, rows.wgsl and ops/none.rs."),
        ["line 2: verify.py: no such file", "line 2: ops/none.rs: no such file", "line 2: rows.wgsl: no such file"]
    );
    assert_eq!(missing("shaders/lib/NAME.wgsl, src/*.rs, a .py file, x.rsync, <op>.rs"), [""; 0]);
    assert_eq!(missing("github.com/openai/x, text_utils.py\nhttps://rustup.rs"), [""; 0]);
    assert_eq!(missing("github.com/openai/x\n\ntext_utils.py").len(), 1);
}
