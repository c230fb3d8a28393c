//! GPT-1 as it was published: params_shapes.json, the weights in ten .npy files, and the files of its tokenizer.
//!
//! The ten files are one sequence of f32 numbers: the position table \[P,C\], the token table \[V,C\], then each layer's tensors
//! in the order of [`ModelConfig::parameters`], where a matrix has a leading dimension of 1. The files do not give the number
//! of heads.

use super::config_json::in_file;
use super::mmap;
use super::model_folder::Model;
use crate::config::{ModelConfig, ParameterShape};
use crate::data::file_kind::other_kind;
use crate::data::read_file::read_text_bytes;
use crate::data::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The file with the shapes of all tensors, in their order.
pub const SHAPES: &str = "params_shapes.json";
/// Number of files of weights, `params_0.npy` to `params_9.npy`.
pub const PARTS: usize = 10;
/// Number of heads of the published model.
pub const N_HEAD: usize = 12;

/// The first bytes of a .npy file.
const NPY: &[u8] = b"\x93NUMPY";
/// Number of tensors before the layers.
const TABLES: usize = 2;
/// Number of tensors of a layer.
const LAYER_TENSORS: usize = 12;

/// Reads the published files of a model with `n_head` heads.
///
/// # Errors
/// [`Error::File`] naming the file: a missing or damaged file, shapes that are not those of a GPT-1, more or fewer numbers
/// than the shapes have, a number that is not finite, no tokenizer, or a tokenizer with more ids than the token table.
pub fn import(dir: &Path, n_head: usize) -> Result<Model> {
    if !dir.is_dir() {
        let expected = format!("must be a folder with {SHAPES} and params_0.npy to params_9.npy");
        return Err(Error::file(dir, "is not a folder").expected(expected));
    }
    let path = dir.join(SHAPES);
    let config = config(&read_text_bytes(&path)?, &path, n_head)?;
    let parts = (0..PARTS).map(|i| Part::open(dir.join(format!("params_{i}.npy")))).collect::<Result<Vec<_>>>()?;
    let (found, expected) = (parts.iter().map(Part::count).sum::<usize>(), config.parameter_count());
    if found != expected {
        let expected = format!("must have {expected}, the number of elements in {SHAPES}");
        return Err(Error::file(dir, format!("{found} numbers in {PARTS} files")).expected(expected));
    }
    let Some((path, tokenizer)) = Tokenizer::in_folder(dir)? else { return Err(Tokenizer::missing_in(dir)) };
    let (ids, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if ids > rows {
        let expected = format!("must be at most {rows}, the rows of the token table in {SHAPES}");
        return Err(Error::file(path, format!("{ids} ids")).expected(expected));
    }
    let mut numbers = parts.iter().flat_map(Part::numbers);
    let mut parameters: Vec<Vec<f32>> = Vec::with_capacity(TABLES + LAYER_TENSORS * config.n_layer);
    for shape in published_order(&config) {
        let mut tensor = Vec::with_capacity(shape.count());
        tensor.extend(numbers.by_ref().take(shape.count()));
        if let Some(i) = tensor.iter().position(|x| !x.is_finite()) {
            let place = format!("tensor `{}`, element {i}", shape.name);
            return Err(Error::file(dir, tensor[i]).at(place).expected("must be finite"));
        }
        parameters.push(tensor);
    }
    parameters.swap(0, 1);
    Ok(Model::from_parts(config, parameters, Some(tokenizer)))
}

/// The parameters in the order of the published files: the position table before the token table.
fn published_order(config: &ModelConfig) -> Vec<ParameterShape> {
    let mut all = config.parameters();
    all.swap(0, 1);
    all
}

/// The model's configuration, derived from the shapes.
fn config(bytes: &[u8], path: &Path, n_head: usize) -> Result<ModelConfig> {
    let shapes: Vec<Vec<usize>> = serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        let error = Error::file(path, "is not a list of shapes").at(place);
        error.expected("must be a list with a list of whole numbers for each tensor")
    })?;
    let ([positions, tokens], layers) = match shapes.split_first_chunk::<TABLES>() {
        Some((tables, layers)) if !layers.is_empty() && layers.len() % LAYER_TENSORS == 0 => (tables, layers.len()),
        _ => {
            let expected = format!("must be {TABLES}, and {LAYER_TENSORS} a layer");
            return Err(Error::file(path, format!("{} shapes", shapes.len())).expected(expected));
        }
    };
    let (&[n_positions, n_embd], &[vocab_size, _]) = (positions.as_slice(), tokens.as_slice()) else {
        let found = format!("{positions:?} and {tokens:?}");
        return Err(Error::file(path, found).at("the first two shapes").expected("must be [P, C] and [V, C]"));
    };
    let gpt1 = ModelConfig::preset("gpt1").unwrap_or_default();
    let config = ModelConfig { n_layer: layers / LAYER_TENSORS, n_embd, n_head, n_positions, vocab_size, ..gpt1 };
    config.validate().map_err(|error| in_file(path, error))?;
    for (i, (shape, parameter)) in shapes.iter().zip(published_order(&config)).enumerate() {
        let mut expected = parameter.dimensions();
        if i >= TABLES && expected.len() > 1 {
            expected.insert(0, 1);
        }
        if *shape != expected {
            let (found, place) = (format!("{shape:?}"), format!("shape {i}, `{}`", parameter.name));
            return Err(Error::file(path, found).at(place).expected(format!("must be {expected:?}")));
        }
    }
    Ok(config)
}

/// A mapped .npy file whose header and size are checked. Numbers are read by [`Part::numbers`].
struct Part {
    map: mmap::Contents,
    start: usize,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self> {
        let map = mmap::map(&path)?;
        let start = header(&map).map_err(|problem| match other_kind(&map).filter(|_| !map.starts_with(NPY)) {
            Some(kind) => kind.in_file(&path),
            None => problem.in_file(&path),
        })?;
        Ok(Part { map, start })
    }

    fn count(&self) -> usize {
        (self.map.len() - self.start) / size_of::<f32>()
    }

    fn numbers(&self) -> impl Iterator<Item = f32> + '_ {
        self.map[self.start..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
    }
}

/// What is wrong with a .npy file.
#[derive(Debug, PartialEq)]
struct Problem {
    found: String,
    expected: String,
}

impl Problem {
    fn in_file(self, path: &Path) -> Error {
        Error::file(path, self.found).expected(self.expected)
    }
}

/// Checks the header of a .npy file: little-endian f32 in C order, and as many bytes as the shape has. Returns the offset of
/// the numbers.
fn header(bytes: &[u8]) -> Result<usize, Problem> {
    let problem = |found: String, expected: &str| Problem { found, expected: expected.into() };
    let damaged = || problem("is damaged".into(), "must be a complete .npy file of NumPy");
    let Some(([version, _], rest)) = bytes.strip_prefix(NPY).and_then(|rest| rest.split_first_chunk::<2>()) else {
        return Err(damaged());
    };
    let (length, width) = match (version, rest) {
        (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 2),
        (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 4),
        _ => return Err(damaged()),
    };
    let text = rest.get(width..).and_then(|rest| rest.get(..length)).ok_or_else(damaged)?;
    // The header is a Python dict with three keys.
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, tail)| tail.trim_start());
    let (Some(kind), Some(order), Some(shape)) = (value("descr"), value("fortran_order"), value("shape")) else {
        return Err(damaged());
    };
    if !kind.starts_with("'<f4'") {
        let kind: String = kind.chars().take_while(|c| *c != ',').take(20).collect();
        return Err(problem(format!("descr {kind}"), "must be '<f4', little-endian f32"));
    }
    if !order.starts_with("False") {
        return Err(problem("fortran_order True".into(), "must be False"));
    }
    let shape = shape.strip_prefix('(').and_then(|tail| tail.split_once(')')).ok_or_else(damaged)?.0;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let count = sizes.map(|size| size.parse::<usize>().ok()).try_fold(1usize, |n, size| n.checked_mul(size?));
    let start = bytes.len() - rest.len() + width + length;
    let size = bytes.len() - start;
    if count.and_then(|count| count.checked_mul(size_of::<f32>())) != Some(size) {
        return Err(problem(format!("{size} bytes of numbers"), &format!("must fill the shape ({shape})")));
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(version: u8, dict: &str, numbers: usize) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        let length = (dict.len() as u32).to_le_bytes();
        bytes.extend(if version == 1 { &length[..2] } else { &length[..] });
        bytes.extend(dict.as_bytes());
        bytes.extend(vec![0; 4 * numbers]);
        bytes
    }

    #[test]
    fn headers_are_checked_against_the_file() {
        let dict = |kind: &str, order: &str, shape: &str| {
            format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}     \n")
        };
        let good = dict("<f4", "False", "(6,)");
        for (version, start) in [(1, 10), (2, 12), (3, 12)] {
            assert_eq!(header(&npy(version, &good, 6)), Ok(start + good.len()));
        }
        assert!(header(&npy(1, &dict("<f4", "False", "(2, 3)"), 6)).is_ok());
        assert!(header(&npy(1, &dict("<f4", "False", "()"), 1)).is_ok());
        let refused = |bytes: &[u8], message: &str| {
            let error = header(bytes).expect_err(message).in_file(Path::new("x.npy")).to_string();
            assert_eq!(error, format!("x.npy: {message}"));
        };
        let damaged = "is damaged: must be a complete .npy file of NumPy";
        refused(&npy(1, &good, 5), "20 bytes of numbers: must fill the shape (6,)");
        refused(&npy(1, &dict("<f4", "False", "(-1,)"), 6), "24 bytes of numbers: must fill the shape (-1,)");
        let huge = "(4611686018427387904, 4)";
        refused(&npy(1, &dict("<f4", "False", huge), 0), &format!("0 bytes of numbers: must fill the shape {huge}"));
        refused(&npy(1, &dict("<f8", "False", "(3,)"), 6), "descr '<f8': must be '<f4', little-endian f32");
        refused(&npy(1, &dict("<f4", "True", "(6,)"), 6), "fortran_order True: must be False");
        refused(&npy(1, "{'descr': '<f4'}", 6), damaged);
        refused(&npy(4, &good, 6), damaged);
        let whole = npy(1, &good, 6);
        for length in [0, 5, 7, 9, 30, good.len()] {
            refused(&whole[..length], damaged);
        }
    }

    #[test]
    fn the_configuration_follows_from_the_shapes() {
        let read = |json: &str, heads| config(json.as_bytes(), Path::new(SHAPES), heads);
        let layer = "[1,8,24],[24],[1,8,8],[8],[8],[8],[1,8,32],[32],[1,32,8],[8],[8],[8]";
        let config = read(&format!("[[5,8],[30,8],{layer},{layer}]"), 2).expect("a model");
        assert_eq!((config.n_layer, config.n_embd, config.n_head), (2, 8, 2));
        assert_eq!((config.n_positions, config.vocab_size, config.attn_pdrop), (5, 30, 0.1));
        let refused = |json: &str, message: &str| {
            let error = read(json, 2).expect_err(message);
            assert_eq!((error.to_string(), error.is_invalid_input()), (format!("{SHAPES}: {message}"), true));
        };
        refused("[[5,8],[30,8]]", "2 shapes: must be 2, and 12 a layer");
        refused(&format!("[[5,8],[30,8],{layer},[8]]"), "15 shapes: must be 2, and 12 a layer");
        refused(
            &format!("[[5,8,1],[30,8],{layer}]"),
            "the first two shapes: [5, 8, 1] and [30, 8]: must be [P, C] and [V, C]",
        );
        refused(
            &format!("[[5,8],[30,9],{layer}]"),
            "shape 1, `transformer.tokens_embed.weight`: [30, 9]: must be [30, 8]",
        );
        let other = layer.replace("[1,32,8]", "[32,8]");
        refused(
            &format!("[[5,8],[30,8],{other}]"),
            "shape 10, `transformer.h.0.mlp.c_proj.weight`: [32, 8]: must be [1, 32, 8]",
        );
        refused(&format!("[[5,9],[30,9],{layer}]"), "n_embd: 9: must be divisible by n_head = 2");
        refused(&format!("[[5,99999999],[30,8],{layer}]"), "n_embd: 99999999: must be at most 16777216");
        assert!(read("{}", 2).expect_err("no list").to_string().contains("is not a list of shapes"));
        assert!(read("[[5,-8]]", 2).expect_err("negative").to_string().contains("is not a list of shapes"));
    }
}
