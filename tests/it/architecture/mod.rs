//! The rules that the source files keep: which module uses which, no circle of files, where wgpu and unsafe are allowed,
//! what comments may cite, words that we do not use. Each rule is a function of text with a test in which it fails.

mod graph;
mod references;
mod source;
mod wording;

use graph::{Graph, module};
use source::{code, line_of, words};
use std::path::{Path, PathBuf};

/// The top-level modules. A module uses only modules of the lines above its own.
const MODULES: &[&[&str]] = &[
    &["terminal"],
    &["error"],
    &["communicator"],
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
];

/// The most lines of a .rs or .wgsl file.
const MOST_LINES: usize = 800;

/// The line of a module in the table.
fn rank(module: &str) -> Option<usize> {
    MODULES.iter().position(|line| line.contains(&module))
}

/// Uses of modules that do not stand above the user's own in the table.
fn wrong_order(graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, uses) in graph.uses.iter().filter(|(file, _)| *file != "src/lib.rs") {
        let Some(own) = rank(module(file)) else {
            wrong.push(format!("{file}: the table of modules has no `{}`", module(file)));
            continue;
        };
        for (used, place) in uses.iter().filter(|(used, _)| *used != "src/lib.rs" && module(used) != module(file)) {
            if rank(module(used)).is_none_or(|other| other >= own) {
                let (user, used) = (module(file), module(used));
                wrong.push(format!("{file} line {}: {}: {user} must not use {used}", place.line, place.path));
            }
        }
    }
    wrong
}

/// Lines of code that name wgpu as a path or import it.
fn wgpu_lines(code: &str) -> Vec<usize> {
    let is_path = |i: usize| code[i + 4..].trim_start().starts_with("::");
    let is_import = |i: usize| ["use", "crate", "::", "{"].iter().any(|w| code[..i].trim_end().ends_with(w));
    words(code, "wgpu").into_iter().filter(|i| is_path(*i) || is_import(*i)).map(|i| line_of(code, i)).collect()
}

/// Shaders whose path is in none of the texts that launch them.
fn unregistered(shaders: &[String], launchers: &str) -> Vec<String> {
    let is_named = |path: &String| ['/', '"'].iter().any(|before| launchers.contains(&format!("{before}{path}")));
    shaders.iter().filter(|path| !is_named(path)).cloned().collect()
}

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

/// The files that git tracks or would track; without git, every file under the root.
fn tracked() -> Vec<String> {
    let git = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let all = match git {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect()
        }
        _ => under(""),
    };
    // Without those that are deleted, which git still lists.
    all.into_iter().filter(|path| root().join(path).is_file()).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The source files by path, with their texts.
fn rust_files() -> Vec<(String, String)> {
    under("src")
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| (read(&path), path))
        .map(|(t, p)| (p, t))
        .collect()
}

fn report(rule: &str, all: Vec<String>) {
    assert!(all.is_empty(), "{rule}:\n  {}", all.join("\n  "));
}

#[test]
fn a_module_uses_only_those_above_it() {
    report("a module uses only modules above it in the table", wrong_order(&Graph::new(&rust_files(), true)));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles = Graph::new(&rust_files(), false).circles();
    report("no circle of files", circles.iter().map(|circle| circle.join("\n    -> ")).collect());
}

#[test]
fn only_the_module_gpu_uses_wgpu() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files().iter().filter(|(path, _)| module(path) != "gpu") {
        let lines = wgpu_lines(&code(text));
        let allowed = usize::from(path == "src/lib.rs");
        wrong.extend(lines.iter().skip(allowed).map(|line| format!("{path} line {line}")));
    }
    report("wgpu is named in src/gpu alone, and once in src/lib.rs, which exports it", wrong);
}

#[test]
fn unsafe_is_in_gpu_and_mmap_alone() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files().iter().filter(|(path, _)| module(path) != "gpu" && path != "src/store/mmap.rs") {
        let code = code(text);
        wrong.extend(words(&code, "unsafe").iter().map(|at| format!("{path} line {}", line_of(&code, *at))));
    }
    report("unsafe is in src/gpu and src/store/mmap.rs alone", wrong);
}

#[test]
fn no_file_is_too_long() {
    let sources = tracked().into_iter().filter(|path| path.ends_with(".rs") || path.ends_with(".wgsl"));
    let lengths = sources.map(|path| (read(&path).lines().count(), path));
    let too_long = lengths.filter(|(lines, _)| *lines > MOST_LINES);
    report(
        "no file is too long",
        too_long.map(|(n, path)| format!("{path}: {n} lines, at most {MOST_LINES}")).collect(),
    );
}

#[test]
fn every_shader_is_registered() {
    let files = rust_files();
    let shaders: Vec<String> = under("shaders")
        .into_iter()
        .filter(|path| path.ends_with(".wgsl"))
        .filter_map(|path| path.strip_prefix("shaders/").map(Into::into))
        .collect();
    let text_of = |modules: &[&str]| -> String {
        files.iter().filter(|(path, _)| modules.contains(&module(path))).map(|(_, text)| text.as_str()).collect()
    };
    let (pieces, kernels): (Vec<String>, Vec<String>) = shaders.into_iter().partition(|path| path.starts_with("lib/"));
    report("src/ops or src/gpu names each shader", unregistered(&kernels, &text_of(&["ops", "gpu"])));
    report("src/gpu names each file of shaders/lib", unregistered(&pieces, &text_of(&["gpu"])));
}

/// The text files of the repository, without this test's own examples.
fn texts() -> impl Iterator<Item = (String, String)> {
    let is_own = |path: &String| path.starts_with("tests/it/architecture/");
    let read = |path: String| std::fs::read_to_string(root().join(&path)).ok().map(|text| (path, text));
    tracked().into_iter().filter(move |path| !is_own(path)).filter_map(read)
}

/// The part of a file that people read: comments of code, all of a document or script.
fn prose(path: &str, text: &str) -> String {
    if path.ends_with(".rs") || path.ends_with(".wgsl") { source::comments(text) } else { text.to_string() }
}

#[test]
fn no_work_is_left_unfinished() {
    let sources = texts().filter(|(path, _)| path.ends_with(".rs") || path.ends_with(".wgsl"));
    let of =
        |(path, text): (String, String)| wording::unfinished(&text).into_iter().map(move |w| format!("{path} {w}"));
    report("no work is left unfinished", sources.flat_map(of).collect());
}

#[test]
fn no_text_has_a_path_of_a_machine() {
    let of =
        |(path, text): (String, String)| wording::machine_paths(&text).into_iter().map(move |w| format!("{path} {w}"));
    report("no path of a machine", texts().flat_map(of).collect());
}

/// Files whose prose the rules of references and words read.
fn is_written_by_us(path: &str) -> bool {
    [".rs", ".wgsl", ".py", ".md", ".sh", ".toml", ".c"].iter().any(|end| path.ends_with(end)) || path == ".ci/run"
}

#[test]
fn what_a_text_cites_is_there() {
    let sections = references::sections(&read("docs/spec.md"));
    let files = tracked();
    let of = |(path, text): (String, String)| {
        let prose = prose(&path, &text);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut all = references::missing_sections(&prose, &sections);
        all.extend(references::missing_files(&prose, folder, &files));
        all.into_iter().map(move |fault| format!("{path} {fault}"))
    };
    report(
        "what a text cites is in the repository",
        texts().filter(|(path, _)| is_written_by_us(path)).flat_map(of).collect(),
    );
}

#[test]
fn no_text_has_a_retired_word() {
    let of =
        |(path, text): (String, String)| wording::retired(&path, &text).into_iter().map(move |w| format!("{path} {w}"));
    report("no retired word", texts().filter(|(path, _)| is_written_by_us(path)).flat_map(of).collect());
}

#[test]
fn packages_come_from_the_common_registry() {
    let official = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let lock = read("Cargo.lock");
    let other = lock.lines().filter(|line| line.starts_with("source = ") && *line != official);
    report("Cargo.lock names crates.io alone", other.map(Into::into).collect());
}

#[test]
fn a_wrong_order_of_modules_is_seen() {
    let wrong = |user: &str, text: &str| {
        let file = |path: &str, text: &str| (format!("src/{path}"), text.to_string());
        let mut files = vec![
            file(
                "lib.rs",
                "mod attic; mod error; mod dims; mod gpu; mod ops; mod model; mod verify; mod train; mod report; mod cli; \
                mod reference; pub use error::{Error, Result}; pub use train::settings::Settings as S;",
            ),
            file("train/mod.rs", "pub mod settings;"),
            file("train/settings.rs", "pub struct Settings;"),
        ];
        for name in ["error", "dims", "gpu", "ops", "model", "verify", "report", "cli", "reference"] {
            files.push(file(&format!("{name}.rs"), "pub fn run() {} pub struct Error; pub const PITCH: u32 = 1;"));
        }
        files.retain(|(path, _)| *path != format!("src/{user}"));
        files.push(file(user, text));
        wrong_order(&Graph::new(&files, true))
    };
    assert_eq!(wrong("gpu.rs", "use crate::{Error, dims::PITCH};"), [""; 0]);
    assert_eq!(
        wrong("gpu.rs", "use crate::{Error,\n dims::PITCH, ops::run};"),
        ["src/gpu.rs line 1: crate::ops::run: gpu must not use ops"]
    );
    assert_eq!(wrong("gpu.rs", "use crate::reference::run;").len(), 1);
    assert_eq!(wrong("gpu.rs", "use crate::reference; fn f() { reference::run() }").len(), 1);
    assert_eq!(wrong("gpu.rs", "#[cfg(test)] mod tests { use crate::ops::run; }").len(), 1);
    assert_eq!(
        wrong("verify.rs", "\n\nfn f() { crate::model::run() }"),
        ["src/verify.rs line 3: crate::model::run: verify must not use model"]
    );
    assert_eq!(
        wrong("report.rs", "fn f() { crate::S::new() }"),
        ["src/report.rs line 1: crate::S::new: report must not use train"]
    );
    assert_eq!(wrong("error.rs", "use super::ops::run;").len(), 1);
    assert_eq!(wrong("cli.rs", "use crate::report::run; // crate::cli"), [""; 0]);
    assert_eq!(wrong("attic.rs", ""), ["src/attic.rs: the table of modules has no `attic`"]);
}

#[test]
fn wgpu_outside_is_seen() {
    assert_eq!(wgpu_lines("\nfn f(d: &wgpu::Device) {}"), [2]);
    assert_eq!(wgpu_lines("use wgpu; use {wgpu as w};"), [1, 1]);
    assert_eq!(wgpu_lines("crate::wgpu::Device"), [1]);
    assert_eq!(wgpu_lines(&code("// wgpu::Device\nlet s = \"wgpu::\"; let wgpu = 1; my_wgpu::f()")), [] as [usize; 0]);
}

#[test]
fn an_unregistered_shader_is_seen() {
    let shaders = ["gelu.wgsl".to_string(), "matmul/tiled.wgsl".into(), "matmul/rows.wgsl".into()];
    let launchers = r#"include_str!("../../shaders/matmul/tiled.wgsl"), "gelu.wgsl", "my_matmul/rows.wgsl""#;
    assert_eq!(unregistered(&shaders, launchers), ["matmul/rows.wgsl"]);
}
