//! The rules of the house, read off the files: who names whom, where wgpu and unsafe may stand, what no file may hold.
//! Each rule is a function of text with a test that has seen it fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms from left to right; those of one group do not name each other.
const ROOMS: &[&[&str]] = &[
    &["error"],
    &["dims"],
    &["philox"],
    &["config"],
    &["gpu", "reference", "data"],
    &["ops"],
    &["verify", "model"],
    &["store"],
    &["tasks"],
    &["report"],
    &["train"],
    &["cli"],
    &["main"],
];

/// Lines of a .rs or .wgsl file at most.
const LINES: usize = 800;

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|group| group.contains(&room))
}

/// Rust without comments and the insides of strings: what the compiler takes for code. Lines stay.
fn code(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let at = |i: usize| bytes.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < bytes.len() {
        let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        let hashes =
            if at(i) == 'r' && !word_before { bytes[i + 1..].iter().take_while(|c| **c == '#').count() } else { 0 };
        let end = if at(i) == '/' && at(i + 1) == '/' {
            i + bytes[i..].iter().take_while(|c| **c != '\n').count()
        } else if at(i) == '/' && at(i + 1) == '*' {
            let (mut depth, mut j) = (1, i + 2);
            while depth > 0 && j < bytes.len() {
                match (at(j), at(j + 1)) {
                    ('/', '*') => (depth, j) = (depth + 1, j + 2),
                    ('*', '/') => (depth, j) = (depth - 1, j + 2),
                    _ => j += 1,
                }
            }
            j
        } else if at(i) == 'r' && !word_before && at(i + 1 + hashes) == '"' {
            let mut j = i + 2 + hashes;
            while j < bytes.len() && !(at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#')) {
                j += 1;
            }
            j + 1 + hashes
        } else if at(i) == '"' {
            let mut j = i + 1;
            while j < bytes.len() && at(j) != '"' {
                j += if at(j) == '\\' { 2 } else { 1 };
            }
            j + 1
        } else if at(i) == '\'' && at(i + 1) == '\\' {
            i + 3 + bytes[(i + 3).min(bytes.len())..].iter().take_while(|c| **c != '\'').count() + 1
        } else if at(i) == '\'' && at(i + 2) == '\'' {
            i + 3
        } else {
            out.push(at(i));
            i += 1;
            continue;
        };
        let end = end.min(bytes.len());
        out.push(' ');
        out.extend(bytes[i..end].iter().filter(|c| **c == '\n'));
        i = end;
    }
    out
}

/// Where a word stands in code, as a word of its own.
fn words(code: &str, word: &str) -> Vec<usize> {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let apart = |i: usize| !letter(code[..i].chars().next_back()) && !letter(code[i + word.len()..].chars().next());
    code.match_indices(word).map(|(i, _)| i).filter(|i| apart(*i)).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// The first names of a path's tail: `a::b` gives a, `{a, b::{c, d}, e as f}` gives a, b, e.
fn heads(tail: &str) -> Vec<String> {
    let name =
        |s: &str| -> String { s.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let tail = tail.trim_start();
    let Some(list) = tail.strip_prefix('{') else { return vec![name(tail)] };
    let (mut all, mut depth, mut fresh) = (Vec::new(), 0usize, true);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                all.push(name(&list[i..]));
                fresh = false;
            }
            _ => {}
        }
    }
    all
}

/// The names that a code takes from the crate's root, each with its line.
fn crate_names(code: &str) -> Vec<(usize, String)> {
    let mut all = Vec::new();
    for at in words(code, "crate") {
        if let Some(tail) = code[at + "crate".len()..].trim_start().strip_prefix("::") {
            all.extend(heads(tail).into_iter().map(|name| (line_of(code, at), name)));
        }
    }
    all
}

/// What lib.rs exports under another roof: `pub use error::{Error, Result}` puts both in the room `error`.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for at in words(lib, "use") {
        let tree = lib[at + 3..].split(';').next().unwrap_or_default().trim();
        let tree = tree.strip_prefix("crate::").unwrap_or(tree);
        let (room, rest) = tree.split_once("::").unwrap_or((tree, tree));
        for leaf in rest.split([',', '{', '}']).filter(|s| !s.trim().is_empty() && !s.trim().ends_with("::")) {
            let leaf = leaf.rsplit("::").next().unwrap_or(leaf);
            let leaf = leaf.rsplit(" as ").next().unwrap_or(leaf);
            all.insert(leaf.trim().to_string(), room.trim().to_string());
        }
    }
    all
}

/// The names of exported macros, which stand at the crate's root from whatever room.
fn exported_macros(code: &str) -> Vec<String> {
    code.match_indices("macro_export")
        .filter_map(|(i, _)| code[i..].split_once("macro_rules!"))
        .flat_map(|(_, tail)| heads(tail))
        .collect()
}

/// Arrows that point to the right, or at a neighbour of the same group.
fn wrong_arrows(room: &str, code: &str, roots: &BTreeMap<String, String>) -> Vec<String> {
    let Some(own) = rank(room) else { return vec![format!("{room}: no room of the house")] };
    let mut wrong = Vec::new();
    for (line, name) in crate_names(code) {
        let target = roots.get(&name).map_or(name.as_str(), String::as_str);
        if target == room || target == "wgpu" {
            continue; // wgpu has a rule of its own
        }
        match rank(target) {
            None => wrong.push(format!("line {line}: crate::{name} is no room")),
            Some(other) if other >= own => wrong.push(format!("line {line}: {room} names {target}")),
            Some(_) => {}
        }
    }
    wrong
}

/// Arrows by way of `super`, which leave a room without the word `crate`.
fn wrong_supers(room: &str, own_files: &[String], code: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for at in words(code, "super") {
        let Some(tail) = code[at + "super".len()..].trim_start().strip_prefix("::") else { continue };
        for name in heads(tail) {
            if rank(&name).is_some() && name != room && !own_files.contains(&name) {
                wrong.push(format!("line {}: super::{name}: say crate::{name}", line_of(code, at)));
            }
        }
    }
    wrong
}

/// Lines where code says wgpu as a path or takes it in.
fn wgpu_lines(code: &str) -> Vec<usize> {
    let path = |i: usize| code[i + 4..].trim_start().starts_with("::");
    let taken = |i: usize| ["use", "crate", "::", "{"].iter().any(|w| code[..i].trim_end().ends_with(w));
    words(code, "wgpu").into_iter().filter(|i| path(*i) || taken(*i)).map(|i| line_of(code, i)).collect()
}

/// Words that stand for work not done. Written in two halves, so that this file does not hold them.
fn unfinished(text: &str) -> Vec<String> {
    let signs = [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("to", "do!"),
        ("unimple", "mented!"),
        ("#[ig", "nore"),
        ("db", "g!"),
    ];
    let mut all = Vec::new();
    for sign in signs.map(|(a, b)| format!("{a}{b}")) {
        let found = if sign.starts_with('#') {
            text.match_indices(&sign).map(|(i, _)| i).collect()
        } else if let Some(name) = sign.strip_suffix('!') {
            words(text, name).into_iter().filter(|i| text[i + name.len()..].starts_with('!')).collect()
        } else {
            words(text, &sign)
        };
        all.extend(found.into_iter().map(|i| format!("line {}: {sign}", line_of(text, i))));
    }
    all
}

/// Absolute paths of some machine.
fn machine_paths(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["home", "root", "work", "Users"] {
        let sign = format!("/{folder}/");
        for (i, _) in text.match_indices(&sign) {
            let before = text[..i].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "._-~}>)".contains(c)) {
                all.push(format!("line {}: {sign}", line_of(text, i)));
            }
        }
    }
    all
}

/// Shaders whose path nobody mentions.
fn unregistered(shaders: &[String], launchers: &str) -> Vec<String> {
    let named = |path: &String| ['/', '"'].iter().any(|before| launchers.contains(&format!("{before}{path}")));
    shaders.iter().filter(|path| !named(path)).cloned().collect()
}

// The files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all files under a folder, relative to the root, with `/`.
fn under(folder: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                let name = entry.file_name();
                if !["target", ".git", "runs"].iter().any(|skip| name == *skip) {
                    open.push(path);
                }
            } else if let Ok(short) = path.strip_prefix(root()) {
                all.push(short.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    all.sort();
    all
}

/// What git tracks or would; every file under the root where there is no git.
fn tracked() -> Vec<String> {
    let git = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect()
        }
        _ => under(""),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rust_files() -> Vec<String> {
    under("src").into_iter().filter(|p| p.ends_with(".rs")).collect()
}

/// `src/gpu/device.rs` and `src/gpu.rs` belong to `gpu`.
fn room(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

fn report(rule: &str, all: Vec<String>) {
    assert!(all.is_empty(), "{rule}:\n  {}", all.join("\n  "));
}

#[test]
fn arrows_point_to_the_left() {
    let files: Vec<(String, String)> =
        rust_files().into_iter().map(|p| (code(&read(&p)), p)).map(|(c, p)| (p, c)).collect();
    let mut roots = exports(&code(&read("src/lib.rs")));
    for (path, code) in &files {
        roots.extend(exported_macros(code).into_iter().map(|name| (name, room(path).to_string())));
    }
    let mut wrong = Vec::new();
    for (path, code) in files.iter().filter(|(p, _)| p != "src/lib.rs") {
        let own = room(path);
        let inside = |p: &String| p.strip_prefix(&format!("src/{own}/")).map(|s| room(s).to_string());
        let own_files: Vec<String> = files.iter().filter_map(|(p, _)| inside(p)).collect();
        let all = wrong_arrows(own, code, &roots).into_iter().chain(wrong_supers(own, &own_files, code));
        wrong.extend(all.map(|w| format!("{path}: {w}")));
    }
    report("a file names only what stands to its left", wrong);
}

#[test]
fn wgpu_stays_in_its_room() {
    let mut wrong = Vec::new();
    for path in rust_files().iter().filter(|p| room(p) != "gpu") {
        let lines = wgpu_lines(&code(&read(path)));
        let allowed = usize::from(path == "src/lib.rs");
        wrong.extend(lines.iter().skip(allowed).map(|line| format!("{path}: line {line}")));
    }
    report("wgpu is named in src/gpu, and once in src/lib.rs to be exported", wrong);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let mut wrong = Vec::new();
    for path in rust_files().iter().filter(|p| room(p) != "gpu" && *p != "src/store/mmap.rs") {
        let code = code(&read(path));
        wrong.extend(words(&code, "unsafe").iter().map(|at| format!("{path}: line {}", line_of(&code, *at))));
    }
    report("unsafe stands in src/gpu and src/store/mmap.rs", wrong);
}

#[test]
fn files_are_one_thought() {
    let mut wrong = Vec::new();
    for path in tracked().iter().filter(|p| p.ends_with(".rs") || p.ends_with(".wgsl")) {
        if !root().join(path).is_file() {
            continue; // deleted, and git has not heard of it
        }
        let text = read(path);
        let lines = text.lines().count();
        if lines > LINES {
            wrong.push(format!("{path}: {lines} lines, at most {LINES}"));
        }
        wrong.extend(unfinished(&text).into_iter().map(|w| format!("{path}: {w}")));
    }
    report("no file too long or unfinished", wrong);
}

#[test]
fn shaders_are_registered() {
    let inner = |p: String| p.strip_prefix("shaders/").map(Into::into);
    let shaders: Vec<String> =
        under("shaders").into_iter().filter(|p| p.ends_with(".wgsl")).filter_map(inner).collect();
    let text_of = |rooms: &[&str]| -> String {
        rust_files().iter().filter(|p| rooms.contains(&room(p))).map(|p| read(p)).collect()
    };
    let (pieces, kernels): (Vec<String>, Vec<String>) = shaders.into_iter().partition(|p| p.starts_with("lib/"));
    report("a shader is named in src/ops or src/gpu", unregistered(&kernels, &text_of(&["ops", "gpu"])));
    report("a shader's piece is named in src/gpu", unregistered(&pieces, &text_of(&["gpu"])));
}

#[test]
fn no_machine_in_the_text() {
    let mut wrong = Vec::new();
    for path in tracked().iter().filter(|p| *p != "tests/it/architecture.rs") {
        // Only text: what is not UTF-8 is data.
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        wrong.extend(machine_paths(&text).into_iter().map(|w| format!("{path}: {w}")));
    }
    report("no path of a machine", wrong);
}

#[test]
fn packages_come_from_the_common_registry() {
    let official = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = read("Cargo.lock");
    let other = lock.lines().filter(|line| line.starts_with("source = ") && *line != official);
    report("Cargo.lock names crates.io alone", other.map(Into::into).collect());
}

// Each rule seen to fail.

#[test]
fn code_is_told_from_text() {
    let text =
        "a /* x /* y */ z */ b // unsafe\n\"un\\\"safe\" r#\"unsafe \" \"# 'x' '\\'' 'unsafe: &'a T \"two\nlines\" c";
    let stripped = code(text);
    assert_eq!(words(&stripped, "unsafe").len(), 1, "{stripped}");
    assert!(stripped.contains("&'a T") && stripped.trim_end().ends_with('c'), "{stripped}");
    assert_eq!(stripped.matches('\n').count(), 2);
    assert_eq!(words(&code("let our_unsafe = unsafe_code;"), "unsafe"), [] as [usize; 0]);
    assert_eq!(words(&code("for x in r { unsafe {} } // \""), "unsafe").len(), 1);
}

#[test]
fn a_wrong_arrow_is_seen() {
    let roots = exports("pub mod gpu; pub use error::{Error, Result}; pub use train::settings::Settings as S;");
    assert_eq!(roots.get("Result").map(String::as_str), Some("error"));
    assert_eq!(roots.get("S").map(String::as_str), Some("train"));
    let see = |room, text: &str| wrong_arrows(room, &code(text), &roots);
    assert_eq!(see("gpu", "use crate::{Error, dims, config::ModelConfig};"), [] as [String; 0]);
    assert_eq!(see("gpu", "use crate::{Error,\n dims::{self, PITCH}, ops::matmul};"), ["line 1: gpu names ops"]);
    assert_eq!(see("gpu", "use crate::reference;"), ["line 1: gpu names reference"]);
    assert_eq!(see("verify", "\n\nfn f() { crate::model::run() }"), ["line 3: verify names model"]);
    assert_eq!(see("report", "crate::S::new()"), ["line 1: report names train"]);
    assert_eq!(see("train", "use crate::report::curve; // crate::cli"), [] as [String; 0]);
    assert_eq!(see("dims", "use crate::elsewhere;"), ["line 1: crate::elsewhere is no room"]);
    assert_eq!(see("attic", ""), ["attic: no room of the house"]);
    assert_eq!(heads("{a, b::{c, d::{e}}, f as g}"), ["a", "b", "f"]);
    assert_eq!(exported_macros("#[macro_export]\nmacro_rules! shader { }"), ["shader"]);
    assert_eq!(wrong_supers("error", &[], "use super::ops::matmul;"), ["line 1: super::ops: say crate::ops"]);
    assert_eq!(wrong_supers("store", &["config".into()], "use super::config;"), [] as [String; 0]);
}

#[test]
fn wgpu_outside_is_seen() {
    assert_eq!(wgpu_lines("\nfn f(d: &wgpu::Device) {}"), [2]);
    assert_eq!(wgpu_lines("use wgpu; use {wgpu as w};"), [1, 1]);
    assert_eq!(wgpu_lines("crate::wgpu::Device"), [1]);
    assert_eq!(wgpu_lines(&code("// wgpu::Device\nlet s = \"wgpu::\"; let wgpu = 1; my_wgpu::f()")), [] as [usize; 0]);
}

#[test]
fn unfinished_work_is_seen() {
    let text = ["// TO", "DO later\n    to", "do!()\n#[ig", "nore = \"slow\"]\ndb", "g!(x)"].concat();
    assert_eq!(unfinished(&text).len(), 4, "{:?}", unfinished(&text));
    assert_eq!(unfinished("let method_done = 1; AUTODOC"), [] as [String; 0]);
}

#[test]
fn a_path_of_a_machine_is_seen() {
    let path = |folder: &str| format!("in /{folder}/x");
    assert_eq!(machine_paths(&format!("a\n{}\n{}", path("home"), path("root"))).len(), 2);
    assert_eq!(machine_paths("src/work/x and example.org/home/ and ~/home/"), [] as [String; 0]);
}

#[test]
fn an_unregistered_shader_is_seen() {
    let shaders = ["gelu.wgsl".to_string(), "matmul/tiled.wgsl".into(), "matmul/rows.wgsl".into()];
    let launchers = r#"include_str!("../../shaders/matmul/tiled.wgsl"), "gelu.wgsl", "my_matmul/rows.wgsl""#;
    assert_eq!(unregistered(&shaders, launchers), ["matmul/rows.wgsl"]);
}
