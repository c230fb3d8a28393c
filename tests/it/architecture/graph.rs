//! Which source file uses which, read off `use` declarations and paths. A name is followed through re-exports to the file
//! that defines it. `mod x;` and `pub use x::Y;` alone are declarations, not uses.

use super::source::{code, first_word, is_word, line_of, without_tests, words};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One use: where it stands, and the path as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    pub line: usize,
    pub path: String,
}

/// The source files by path, with the files that each uses.
pub struct Graph {
    pub uses: BTreeMap<String, BTreeMap<String, Use>>,
}

/// The top-level module of a file: `src/gpu/device.rs` and `src/gpu.rs` belong to `gpu`.
pub fn module(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

impl Graph {
    /// The graph of files with their texts. Items of `#[cfg(test)]` count only `with_tests`.
    pub fn new(files: &[(String, String)], with_tests: bool) -> Self {
        let crate_files = Files::new(files, with_tests);
        let mut uses: BTreeMap<String, BTreeMap<String, Use>> = BTreeMap::new();
        for (path, file) in &crate_files.files {
            let own = uses.entry(path.clone()).or_default();
            for (used, place) in crate_files.uses_of(path, file) {
                own.entry(used).or_insert(place);
            }
        }
        Graph { uses }
    }

    /// For each file that is in a circle, one of its shortest circles, as steps `a.rs line 3: super::b (b.rs)`; a circle
    /// once for all of its files.
    pub fn circles(&self) -> Vec<Vec<String>> {
        let (mut covered, mut circles) = (BTreeSet::new(), Vec::new());
        for file in self.uses.keys().filter(|file| self.reachable(file).contains(file)) {
            if covered.contains(file) {
                continue;
            }
            let circle = self.shortest_circle(file);
            covered.extend(circle.iter().map(|(from, _)| from.clone()));
            let step = |(from, to): &(String, String)| {
                let place = &self.uses[from][to];
                format!("{from} line {}: {} ({to})", place.line, place.path)
            };
            circles.push(circle.iter().map(step).collect());
        }
        circles
    }

    fn reachable(&self, file: &String) -> BTreeSet<&String> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&String> = self.uses[file].keys().collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.uses.get(next).into_iter().flat_map(BTreeMap::keys));
            }
        }
        reached
    }

    /// The shortest way from a file back to it, as pairs of a user and a used file.
    fn shortest_circle(&self, start: &String) -> Vec<(String, String)> {
        let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(file) = open.pop_front().filter(|_| !came_from.contains_key(start)) {
            for next in self.uses.get(file).into_iter().flat_map(BTreeMap::keys) {
                if !came_from.contains_key(next) {
                    came_from.insert(next, file);
                    open.push_back(next);
                }
            }
        }
        let (mut steps, mut file) = (Vec::new(), start);
        while let Some(from) = came_from.get(file) {
            steps.insert(0, (from.to_string(), file.clone()));
            file = from;
            if file == start {
                break;
            }
        }
        steps
    }
}

/// A name that a file brings into its scope.
struct Import {
    line: usize,
    path: Vec<String>,
    is_public: bool,
}

struct File {
    /// Modules that are files, by name.
    children: BTreeMap<String, String>,
    /// Names that the file itself defines.
    items: BTreeSet<String>,
    /// By the name that each has in scope.
    imports: Vec<(String, Import)>,
    globs: Vec<Import>,
    /// Code without `use` declarations.
    body: String,
}

#[derive(Clone, PartialEq)]
enum Found {
    Module(String),
    Item(String),
}

struct Files {
    files: BTreeMap<String, File>,
    /// Exported macros, which have their names at the crate's root.
    macros: BTreeMap<String, String>,
}

const ROOT: &str = "src/lib.rs";

/// The folder in which a file's modules are.
fn inner_folder(path: &str) -> String {
    match path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix("/lib.rs")) {
        Some(folder) => folder.to_string(),
        None => path.trim_end_matches(".rs").to_string(),
    }
}

impl Files {
    fn new(texts: &[(String, String)], with_tests: bool) -> Self {
        let paths: BTreeSet<&str> = texts.iter().map(|(path, _)| path.as_str()).collect();
        let (mut files, mut macros) = (BTreeMap::new(), BTreeMap::new());
        for (path, text) in texts.iter().filter(|(path, _)| path != "src/main.rs") {
            let code = code(text);
            let code = if with_tests { code } else { without_tests(&code) };
            macros.extend(exported_macros(&code).into_iter().map(|name| (name, path.clone())));
            files.insert(path.clone(), File::new(path, &code, &paths));
        }
        // Files that only tests have are not in the graph.
        let declared: BTreeSet<String> = files.values().flat_map(|file| file.children.values().cloned()).collect();
        files.retain(|path, _| path == ROOT || declared.contains(path));
        Files { files, macros }
    }

    fn parent(&self, path: &str) -> Option<&String> {
        self.files.iter().find(|(_, file)| file.children.values().any(|child| child == path)).map(|(path, _)| path)
    }

    /// What a name is in the scope of a file.
    fn look_up(&self, file: &str, name: &str, depth: usize) -> Option<Found> {
        let own = self.files.get(file).filter(|_| depth < 12)?;
        if let Some(child) = own.children.get(name) {
            return Some(Found::Module(child.clone()));
        }
        if own.items.contains(name) {
            return Some(Found::Item(file.to_string()));
        }
        // `use name;` would ask for itself.
        if let Some((_, import)) = own.imports.iter().find(|(own, import)| own == name && import.path != [name]) {
            return self.resolve(file, &import.path, depth + 1);
        }
        if file == ROOT && self.macros.contains_key(name) {
            return Some(Found::Item(self.macros[name].clone()));
        }
        own.globs.iter().find_map(|glob| match self.resolve(file, &glob.path, depth + 1)? {
            Found::Module(module) if module != file => self.look_up(&module, name, depth + 1),
            _ => None,
        })
    }

    /// The module or item that a path of a file names; none for another crate's. An unknown name belongs to the last
    /// module before it.
    fn resolve(&self, file: &str, path: &[String], depth: usize) -> Option<Found> {
        if depth > 12 {
            return None;
        }
        let mut rest = path;
        let mut found = match path[0].as_str() {
            "crate" => Found::Module(ROOT.into()),
            "self" => Found::Module(file.into()),
            "super" => Found::Module(self.parent(file)?.clone()),
            name => self.look_up(file, name, depth + 1)?,
        };
        rest = &rest[1..];
        for name in rest {
            let Found::Module(module) = &found else { return Some(found) };
            found = match name.as_str() {
                "super" => Found::Module(self.parent(module)?.clone()),
                "self" => continue,
                name => match self.look_up(module, name, depth + 1) {
                    Some(next) => next,
                    None => return Some(Found::Item(module.clone())),
                },
            };
        }
        Some(found)
    }

    fn uses_of(&self, path: &str, file: &File) -> Vec<(String, Use)> {
        let mut all = Vec::new();
        let mut add = |found: Option<Found>, globs: bool, line: usize, names: &[String]| match found {
            Some(Found::Item(used)) if used != path => all.push((used, Use { line, path: names.join("::") })),
            Some(Found::Module(used)) if globs && used != path => {
                all.push((used, Use { line, path: names.join("::") + "::*" }));
            }
            _ => {}
        };
        for (name, import) in &file.imports {
            if !import.is_public || is_used(&file.body, name) {
                add(self.resolve(path, &import.path, 0), false, import.line, &import.path);
            }
        }
        for glob in file.globs.iter().filter(|glob| !glob.is_public) {
            add(self.resolve(path, &glob.path, 0), true, glob.line, &glob.path);
        }
        for (line, names) in paths(&file.body) {
            add(self.resolve(path, &names, 0), false, line, &names);
        }
        all
    }
}

impl File {
    fn new(path: &str, code: &str, all: &BTreeSet<&str>) -> Self {
        let (mut imports, mut globs, mut body) = (Vec::new(), Vec::new(), code.to_string());
        for at in words(code, "use") {
            let before = code[..at].trim_end();
            let is_public = before.ends_with("pub") || before.ends_with(')');
            if !(is_public || before.is_empty() || before.ends_with([';', '{', '}', ']'])) {
                continue; // `use<'a>` of a type
            }
            let tree = code[at + 3..].split(';').next().unwrap_or_default();
            let line = line_of(code, at);
            for (name, path) in leaves(tree) {
                let import = Import { line, path, is_public };
                match name.as_str() {
                    "*" => globs.push(import),
                    _ => imports.push((name, import)),
                }
            }
            let end = at + 3 + tree.len();
            let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            body.replace_range(at..end, &blank);
        }
        let (children, items) = definitions(&body);
        let folder = inner_folder(path);
        let place = |name: String| {
            let files = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            files.into_iter().find(|file| all.contains(file.as_str())).map(|file| (name, file))
        };
        File { children: children.into_iter().filter_map(place).collect(), items, imports, globs, body }
    }
}

/// Whether a body has a name, other than to declare a module.
fn is_used(body: &str, name: &str) -> bool {
    words(body, name).iter().any(|at| !body[..*at].trim_end().ends_with("mod"))
}

/// The names of exported macros.
fn exported_macros(code: &str) -> Vec<String> {
    code.match_indices("macro_export")
        .filter_map(|(i, _)| code[i..].split_once("macro_rules!"))
        .map(|(_, tail)| first_word(tail).to_string())
        .collect()
}

/// Names that a body declares as modules in files of their own, and names that it defines itself.
fn definitions(body: &str) -> (Vec<String>, BTreeSet<String>) {
    let (mut children, mut items, mut depth) = (Vec::new(), BTreeSet::new(), 0usize);
    let mut word = String::new();
    for (i, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if is_word(c) {
            word.push(c);
            continue;
        }
        let keyword = std::mem::take(&mut word);
        let is_item =
            ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "mod"].contains(&&keyword[..]);
        let is_macro = keyword == "macro_rules" && c == '!';
        if depth > 0 || !(is_item || is_macro) {
            continue;
        }
        let rest = if is_macro { &body[i + 1..] } else { &body[i..] };
        let name = first_word(rest).to_string();
        match keyword == "mod" && rest.trim_start()[name.len()..].trim_start().starts_with(';') {
            true => children.push(name),
            false => drop(items.insert(name)),
        }
    }
    (children, items)
}

/// The leaves of a tree of `use`: the name that each has in scope, and its path.
fn leaves(tree: &str) -> Vec<(String, Vec<String>)> {
    let tree = tree.trim();
    let names =
        |path: &str| path.split("::").map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect::<Vec<_>>();
    if let Some((prefix, list)) = tree.split_once('{') {
        let list = &list[..list.rfind('}').unwrap_or(list.len())];
        let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
        for (i, c) in list.char_indices().chain([(list.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    parts.push(&list[start..i]);
                    start = i + 1;
                }
                _ => {}
            }
        }
        let prefix = names(prefix);
        let with_prefix = |(name, path): (String, Vec<String>)| match path.last().map(String::as_str) {
            Some("self") => {
                let name = if name == "self" { prefix.last().cloned().unwrap_or_default() } else { name };
                (name, prefix.clone())
            }
            _ => (name, [&prefix[..], &path].concat()),
        };
        let inner = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(leaves);
        return inner.map(with_prefix).collect();
    }
    let (path, name) =
        tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim().to_string())));
    let mut path = names(path);
    let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
    if name == "*" {
        path.pop();
    }
    if path.is_empty() { Vec::new() } else { vec![(name, path)] }
}

/// The paths `a::b::c` of a code, each with its line.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let (mut all, mut from) = (Vec::new(), 0);
    while let Some(colons) = code[from..].find("::") {
        let colons = from + colons;
        let start =
            code[..colons].rfind(|c| !is_word(c)).map_or(0, |i| i + code[i..].chars().next().map_or(1, char::len_utf8));
        let mut names = vec![code[start..colons].to_string()];
        let mut end = colons;
        while code[end..].starts_with("::") {
            let name = first_word(&code[end + 2..]);
            let spaces = code[end + 2..].len() - code[end + 2..].trim_start().len();
            if name.is_empty() {
                end += 2;
                break;
            }
            names.push(name.to_string());
            end += 2 + spaces + name.len();
        }
        if !names[0].is_empty() && names.len() > 1 {
            all.push((line_of(code, start), names));
        }
        from = end.max(colons + 2);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(files: &[(&str, &str)], with_tests: bool) -> Graph {
        let files: Vec<(String, String)> =
            files.iter().map(|(path, text)| (format!("src/{path}"), text.to_string())).collect();
        Graph::new(&files, with_tests)
    }

    /// The files that `a.rs` uses, beside a crate with `b`, the folder `c` and a macro.
    fn used_by(text: &str) -> Vec<String> {
        let files = [
            ("lib.rs", "mod a; pub mod b; pub mod c; pub use c::d::{D, Inner as Renamed}; pub use b::*;"),
            ("a.rs", text),
            (
                "b.rs",
                "pub struct B; pub enum Both { One } #[macro_export] macro_rules! build { () => { $crate::c::C } }",
            ),
            ("c/mod.rs", "mod d; pub mod e; pub use d::D; pub(crate) use self::e::function; pub struct C;"),
            ("c/d.rs", "pub struct D; pub struct Inner;"),
            ("c/e.rs", "pub fn function() {}"),
        ];
        graph(&files, false).uses["src/a.rs"].keys().map(|file| file.replace("src/", "")).collect()
    }

    #[test]
    fn a_use_is_found_in_the_file_that_defines_it() {
        for (text, expected) in [
            ("use crate::b::B;", &["b.rs"][..]),
            ("use crate::c::{self, C, d::D};", &["c/d.rs", "c/mod.rs"]),
            ("use crate::c::{function as f, D};", &["c/d.rs", "c/e.rs"]),
            ("use crate::{Renamed, B};", &["b.rs", "c/d.rs"]),
            ("use super::c::e::function;", &["c/e.rs"]),
            ("fn f() -> crate::c::D { use crate::b::Both::*; }", &["b.rs", "c/d.rs"]),
            // A module alone is no use of its file, what is taken from it is.
            ("use crate::c;", &[]),
            ("use crate::c; fn f() { c::e::function() }", &["c/e.rs"]),
            ("use crate::c as other; fn f() { other::D::new() }", &["c/d.rs"]),
            ("fn f() { crate::build!() }", &["b.rs"]),
            ("use crate::c::e::*;", &["c/e.rs"]),
            ("pub use crate::b::B;", &[]),
            ("pub use crate::b::B; fn f(b: B) {}", &["b.rs"]),
            ("use std::fmt; use wgpu::B; fn f() { fmt::a(); Self::g() } // crate::b::B", &[]),
            ("#[cfg(test)] mod tests { use crate::b::B; }", &[]),
            ("use crate::c::unknown;", &["c/mod.rs"]),
        ] {
            assert_eq!(used_by(text), expected, "{text}");
        }
    }

    #[test]
    fn a_circle_of_files_is_seen() {
        let root = ("lib.rs", "pub mod a; pub mod b; pub mod c;");
        let circles = |files: &[(&str, &str)]| graph(&[&[root], files].concat(), false).circles();
        let step = |from: &str, line: usize, path: &str, to: &str| format!("src/{from} line {line}: {path} (src/{to})");
        assert_eq!(
            circles(&[("a.rs", "use crate::b::B;"), ("b.rs", "pub struct B; use crate::c::C;"), ("c.rs", "")]),
            [[""; 0]; 0]
        );
        // Two files, and three by way of a path in a function.
        let two = [("a.rs", "pub struct A;\nuse crate::b::B;"), ("b.rs", "pub struct B; use crate::a::A;")];
        assert_eq!(circles(&two), [[step("a.rs", 2, "crate::b::B", "b.rs"), step("b.rs", 1, "crate::a::A", "a.rs")]]);
        let three = [
            ("a.rs", "use crate::b::B; pub fn a() {}"),
            ("b.rs", "pub struct B; use super::c::C;"),
            ("c.rs", "pub struct C; fn f() { crate::a::a() }"),
        ];
        assert_eq!(circles(&three).len(), 1);
        assert_eq!(circles(&three)[0].len(), 3);
        // A folder's file and a file in it: declaring and re-exporting is no use, calling is one.
        let child = ("c/d.rs", "use super::C; pub fn d(c: C) {}");
        assert_eq!(circles(&[("c/mod.rs", "mod d; pub use d::d; pub struct C;"), child]), [[""; 0]; 0]);
        for parent in [
            "mod d; use d::d; pub struct C;",
            "mod d; pub use d::d; pub struct C; fn f() { d(C) }",
            "mod d; pub struct C; fn f() { d::d(C) }",
            "mod d; pub struct C; fn f() { self::d::d(C) }",
        ] {
            assert_eq!(circles(&[("c/mod.rs", parent), child]).len(), 1, "{parent}");
        }
        // What only tests use makes no circle.
        let tests = [
            ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ];
        assert_eq!(circles(&tests), [[""; 0]; 0]);
        assert_eq!(graph(&[&[root], &tests[..]].concat(), true).circles().len(), 1);
    }

    #[test]
    fn trees_of_use_are_read() {
        let read = |tree: &str| {
            leaves(tree).into_iter().map(|(name, path)| format!("{name}={}", path.join("::"))).collect::<Vec<_>>()
        };
        assert_eq!(
            read("a::b::{self, c as d, e::{f, g}, h::*}"),
            ["b=a::b", "d=a::b::c", "f=a::b::e::f", "g=a::b::e::g", "*=a::b::h"]
        );
        assert_eq!(read(" std::io "), ["io=std::io"]);
        assert_eq!(read("super::*"), ["*=super"]);
        assert_eq!(read("crate::A as _"), ["_=crate::A"]);
    }
}
