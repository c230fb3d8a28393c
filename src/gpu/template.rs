//! The template language of shaders: constants and aliases of a variant, library files, conditions and repetition.
//!
//! Each directive is a line of its own; none of them is left in the text that the driver gets.
//!
//! - `#import NAME` inserts shaders/lib/NAME.wgsl, or the file that the variant chose for that name; once per module.
//! - `#if CONDITION` … `#else` … `#end` keeps one of the two parts; `#else` may be left out. A condition is `NAME` (not 0),
//!   `!NAME` (0), or a comparison of two expressions by `==`, `!=`, `<`, `<=`, `>` or `>=`.
//! - `#for I in A..B` … `#end` repeats its lines for every I from A to B - 1.
//! - `${EXPRESSION}` within a line is a number, made of loop variables, constants, `+ - * / %` and parentheses.
//! - `#input N NAME` declares tensor NAME at binding N with `load_NAME(row, pack, packs of a row)`, read from a buffer or an
//!   image as the variant chooses. `#update N NAME M` does the same for a tensor that is also written; M is the binding of
//!   its image.
//! - `#head_read N NAME` and `#head_write N NAME` declare a tensor of attention heads with `load_NAME(at, d)` or
//!   `store_NAME(at, d, v)` for four channels.
//!
//! Every module begins with its `enable` directives, [`SHARED_CONSTANTS`] and the constants of its variant.

use super::expression;
use crate::{Error, Result, dims};
use std::collections::HashMap;

/// Constants that every shader shares with the host.
const SHARED_CONSTANTS: [(&str, u32); 1] = [("GRID_WIDTH", dims::GRID_WIDTH)];

/// Every library file, by name.
const LIBRARIES: &[(&str, &str)] = &[
    ("adamw", include_str!("../../shaders/lib/adamw.wgsl")),
    ("append_params", include_str!("../../shaders/lib/append_params.wgsl")),
    ("attention_image", include_str!("../../shaders/lib/attention_image.wgsl")),
    ("attention_params", include_str!("../../shaders/lib/attention_params.wgsl")),
    ("attention_scores", include_str!("../../shaders/lib/attention_scores.wgsl")),
    ("compress_params", include_str!("../../shaders/lib/compress_params.wgsl")),
    ("dropout_words", include_str!("../../shaders/lib/dropout_words.wgsl")),
    ("epilogue_bias", include_str!("../../shaders/lib/epilogue_bias.wgsl")),
    ("epilogue_bias_act", include_str!("../../shaders/lib/epilogue_bias_act.wgsl")),
    ("epilogue_bias_gelu", include_str!("../../shaders/lib/epilogue_bias_gelu.wgsl")),
    ("epilogue_bias_residual", include_str!("../../shaders/lib/epilogue_bias_residual.wgsl")),
    ("epilogue_gelu_backward", include_str!("../../shaders/lib/epilogue_gelu_backward.wgsl")),
    ("epilogue_none", include_str!("../../shaders/lib/epilogue_none.wgsl")),
    ("epilogue_residual", include_str!("../../shaders/lib/epilogue_residual.wgsl")),
    ("finite", include_str!("../../shaders/lib/finite.wgsl")),
    ("gelu", include_str!("../../shaders/lib/gelu.wgsl")),
    ("head_read", include_str!("../../shaders/lib/head_read.wgsl")),
    ("head_read_vec4", include_str!("../../shaders/lib/head_read_vec4.wgsl")),
    ("head_write", include_str!("../../shaders/lib/head_write.wgsl")),
    ("head_write_vec4", include_str!("../../shaders/lib/head_write_vec4.wgsl")),
    ("input_buffer", include_str!("../../shaders/lib/input_buffer.wgsl")),
    ("input_image", include_str!("../../shaders/lib/input_image.wgsl")),
    ("matvec_norm", include_str!("../../shaders/lib/matvec_norm.wgsl")),
    ("norm_params", include_str!("../../shaders/lib/norm_params.wgsl")),
    ("pack", include_str!("../../shaders/lib/pack.wgsl")),
    ("pack_u64", include_str!("../../shaders/lib/pack_u64.wgsl")),
    ("philox", include_str!("../../shaders/lib/philox.wgsl")),
    ("philox_u64", include_str!("../../shaders/lib/philox_u64.wgsl")),
    ("quad_u64", include_str!("../../shaders/lib/quad_u64.wgsl")),
    ("reduce_rows", include_str!("../../shaders/lib/reduce_rows.wgsl")),
    ("reduce_shared", include_str!("../../shaders/lib/reduce_shared.wgsl")),
    ("reduce_subgroup", include_str!("../../shaders/lib/reduce_subgroup.wgsl")),
    ("state", include_str!("../../shaders/lib/state.wgsl")),
    ("update_buffer", include_str!("../../shaders/lib/update_buffer.wgsl")),
    ("update_image", include_str!("../../shaders/lib/update_image.wgsl")),
];

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
    let (extensions, lines): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("enable "));
    let mut text: String = extensions.iter().map(|line| format!("{line}\n")).collect();
    let mut names = HashMap::new();
    for (name, value) in SHARED_CONSTANTS.iter().chain(constants) {
        text += &format!("const {name}: u32 = {value}u;\n");
        names.insert((*name).to_string(), i64::from(*value));
    }
    for (name, target) in aliases {
        text += &format!("alias {name} = {target};\n");
    }
    let mut writer = Writer { stem, imports, imported: Vec::new(), out: text };
    writer.lines(&lines, &mut names)?;
    Ok(writer.out)
}

struct Writer<'a> {
    stem: &'a str,
    imports: &'a [(&'a str, &'a str)],
    /// Library files that were inserted so far.
    imported: Vec<&'static str>,
    out: String,
}

/// The lines of a block, without its directives: `#if` has a second part after `#else`.
struct Block<'a> {
    first: &'a [&'a str],
    second: &'a [&'a str],
    /// The index of `#end`.
    end: usize,
}

fn opens_block(directive: &str) -> bool {
    directive.starts_with("#for ") || directive.starts_with("#if ")
}

impl Writer<'_> {
    fn error(&self, message: String) -> Error {
        Error::Shader { shader: self.stem.into(), message }
    }

    fn lines(&mut self, lines: &[&str], names: &mut HashMap<String, i64>) -> Result<()> {
        let mut i = 0;
        while i < lines.len() {
            let directive = lines[i].trim();
            if let Some(name) = directive.strip_prefix("#import ") {
                self.import(name.trim(), names)?;
            } else if TEMPLATES.iter().any(|t| directive.starts_with(t)) {
                self.tensor(directive)?;
            } else if opens_block(directive) {
                let block = self.block(lines, i)?;
                match directive.strip_prefix("#if ") {
                    Some(condition) => {
                        let part = if self.condition(condition, names)? { block.first } else { block.second };
                        self.lines(part, names)?;
                    }
                    None => self.repeat(directive, block.first, names)?,
                }
                i = block.end;
            } else if directive.starts_with('#') {
                return Err(self.error(format!("unknown directive `{directive}`")));
            } else {
                self.line(lines[i], names)?;
            }
            i += 1;
        }
        Ok(())
    }

    /// The block that line `start` opens.
    fn block<'l>(&self, lines: &'l [&'l str], start: usize) -> Result<Block<'l>> {
        let opener = lines[start].trim();
        let mut depth = 0;
        let mut middle = None;
        for (i, line) in lines.iter().enumerate().skip(start + 1) {
            match line.trim() {
                directive if opens_block(directive) => depth += 1,
                "#else" if depth == 0 && middle.is_none() && opener.starts_with("#if ") => middle = Some(i),
                "#else" if depth == 0 => return Err(self.error(format!("`{opener}` cannot have this #else"))),
                "#end" if depth == 0 => {
                    let first_end = middle.unwrap_or(i);
                    let second = middle.map_or(&[][..], |middle| &lines[middle + 1..i]);
                    return Ok(Block { first: &lines[start + 1..first_end], second, end: i });
                }
                "#end" => depth -= 1,
                _ => {}
            }
        }
        Err(self.error(format!("`{opener}` has no #end")))
    }

    fn repeat(&mut self, directive: &str, lines: &[&str], names: &mut HashMap<String, i64>) -> Result<()> {
        let parts = directive.strip_prefix("#for ").and_then(|rest| rest.split_once(" in "));
        let Some((name, (from, to))) = parts.and_then(|(name, range)| Some((name.trim(), range.split_once("..")?)))
        else {
            return Err(self.error(format!("`{directive}`: expected `#for NAME in A..B`")));
        };
        for value in self.number(from, names)?..self.number(to, names)? {
            let shadowed = names.insert(name.to_string(), value);
            self.lines(lines, names)?;
            match shadowed {
                Some(old) => names.insert(name.to_string(), old),
                None => names.remove(name),
            };
        }
        Ok(())
    }

    /// `#input N NAME` or `#update N NAME M`: the library file of the directive with the names filled in.
    fn tensor(&mut self, directive: &str) -> Result<()> {
        let words: Vec<&str> = directive[1..].split_whitespace().collect();
        let (template, number, name) = match words[..] {
            [template, number, name] | [template, number, name, _] => (template, number, name),
            _ => return Err(self.error(format!("`{directive}`: expected `#input N NAME` or `#update N NAME M`"))),
        };
        let text = self.library(template)?.1;
        let image = words.get(3).copied().unwrap_or_default();
        self.out.push_str(&text.replace("$NAME", name).replace("$N", number).replace("$M", image));
        Ok(())
    }

    fn library(&self, name: &str) -> Result<(&'static str, &'static str)> {
        let file = self.imports.iter().find(|(n, _)| *n == name).map_or(name, |(_, f)| f);
        let found = LIBRARIES.iter().find(|(n, _)| *n == file);
        found.copied().ok_or_else(|| self.error(format!("no library file `{file}` for `{name}`")))
    }

    fn import(&mut self, name: &str, names: &mut HashMap<String, i64>) -> Result<()> {
        let (file, text) = self.library(name)?;
        if !self.imported.contains(&file) {
            self.imported.push(file);
            let lines: Vec<&str> = text.lines().collect();
            self.lines(&lines, names)?;
        }
        Ok(())
    }

    /// Writes a line of the shader with its numbers filled in.
    fn line(&mut self, line: &str, names: &HashMap<String, i64>) -> Result<()> {
        let mut rest = line;
        while let Some(at) = rest.find("${") {
            self.out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                return Err(self.error(format!("`{line}`: `${{` without `}}`")));
            };
            let value = self.number(&rest[at + 2..at + end], names)?;
            self.out.push_str(&value.to_string());
            rest = &rest[at + end + 1..];
        }
        self.out.push_str(rest);
        self.out.push('\n');
        Ok(())
    }

    fn number(&self, text: &str, names: &HashMap<String, i64>) -> Result<i64> {
        expression::number(text, names).ok_or_else(|| self.error(format!("`{text}` is not a number here")))
    }

    fn condition(&self, text: &str, names: &HashMap<String, i64>) -> Result<bool> {
        let error = || self.error(format!("`#if {text}`: expected a known NAME, !NAME, or a comparison"));
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
