//! GPT-1 as it was published: params_shapes.json, the ten parts of one stream of f32, and the files of its tokenizer.
//!
//! The stream holds positions \[P,C\], tokens \[V,C\], then layer by layer what [`ModelConfig::parameters`] lists, in that order,
//! matrices with a dimension of 1 in front. Heads are not told by it.

use super::atomic::read_file;
use super::mmap;
use super::model_folder::Model;
use crate::config::{ModelConfig, ParameterShape};
use crate::data::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The shapes of all tensors, in the stream's order.
pub const SHAPES: &str = "params_shapes.json";
/// Parts of the stream, `params_0.npy` and so on.
pub const PARTS: usize = 10;
/// Heads of the published model.
pub const N_HEAD: usize = 12;

/// Tensors in front of the layers, and of a layer.
const TABLES: usize = 2;
const OF_A_LAYER: usize = 12;

/// Reads the published files of a model with `n_head` heads.
///
/// # Errors
/// [`Error::File`] with the file: one that is missing or damaged, shapes that are no GPT-1's, parts that hold more or fewer
/// numbers than the shapes say, a number that is not finite, no tokenizer or one with more ids than the token table.
pub fn import(dir: &Path, n_head: usize) -> Result<Model> {
    if !dir.is_dir() {
        return Err(Error::file(dir, format!("is no folder: must hold {SHAPES}, params_0.npy to params_9.npy")));
    }
    let path = dir.join(SHAPES);
    let config = config(&read_file(&path)?, &path, n_head)?;
    let parts = (0..PARTS).map(|i| Part::open(dir.join(format!("params_{i}.npy")))).collect::<Result<Vec<_>>>()?;
    let (held, named) = (parts.iter().map(Part::count).sum::<usize>(), config.parameter_count());
    if held != named {
        return Err(Error::file(dir, format!("its {PARTS} parts hold {held} numbers: {SHAPES} has {named}")));
    }
    let Some((path, tokenizer)) = Tokenizer::in_folder(dir)? else { return Err(Tokenizer::missing_in(dir)) };
    let (has, allows) = (tokenizer.vocab_size(), config.vocab_size);
    if has > allows {
        return Err(Error::file(path, format!("has {has} ids: the token table of {SHAPES} has {allows} rows")));
    }
    let mut numbers = parts.iter().flat_map(Part::numbers);
    let mut parameters: Vec<Vec<f32>> = Vec::with_capacity(TABLES + OF_A_LAYER * config.n_layer);
    for shape in in_stream(&config) {
        let mut tensor = Vec::with_capacity(shape.count());
        tensor.extend(numbers.by_ref().take(shape.count()));
        if let Some(i) = tensor.iter().position(|x| !x.is_finite()) {
            let message = format!("`{}` has {} as number {i}: must be finite", shape.name, tensor[i]);
            return Err(Error::file(dir, message));
        }
        parameters.push(tensor);
    }
    parameters.swap(0, 1);
    Ok(Model::from_parts(config, parameters, Some(tokenizer)))
}

/// The tensors in the stream's order: positions before tokens.
fn in_stream(config: &ModelConfig) -> Vec<ParameterShape> {
    let mut all = config.parameters();
    all.swap(0, 1);
    all
}

/// The model's numbers, by the shapes.
fn config(bytes: &[u8], path: &Path, n_head: usize) -> Result<ModelConfig> {
    let bad = |message: String| Error::file(path, message);
    let shapes: Vec<Vec<usize>> =
        serde_json::from_slice(bytes).map_err(|e| bad(format!("not a list of shapes: {e}")))?;
    let ([positions, tokens], layers) = match shapes.split_first_chunk::<TABLES>() {
        Some((tables, layers)) if !layers.is_empty() && layers.len() % OF_A_LAYER == 0 => (tables, layers.len()),
        _ => {
            let n = shapes.len();
            return Err(bad(format!("has {n} shapes: must have {TABLES} and {OF_A_LAYER} a layer")));
        }
    };
    let (&[n_positions, n_embd], &[vocab_size, _]) = (positions.as_slice(), tokens.as_slice()) else {
        return Err(bad(format!("its first shapes are {positions:?} and {tokens:?}: must be [P, C] and [V, C]")));
    };
    let gpt1 = ModelConfig::preset("gpt1").unwrap_or_default();
    let config = ModelConfig { n_layer: layers / OF_A_LAYER, n_embd, n_head, n_positions, vocab_size, ..gpt1 };
    config.validate().map_err(|e| bad(e.to_string()))?;
    for (i, (shape, expected)) in shapes.iter().zip(in_stream(&config)).enumerate() {
        let mut right = expected.dimensions();
        if i >= TABLES && right.len() > 1 {
            right.insert(0, 1);
        }
        if *shape != right {
            return Err(bad(format!("shape {i}, `{}`, is {shape:?}: must be {right:?}", expected.name)));
        }
    }
    Ok(config)
}

/// A part in place: its header and size are checked, no number is read yet.
struct Part {
    map: memmap2::Mmap,
    start: usize,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self> {
        let map = mmap::map(&path)?;
        let start = header(&map).map_err(|message| Error::file(&path, message))?;
        Ok(Part { map, start })
    }

    fn count(&self) -> usize {
        (self.map.len() - self.start) / size_of::<f32>()
    }

    fn numbers(&self) -> impl Iterator<Item = f32> + '_ {
        self.map[self.start..].as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))
    }
}

/// Where the numbers of a .npy begin, once all that it says of them is known to be right: little-endian f32 in C order, as
/// many as there are bytes for.
fn header(bytes: &[u8]) -> Result<usize, String> {
    let damaged = || "is no whole .npy file of NumPy's".to_string();
    let Some(([version, _], rest)) = bytes.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.split_first_chunk::<2>())
    else {
        return Err(damaged());
    };
    let (length, width) = match (version, rest) {
        (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 2),
        (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 4),
        _ => return Err(damaged()),
    };
    let text = rest.get(width..).and_then(|rest| rest.get(..length)).ok_or_else(damaged)?;
    // A Python dict of three keys, written by NumPy itself.
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, tail)| tail.trim_start());
    let (Some(kind), Some(order), Some(shape)) = (value("descr"), value("fortran_order"), value("shape")) else {
        return Err(damaged());
    };
    if !kind.starts_with("'<f4'") {
        let kind: String = kind.chars().take_while(|c| *c != ',').take(20).collect();
        return Err(format!("its numbers are {kind}: must be '<f4', little-endian f32"));
    }
    if !order.starts_with("False") {
        return Err("is in Fortran's order: must be in C's".into());
    }
    let shape = shape.strip_prefix('(').and_then(|tail| tail.split_once(')')).ok_or_else(damaged)?.0;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let count = sizes.map(|size| size.parse::<usize>().ok()).try_fold(1usize, |n, size| n.checked_mul(size?));
    let start = bytes.len() - rest.len() + width + length;
    let there = bytes.len() - start;
    if count.and_then(|count| count.checked_mul(size_of::<f32>())) != Some(there) {
        return Err(format!("has {there} bytes of numbers: its shape is ({shape})"));
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
    fn headers_are_held_against_the_file() {
        let dict = |kind: &str, order: &str, shape: &str| {
            format!("{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}     \n")
        };
        let good = dict("<f4", "False", "(6,)");
        for (version, start) in [(1, 10), (2, 12), (3, 12)] {
            assert_eq!(header(&npy(version, &good, 6)), Ok(start + good.len()));
        }
        assert!(header(&npy(1, &dict("<f4", "False", "(2, 3)"), 6)).is_ok());
        assert!(header(&npy(1, &dict("<f4", "False", "()"), 1)).is_ok());
        let says = |bytes: &[u8], message: &str| assert_eq!(header(bytes).expect_err(message), message);
        let damaged = "is no whole .npy file of NumPy's";
        says(&npy(1, &good, 5), "has 20 bytes of numbers: its shape is (6,)");
        says(&npy(1, &dict("<f4", "False", "(-1,)"), 6), "has 24 bytes of numbers: its shape is (-1,)");
        let huge = "(4611686018427387904, 4)";
        says(&npy(1, &dict("<f4", "False", huge), 0), &format!("has 0 bytes of numbers: its shape is {huge}"));
        says(&npy(1, &dict("<f8", "False", "(3,)"), 6), "its numbers are '<f8': must be '<f4', little-endian f32");
        says(&npy(1, &dict("<f4", "True", "(6,)"), 6), "is in Fortran's order: must be in C's");
        says(&npy(1, "{'descr': '<f4'}", 6), damaged);
        says(&npy(4, &good, 6), damaged);
        let whole = npy(1, &good, 6);
        for length in [0, 5, 7, 9, 30, good.len()] {
            says(&whole[..length], damaged);
        }
    }

    #[test]
    fn shapes_tell_the_model() {
        let read = |json: &str, heads| config(json.as_bytes(), Path::new(SHAPES), heads);
        let layer = "[1,8,24],[24],[1,8,8],[8],[8],[8],[1,8,32],[32],[1,32,8],[8],[8],[8]";
        let config = read(&format!("[[5,8],[30,8],{layer},{layer}]"), 2).expect("a model");
        assert_eq!((config.n_layer, config.n_embd, config.n_head), (2, 8, 2));
        assert_eq!((config.n_positions, config.vocab_size, config.attn_pdrop), (5, 30, 0.1));
        let says = |json: &str, message: &str| {
            let error = read(json, 2).expect_err(message);
            assert_eq!((error.to_string(), error.is_invalid_input()), (format!("{SHAPES}: {message}"), true));
        };
        says("[[5,8],[30,8]]", "has 2 shapes: must have 2 and 12 a layer");
        says(&format!("[[5,8],[30,8],{layer},[8]]"), "has 15 shapes: must have 2 and 12 a layer");
        says(
            &format!("[[5,8,1],[30,8],{layer}]"),
            "its first shapes are [5, 8, 1] and [30, 8]: must be [P, C] and [V, C]",
        );
        says(
            &format!("[[5,8],[30,9],{layer}]"),
            "shape 1, `transformer.tokens_embed.weight`, is [30, 9]: must be [30, 8]",
        );
        let other = layer.replace("[1,32,8]", "[32,8]");
        says(
            &format!("[[5,8],[30,8],{other}]"),
            "shape 10, `transformer.h.0.mlp.c_proj.weight`, is [32, 8]: must be [1, 32, 8]",
        );
        says(&format!("[[5,9],[30,9],{layer}]"), "n_embd = 9 is not divisible by n_head = 2");
        says(&format!("[[5,99999999],[30,8],{layer}]"), "n_embd = 99999999: must be at most 16777216");
        assert!(read("{}", 2).expect_err("no list").to_string().contains("not a list of shapes"));
        assert!(read("[[5,-8]]", 2).expect_err("negative").to_string().contains("not a list of shapes"));
    }
}
