//! Shader text: prelude (constants and aliases of the Spec) + libraries + body, with written-out repetition.
//!
//! Directives, each a line of its own, none of which reaches the driver:
//! `#import NAME` puts shaders/lib/NAME.wgsl there (or the file that the variant lets answer that name), once a module;
//! `#for I in A..B` … `#end` writes its lines out for every I; inside, `${expression}` is a number, from loop names
//! and constants by `+ - * / %` and parentheses; `#if EXPRESSION` … `#end` keeps its lines when the number is not 0;
//! `#input N NAME` declares tensor NAME at binding N with `load_NAME(row, pack, packs a row)`, read from a buffer or from
//! an image as the Spec's Io has it; `#update N NAME M` the same for one that is written too (M: its image); `#head_read`
//! and `#head_write N NAME` declare a tensor of heads with `load_NAME(at, d)` or `store_NAME(at, d, v)` of four channels.
//! naga says yes or no to the result, and tells which bindings it has.

use crate::{Error, Result};
use std::collections::HashMap;

/// Every library file, by name.
pub(crate) const LIBRARIES: &[(&str, &str)] = &[
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
    ("pack", include_str!("../../shaders/lib/pack.wgsl")),
    ("pack_u64", include_str!("../../shaders/lib/pack_u64.wgsl")),
    ("philox", include_str!("../../shaders/lib/philox.wgsl")),
    ("quad_u64", include_str!("../../shaders/lib/quad_u64.wgsl")),
    ("reduce_shared", include_str!("../../shaders/lib/reduce_shared.wgsl")),
    ("reduce_subgroup", include_str!("../../shaders/lib/reduce_subgroup.wgsl")),
    ("update_buffer", include_str!("../../shaders/lib/update_buffer.wgsl")),
    ("update_image", include_str!("../../shaders/lib/update_image.wgsl")),
];

/// Directives that are a library file with a binding's number and name put in.
const TEMPLATES: [&str; 4] = ["#input ", "#update ", "#head_read ", "#head_write "];

/// What a module binds at a number of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// The dispatch's parameters, of this many bytes.
    Uniform(u32),
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
    /// `texture_storage_2d<rgba32float, read>`
    StorageImage,
    /// `texture_storage_2d_array<rgba32float, read>`
    StorageArray,
    /// `texture_storage_2d<rgba32float, write>`
    WriteImage,
    /// `texture_storage_2d<rgba32float, read_write>`
    UpdateImage,
    /// `texture_2d<f32>`
    SampledImage,
}

/// A module that naga took.
pub struct Module {
    /// The text.
    pub text: String,
    /// naga's module.
    pub module: naga::Module,
    /// naga's findings.
    pub info: naga::valid::ModuleInfo,
    /// Binding numbers with kinds, ascending.
    pub bindings: Vec<(u32, BindingKind)>,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
}

/// Writes the text of a module. `imports` says which library file answers a name; a name not in it answers itself.
///
/// # Errors
/// [`Error::Shader`] for an unknown library, name or directive.
pub fn expand(
    stem: &str,
    body: &str,
    constants: &[(&str, u32)],
    aliases: &[(&str, &str)],
    imports: &[(&str, &str)],
) -> Result<String> {
    let mut text = String::new();
    for (name, value) in constants {
        text += &format!("const {name}: u32 = {value}u;\n");
    }
    for (name, target) in aliases {
        text += &format!("alias {name} = {target};\n");
    }
    let mut names: HashMap<String, i64> = constants.iter().map(|(n, v)| ((*n).to_string(), i64::from(*v))).collect();
    let mut writer = Writer { stem, imports, done: Vec::new(), out: &mut text };
    let lines: Vec<&str> = body.lines().collect();
    writer.block(&lines, &mut names)?;
    Ok(text)
}

struct Writer<'a> {
    stem: &'a str,
    imports: &'a [(&'a str, &'a str)],
    done: Vec<&'static str>,
    out: &'a mut String,
}

impl Writer<'_> {
    fn error(&self, message: String) -> Error {
        Error::Shader { shader: self.stem.into(), message }
    }

    fn block(&mut self, lines: &[&str], names: &mut HashMap<String, i64>) -> Result<()> {
        let mut i = 0;
        while i < lines.len() {
            let line = lines[i];
            let directive = line.trim_start();
            if let Some(name) = directive.strip_prefix("#import ") {
                self.import(name.trim(), names)?;
            } else if TEMPLATES.iter().any(|t| directive.starts_with(t)) {
                self.tensor(directive)?;
            } else if directive.starts_with("#for ") || directive.starts_with("#if ") {
                let end = self.matching_end(lines, i)?;
                if let Some(rest) = directive.strip_prefix("#for ") {
                    let parts = rest.split_once(" in ").and_then(|(n, r)| Some((n.trim(), r.split_once("..")?)));
                    let Some((name, (from, to))) = parts else {
                        return Err(self.error(format!("`{directive}`: expected `#for NAME in A..B`")));
                    };
                    for v in self.number(from, names)?..self.number(to, names)? {
                        let shadowed = names.insert(name.to_string(), v);
                        self.block(&lines[i + 1..end], names)?;
                        match shadowed {
                            Some(old) => names.insert(name.to_string(), old),
                            None => names.remove(name),
                        };
                    }
                } else if self.number(&directive[4..], names)? != 0 {
                    self.block(&lines[i + 1..end], names)?;
                }
                i = end;
            } else if directive.starts_with('#') {
                return Err(self.error(format!("unknown directive `{directive}`")));
            } else {
                self.line(line, names)?;
            }
            i += 1;
        }
        Ok(())
    }

    fn matching_end(&self, lines: &[&str], start: usize) -> Result<usize> {
        let mut depth = 0;
        for (i, line) in lines.iter().enumerate().skip(start) {
            let l = line.trim_start();
            if l.starts_with("#for ") || l.starts_with("#if ") {
                depth += 1;
            } else if l.trim_end() == "#end" {
                depth -= 1;
                if depth == 0 {
                    return Ok(i);
                }
            }
        }
        Err(self.error(format!("`{}` has no #end", lines[start].trim())))
    }

    /// `#input N NAME`, `#update N NAME M`: the library file that answers the template's name, with its names put in.
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
        let (key, text) = self.library(name)?;
        if !self.done.contains(&key) {
            self.done.push(key);
            let lines: Vec<&str> = text.lines().collect();
            self.block(&lines, names)?;
        }
        Ok(())
    }

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

    fn number(&self, expression: &str, names: &HashMap<String, i64>) -> Result<i64> {
        let mut parser = Parser { text: expression.as_bytes(), at: 0, names };
        parser
            .sum()
            .filter(|_| parser.peek().is_none())
            .ok_or_else(|| self.error(format!("`{expression}` is not a number here")))
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    names: &'a HashMap<String, i64>,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        while let Some(op @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            value = if op == b'+' { value.checked_add(right)? } else { value.checked_sub(right)? };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<i64> {
        let mut value = self.atom()?;
        while let Some(op @ (b'*' | b'/' | b'%')) = self.peek() {
            self.at += 1;
            let right = self.atom()?;
            value = match op {
                b'*' => value.checked_mul(right)?,
                b'/' => value.checked_div(right)?,
                _ => value.checked_rem(right)?,
            };
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<i64> {
        if self.peek()? == b'(' {
            self.at += 1;
            let value = self.sum()?;
            (self.peek()? == b')').then(|| self.at += 1)?;
            return Some(value);
        }
        let start = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_') {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        word.parse().ok().or_else(|| self.names.get(word).copied())
    }
}

/// The capabilities that our kernels may use, each behind a Spec: 64-bit integers, subgroups, f16.
pub fn capabilities() -> naga::valid::Capabilities {
    use naga::valid::Capabilities as C;
    C::SHADER_INT64 | C::SUBGROUP | C::SHADER_FLOAT16 | C::STORAGE_TEXTURE_BINDING_ARRAY
}

/// Parses and validates a text, and reads its bindings.
///
/// # Errors
/// [`Error::Shader`] with naga's words.
pub fn compile(stem: &str, text: String) -> Result<Module> {
    let error = |message: String| Error::Shader { shader: stem.into(), message };
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| error(e.emit_to_string(&text)))?;
    let info = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities())
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| error(e.emit_to_string(&text)))?;
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| error(e.to_string()))?;
    for (_, variable) in module.global_variables.iter() {
        if variable.space == naga::AddressSpace::WorkGroup {
            workgroup_bytes += layouter[variable.ty].size;
        }
        let Some(binding) = variable.binding else { continue };
        let kind = match (variable.space, &module.types[variable.ty].inner) {
            (naga::AddressSpace::Uniform, _) => BindingKind::Uniform(layouter[variable.ty].size),
            (naga::AddressSpace::Storage { access }, _) if access.contains(naga::StorageAccess::STORE) => {
                BindingKind::ReadWrite
            }
            (naga::AddressSpace::Storage { .. }, _) => BindingKind::Read,
            (_, &naga::TypeInner::Image { class: naga::ImageClass::Storage { access, .. }, arrayed, .. }) => {
                let (load, store) =
                    (access.contains(naga::StorageAccess::LOAD), access.contains(naga::StorageAccess::STORE));
                match (load, store) {
                    (true, false) if arrayed => BindingKind::StorageArray,
                    (true, false) => BindingKind::StorageImage,
                    (false, _) => BindingKind::WriteImage,
                    (true, true) => BindingKind::UpdateImage,
                }
            }
            (_, naga::TypeInner::Image { .. }) => BindingKind::SampledImage,
            (space, _) => return Err(error(format!("binding {} in {space:?}", binding.binding))),
        };
        if binding.group != 0 {
            return Err(error(format!("binding {} is in group {}: expected 0", binding.binding, binding.group)));
        }
        bindings.push((binding.binding, kind));
    }
    bindings.sort_by_key(|(n, _)| *n);
    let [entry] = module.entry_points.as_slice() else {
        return Err(error(format!("{} entry points: expected one", module.entry_points.len())));
    };
    let workgroup_size = entry.workgroup_size.iter().product();
    Ok(Module { text, info, bindings, workgroup_bytes, workgroup_size, module })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_and_arithmetic() {
        let body = "#for i in 0..N\na${i} = b${i*2+(1-i)%2};\n#if i\nx${i/2}\n#end\n#end";
        let text = expand("t", body, &[("N", 2)], &[("F", "f32")], &[]).unwrap();
        assert_eq!(text, "const N: u32 = 2u;\nalias F = f32;\na0 = b1;\na1 = b2;\nx0\n");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, word) in
            [("#import nothing", "nothing"), ("#for i in 0..2", "no #end"), ("${M}", "`M`"), ("#x", "#x")]
        {
            let message = expand("t", body, &[], &[], &[]).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
