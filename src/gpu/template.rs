//! The template language of shaders: constants and aliases of a variant, library files, conditions and repetition.
//!
//! Each directive is a line of its own; none of them is left in the text that the driver gets.
//!
//! - `#import NAME` inserts shaders/lib/NAME.wgsl, or the file that the variant chose for that name; once per module.
//! - `#if CONDITION` … `#else` … `#end` keeps one of the two parts; `#else` may be left out. A condition is `NAME` (not 0),
//!   `!NAME` (0), or a comparison of two expressions by `==`, `!=`, `<`, `<=`, `>` or `>=`.
//! - `#for I in A..B` … `#end` repeats its lines for every I from A to B - 1.
//! - `#block NAME(A, B)` … `#end` names its lines; nothing is inserted. `#paste NAME(X, Y)` inserts them from there on, with the
//!   text X for each `$A` and Y for each `$B`, also in directives, in names such as `load_$A` and within `${…}`. The lines see
//!   the loop variables of the place where they are pasted. A text may have commas within parentheses; a block without
//!   parameters has `()`.
//! - `${EXPRESSION}` within a line is a number, made of loop variables, constants, `+ - * / %` and parentheses.
//! - `#input N NAME` declares tensor NAME at binding N with `load_NAME(row, pack, packs of a row)`, read from a buffer or an
//!   image as the variant chooses. `#update N NAME M` does the same for a tensor that is also written; M is the binding of
//!   its image.
//! - `#head_read N NAME` and `#head_write N NAME` declare a tensor of attention heads with `load_NAME(at, d)` or
//!   `store_NAME(at, d, v)` for four channels.
//!
//! Every module begins with its `enable` directives, [`SHARED_CONSTANTS`] and the constants of its variant.

use super::block::{call, filled, is_name, is_name_character};
use super::expression;
use super::libraries::LIBRARIES;
use crate::{Error, Result, dims};
use std::borrow::Cow;
use std::collections::HashMap;

/// Constants that every shader shares with the host.
const SHARED_CONSTANTS: [(&str, u32); 1] = [("GRID_WIDTH", dims::GRID_WIDTH)];

/// Directives that insert a library file with a binding number and a name filled in.
const TEMPLATES: [&str; 4] = ["#input ", "#update ", "#head_read ", "#head_write "];

/// Writes the text of a module. `imports` maps names to the library files that stand in for them; a name that is not in it
/// is a file's own.
///
/// # Errors
/// [`Error::Shader`] for an unknown library, name or directive, or a block that is not closed.
pub(super) fn expand(
    stem: &str,
    body: &str,
    constants: &[(&str, u32)],
    aliases: &[(&str, &str)],
    imports: &[(&str, &str)],
) -> Result<String> {
    // A module's extensions come before anything else.
    let (extensions, lines): (Vec<Line>, Vec<Line>) =
        numbered(None, body).partition(|line| line.text.starts_with("enable "));
    let mut text: String = extensions.iter().map(|line| format!("{}\n", line.text)).collect();
    let mut names = HashMap::new();
    for (name, value) in SHARED_CONSTANTS.iter().chain(constants) {
        text += &format!("const {name}: u32 = {value}u;\n");
        names.insert((*name).to_string(), i64::from(*value));
    }
    for (name, target) in aliases {
        text += &format!("alias {name} = {target};\n");
    }
    let mut writer =
        Writer { stem, imports, imported: Vec::new(), blocks: HashMap::new(), pasting: Vec::new(), out: text };
    writer.lines(&lines, &mut names)?;
    Ok(writer.out)
}

/// A line of a shader or of a library file.
#[derive(Clone)]
struct Line<'a> {
    /// The library file; `None`: the shader.
    library: Option<&'static str>,
    /// From 1 on.
    number: usize,
    text: Cow<'a, str>,
}

fn numbered<'a>(library: Option<&'static str>, text: &'a str) -> impl Iterator<Item = Line<'a>> {
    text.lines().zip(1..).map(move |(text, number)| Line { library, number, text: text.into() })
}

/// A named block.
#[derive(Clone)]
struct Block<'a> {
    parameters: Vec<String>,
    lines: Vec<Line<'a>>,
}

struct Writer<'a> {
    stem: &'a str,
    imports: &'a [(&'a str, &'a str)],
    /// Library files that were inserted so far.
    imported: Vec<&'static str>,
    /// The blocks that were named so far.
    blocks: HashMap<String, Block<'a>>,
    /// The names of blocks that are being pasted, the innermost last.
    pasting: Vec<String>,
    out: String,
}

/// The lines that a directive encloses: `#if` has a second part after `#else`.
struct Enclosed<'l, 'a> {
    first: &'l [Line<'a>],
    second: &'l [Line<'a>],
    /// The index of `#end`.
    end: usize,
}

fn encloses(directive: &str) -> bool {
    ["#for ", "#if ", "#block "].iter().any(|word| directive.starts_with(word))
}

impl<'a> Writer<'a> {
    fn error(&self, line: &Line, message: &str) -> Error {
        let library = line.library.map_or(String::new(), |name| format!(" of lib/{name}.wgsl"));
        Error::Shader { shader: self.stem.into(), message: format!("line {}{library}: {message}", line.number) }
    }

    fn lines(&mut self, lines: &[Line<'a>], names: &mut HashMap<String, i64>) -> Result<()> {
        let mut i = 0;
        while i < lines.len() {
            let line = &lines[i];
            let directive = line.text.trim();
            if let Some(name) = directive.strip_prefix("#import ") {
                self.import(line, name.trim(), names)?;
            } else if let Some(text) = directive.strip_prefix("#paste ") {
                self.paste(line, text, names)?;
            } else if TEMPLATES.iter().any(|t| directive.starts_with(t)) {
                self.tensor(line)?;
            } else if encloses(directive) {
                let enclosed = self.enclosed(lines, i)?;
                if let Some(condition) = directive.strip_prefix("#if ") {
                    let holds = self.condition(line, condition, names)?;
                    self.lines(if holds { enclosed.first } else { enclosed.second }, names)?;
                } else if let Some(text) = directive.strip_prefix("#block ") {
                    self.name_block(line, text, enclosed.first)?;
                } else {
                    self.repeat(line, enclosed.first, names)?;
                }
                i = enclosed.end;
            } else if directive.starts_with('#') {
                return Err(self.error(line, &format!("unknown directive `{directive}`")));
            } else {
                self.line(line, names)?;
            }
            i += 1;
        }
        Ok(())
    }

    /// The lines that the directive of line `start` encloses.
    fn enclosed<'l>(&self, lines: &'l [Line<'a>], start: usize) -> Result<Enclosed<'l, 'a>> {
        let opener = lines[start].text.trim();
        let mut depth = 0;
        let mut middle = None;
        for (i, line) in lines.iter().enumerate().skip(start + 1) {
            match line.text.trim() {
                directive if encloses(directive) => depth += 1,
                "#else" if depth == 0 && middle.is_none() && opener.starts_with("#if ") => middle = Some(i),
                "#else" if depth == 0 => {
                    return Err(self.error(line, &format!("`{opener}` cannot have this #else")));
                }
                "#end" if depth == 0 => {
                    let first_end = middle.unwrap_or(i);
                    let second = middle.map_or(&[][..], |middle| &lines[middle + 1..i]);
                    return Ok(Enclosed { first: &lines[start + 1..first_end], second, end: i });
                }
                "#end" => depth -= 1,
                _ => {}
            }
        }
        Err(self.error(&lines[start], &format!("`{opener}` has no #end")))
    }

    fn repeat(&mut self, line: &Line, lines: &[Line<'a>], names: &mut HashMap<String, i64>) -> Result<()> {
        let directive = line.text.trim();
        let parts = directive.strip_prefix("#for ").and_then(|rest| rest.split_once(" in "));
        let Some((name, (from, to))) = parts.and_then(|(name, range)| Some((name.trim(), range.split_once("..")?)))
        else {
            return Err(self.error(line, &format!("`{directive}`: expected `#for NAME in A..B`")));
        };
        for value in self.number(line, from, names)?..self.number(line, to, names)? {
            let shadowed = names.insert(name.to_string(), value);
            self.lines(lines, names)?;
            match shadowed {
                Some(old) => names.insert(name.to_string(), old),
                None => names.remove(name),
            };
        }
        Ok(())
    }

    fn name_block(&mut self, line: &Line, text: &str, lines: &[Line<'a>]) -> Result<()> {
        let Some((name, parameters)) = call(text).filter(|(_, parameters)| parameters.iter().all(|p| is_name(p)))
        else {
            return Err(self.error(line, &format!("`#block {text}`: expected `#block NAME(A, B)`")));
        };
        let parameters = parameters.into_iter().map(String::from).collect();
        match self.blocks.insert(name.to_string(), Block { parameters, lines: lines.to_vec() }) {
            Some(_) => Err(self.error(line, &format!("there are two blocks `{name}`"))),
            None => Ok(()),
        }
    }

    fn paste(&mut self, line: &Line, text: &str, names: &mut HashMap<String, i64>) -> Result<()> {
        let Some((name, texts)) = call(text) else {
            return Err(self.error(line, &format!("`#paste {text}`: expected `#paste NAME(X, Y)`")));
        };
        let Some(Block { parameters, lines }) = self.blocks.get(name) else {
            return Err(self.error(line, &format!("no block `{name}` before this line")));
        };
        if parameters.len() != texts.len() {
            let message = format!("`{name}({})` has {} texts", parameters.join(", "), texts.len());
            return Err(self.error(line, &message));
        }
        if self.pasting.iter().any(|outer| outer == name) {
            return Err(self.error(line, &format!("block `{name}` pastes itself")));
        }
        let fill = |line: &Line<'a>| Line { text: filled(&line.text, parameters, &texts).into(), ..*line };
        let lines: Vec<Line> = lines.iter().map(fill).collect();
        self.pasting.push(name.to_string());
        self.lines(&lines, names)?;
        self.pasting.pop();
        Ok(())
    }

    /// `#input N NAME` or `#update N NAME M`: the library file of the directive with the names filled in.
    fn tensor(&mut self, line: &Line) -> Result<()> {
        let directive = line.text.trim();
        let words: Vec<&str> = directive[1..].split_whitespace().collect();
        let (template, number, name) = match words[..] {
            [template, number, name] | [template, number, name, _] => (template, number, name),
            _ => {
                let message = format!("`{directive}`: expected `#input N NAME` or `#update N NAME M`");
                return Err(self.error(line, &message));
            }
        };
        let text = self.library(line, template)?.1;
        let image = words.get(3).copied().unwrap_or_default();
        self.out.push_str(&filled(text, &["NAME", "N", "M"], &[name, number, image]));
        Ok(())
    }

    fn library(&self, line: &Line, name: &str) -> Result<(&'static str, &'static str)> {
        let file = self.imports.iter().find(|(n, _)| *n == name).map_or(name, |(_, f)| f);
        let found = LIBRARIES.iter().find(|(n, _)| *n == file);
        found.copied().ok_or_else(|| self.error(line, &format!("no library file `{file}` for `{name}`")))
    }

    fn import(&mut self, line: &Line, name: &str, names: &mut HashMap<String, i64>) -> Result<()> {
        let (file, text) = self.library(line, name)?;
        if !self.imported.contains(&file) {
            self.imported.push(file);
            let lines: Vec<Line> = numbered(Some(file), text).collect();
            self.lines(&lines, names)?;
        }
        Ok(())
    }

    /// Writes a line of the shader with its numbers filled in.
    fn line(&mut self, line: &Line, names: &HashMap<String, i64>) -> Result<()> {
        let mut rest = &*line.text;
        while let Some(at) = rest.find('$') {
            self.out.push_str(&rest[..at]);
            let Some(number) = rest[at..].strip_prefix("${") else {
                let name = rest[at + 1..].split(|c| !is_name_character(c)).next().unwrap_or_default();
                return Err(self.error(line, &format!("`${name}` is no parameter of a block here")));
            };
            let Some((number, after)) = number.split_once('}') else {
                return Err(self.error(line, "`${` without `}`"));
            };
            let value = self.number(line, number, names)?;
            self.out.push_str(&value.to_string());
            rest = after;
        }
        self.out.push_str(rest);
        self.out.push('\n');
        Ok(())
    }

    fn number(&self, line: &Line, text: &str, names: &HashMap<String, i64>) -> Result<i64> {
        expression::number(text, names).ok_or_else(|| self.error(line, &format!("`{text}` is not a number here")))
    }

    fn condition(&self, line: &Line, text: &str, names: &HashMap<String, i64>) -> Result<bool> {
        let error = || self.error(line, &format!("`#if {text}`: expected a known NAME, !NAME, or a comparison"));
        expression::condition(text, names).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str, constants: &[(&str, u32)]) -> String {
        let expanded = expand("t", text, constants, &[], &[]).expect("a text");
        let is_body = |line: &&str| !line.starts_with("const ");
        expanded.lines().filter(is_body).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_module_begins_with_constants_and_aliases() {
        let text = expand("t", "x", &[("N", 2)], &[("F", "f32")], &[]).expect("a text");
        let shared = format!("const GRID_WIDTH: u32 = {}u;\n", dims::GRID_WIDTH);
        assert_eq!(text, shared + "const N: u32 = 2u;\nalias F = f32;\nx\n");
    }

    #[test]
    fn repetition_and_arithmetic() {
        let text = "#for i in 0..N\na${i} = b${i*2+(1-i)%2};\n#if i\nx${i/2}\n#end\n#end";
        assert_eq!(body(text, &[("N", 2)]), "a0 = b1; a1 = b2; x0");
    }

    #[test]
    fn one_part_of_a_condition_is_kept() {
        let text = "#if A == 2\ntwo\n#else\n  #if !B\n  none\n  #else\n  some\n  #end\nother\n#end\nlast";
        assert_eq!(body(text, &[("A", 2), ("B", 0)]), "two last");
        assert_eq!(body(text, &[("A", 1), ("B", 0)]), "  none other last");
        assert_eq!(body(text, &[("A", 3), ("B", 1)]), "  some other last");
        assert_eq!(body("#if A\nx\n#end", &[("A", 0)]), "");
        assert_eq!(body("#for i in 0..3\n#if i < 1\nfirst\n#else\nnext${i}\n#end\n#end", &[]), "first next1 next2");
    }

    #[test]
    fn a_block_is_pasted_with_texts() {
        let text = "#block sum(to, N, value)\n#for i in 0..$N\n$to${i} += $value * ${$N*2+k};\n#end\n#end\nfirst\n\
                    #for k in 0..2\n#paste sum(s, (1+k), max(a, b))\n#end";
        assert_eq!(body(text, &[]), "first s0 += max(a, b) * 2; s0 += max(a, b) * 5; s1 += max(a, b) * 5;");
        let text = "#block inner(x)\n$x\n#end\n#block outer(x, what)\n#if $what == 1\n#paste $x(${$what})\n#end\n#end\n\
                    #paste outer(inner, 1)\n#paste outer(inner, 2)\n#block none()\nlast\n#end\n#paste none()";
        assert_eq!(body(text, &[]), "1 last");
    }

    #[test]
    fn errors_of_blocks_name_the_line() {
        let block = "#block f(a)\n$a\n$b\n#end\n";
        for (paste, expected) in [
            ("#paste f(1)", "line 3: `$b` is no parameter of a block here"),
            ("#paste f()", "line 5: `f(a)` has 0 texts"),
            ("#paste f(1, 2)", "line 5: `f(a)` has 2 texts"),
            ("#paste g(1)", "line 5: no block `g` before this line"),
            ("#paste f", "line 5: `#paste f`: expected `#paste NAME(X, Y)`"),
            ("#paste f((1)", "line 5: `#paste f((1)`: expected `#paste NAME(X, Y)`"),
            ("#paste f(1)(", "line 5: `#paste f(1)(`: expected `#paste NAME(X, Y)`"),
            ("#block f(a)\n#end", "line 5: there are two blocks `f`"),
            ("#block h(a b)\n#end", "line 5: `#block h(a b)`: expected `#block NAME(A, B)`"),
            ("#block h(a)", "line 5: `#block h(a)` has no #end"),
            ("#block h()\n#paste h()\n#end\n#paste h()", "line 6: block `h` pastes itself"),
            ("#if 1 == 1\n\n${M}\n#end", "line 7: `M` is not a number here"),
            ("$a", "line 5: `$a` is no parameter of a block here"),
        ] {
            let message = expand("t", &format!("{block}{paste}"), &[], &[], &[]).unwrap_err().to_string();
            assert_eq!(message, format!("shader `t`: {expected}"));
        }
        let message = expand("t", "x\n#input 1", &[], &[], &[]).unwrap_err().to_string();
        assert!(message.starts_with("shader `t`: line 2: `#input 1`"), "{message}");
        let message = expand("t", "#import reduce_rows", &[], &[], &[]).unwrap_err().to_string();
        assert!(message.contains(" of lib/reduce_rows.wgsl: "), "{message}");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, word) in [
            ("#import nothing", "nothing"),
            ("#for i in 0..2", "no #end"),
            ("#if A\n#else", "no #end"),
            ("#if A\n#else\n#else\n#end", "cannot have this #else"),
            ("#for i in 0..2\n#else\n#end", "cannot have this #else"),
            ("#else", "#else"),
            ("${M}", "`M`"),
            ("#if 1-A\n#end", "1-A"),
            ("#if M == 1\n#end", "M == 1"),
            ("#x", "#x"),
        ] {
            let message = expand("t", text, &[("A", 1)], &[], &[]).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
