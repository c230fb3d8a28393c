//! Reading: tensors of one file or several, and the parameters of a model, with what wrappers add to their names.

use super::layout::from_file;
use super::place::tensor_place;
use crate::config::{ModelConfig, ParameterShape};
use crate::data::file_kind::{beginning_of_text, other_kind};
use crate::error::FileFault;
use crate::store::mmap;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata};
use safetensors::{SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The tied output matrix of a language model, in files that have one.
const LM_HEAD: &str = "lm_head.weight";

/// One tensor in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A model's parameters, read from files.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Elements of each parameter, in the order of [`ModelConfig::parameters`].
    pub tensors: Vec<Vec<f32>>,
    /// Messages about tensors that are not used.
    pub warnings: Vec<String>,
}

/// Reads every tensor of a file.
///
/// # Errors
/// [`Error::File`] for a missing or damaged file, and for a tensor of another type than f32, f16 and bf16.
pub fn read(path: &Path) -> Result<Tensors> {
    let file = TensorFile::open(path)?;
    let tensors = file.header.offset_keys().into_iter().map(|name| {
        let tensor = file.tensor(&name)?;
        Ok((name.clone(), Tensor { shape: tensor.shape.to_vec(), data: tensor.values()? }))
    });
    tensors.collect()
}

/// Reads a model's parameters from one file: [`Weights::load`].
///
/// # Errors
/// Those of [`Weights::open`] and [`Weights::load`].
pub fn load_parameters(path: &Path, config: &ModelConfig) -> Result<Loaded> {
    Weights::open(path, &[path.to_path_buf()])?.load(config)
}

/// The files of a model's weights, one or several, mapped. Headers are read and checked; values are read by
/// [`Weights::load`].
pub struct Weights {
    /// The path that errors about all files name.
    path: PathBuf,
    files: Vec<TensorFile>,
    /// Where each tensor is, by its name without the parts that wrappers of PyTorch add.
    tensors: BTreeMap<String, Place>,
}

/// Where a tensor is.
struct Place {
    /// The index of its file.
    file: usize,
    /// Its name in the file.
    name: String,
}

/// Parts of a name that wrappers of PyTorch add: `torch.compile`, FSDP, activation checkpointing.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// The first part of each name in a DataParallel or DistributedDataParallel module.
const DATA_PARALLEL: &str = "module";

/// A tensor's name without the parts that wrappers of PyTorch add.
fn unwrapped(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    while parts.first() == Some(&DATA_PARALLEL) {
        parts.remove(0);
    }
    parts.join(".")
}

impl Weights {
    /// Opens the files. Errors about all of them name `path`: the index of several files, or the only file.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, and for a tensor that is in two files.
    pub fn open(path: &Path, files: &[PathBuf]) -> Result<Self> {
        let files = files.iter().map(|file| TensorFile::open(file)).collect::<Result<Vec<_>>>()?;
        let mut tensors: BTreeMap<String, Place> = BTreeMap::new();
        for (i, file) in files.iter().enumerate() {
            for name in file.header.offset_keys() {
                let short = unwrapped(&name);
                if let Some(other) = tensors.get(&short) {
                    let found = match other.file == i {
                        true => format!("is also present as `{}`", other.name.escape_debug()),
                        false => format!("is also in {}", files[other.file].path.display()),
                    };
                    return Err(Error::file(&file.path, found).at(tensor_place(&name)));
                }
                tensors.insert(short, Place { file: i, name });
            }
        }
        Ok(Weights { path: path.to_path_buf(), files, tensors })
    }

    /// The index, in the order of [`Weights::open`], of the file that holds a tensor.
    pub fn file_of(&self, tensor: &str) -> Option<usize> {
        self.tensors.get(&unwrapped(tensor)).map(|place| place.file)
    }

    /// A tensor by its name without parts of wrappers.
    fn tensor(&self, name: &str) -> Option<Result<TensorIn<'_>>> {
        let place = self.tensors.get(name)?;
        Some(self.files[place.file].tensor(&place.name))
    }

    /// Reads a model's parameters, after all of them are found with their shapes.
    ///
    /// The prefix `transformer.` of a name is optional, and parts that wrappers of PyTorch add, such as `module.` and
    /// `_orig_mod.`, are left out. Attention mask buffers are ignored. `lm_head.weight` may take the place
    /// of the token table, or must equal it. Warnings name all other tensors that the model does not have.
    ///
    /// # Errors
    /// [`Error::File`] for a tensor that is missing, has another shape, is present under both names or has a value that is
    /// not finite, and for an output matrix that differs from the token table.
    pub fn load(&self, config: &ModelConfig) -> Result<Loaded> {
        let parameters = config.parameters();
        let mut found = Vec::with_capacity(parameters.len());
        let mut used = BTreeSet::new();
        for (i, parameter) in parameters.iter().enumerate() {
            // The first parameter is the token table, to which the output matrix is tied. transformers writes it under one
            // of two names, which depends on the class.
            let tensor = self.find(parameter, if i == 0 { Some(LM_HEAD) } else { None })?;
            used.insert(tensor.name.to_string());
            found.push(tensor);
        }
        let mut warnings = Vec::new();
        for (name, place) in &self.tensors {
            let tensor = self.files[place.file].tensor(&place.name)?;
            if used.contains(tensor.name) || is_mask(name, tensor.shape) {
                continue;
            }
            if name == LM_HEAD {
                if tensor.same_values(&found[0])? {
                    continue;
                }
                let expected = format!("must equal `{}`, to which it is tied", found[0].name);
                return Err(tensor.error("has other values").expected(expected));
            }
            let message = format!("shape {:?}, is not part of the model and is ignored", tensor.shape);
            warnings.push(tensor.error(message).to_string());
        }
        let tensors = found.into_iter().zip(&parameters).map(|(tensor, shape)| {
            let values = tensor.values()?;
            match values.iter().position(|x| !x.is_finite()) {
                Some(i) => Err(tensor.error(format!("element {i} is {}", values[i])).expected("must be finite")),
                None => Ok(from_file(shape, values)),
            }
        });
        Ok(Loaded { tensors: tensors.collect::<Result<_>>()?, warnings })
    }

    /// A parameter, under its name with or without the prefix, or under the name of a tied tensor. Its shape is checked.
    fn find<'a>(&'a self, parameter: &'a ParameterShape, tied: Option<&'a str>) -> Result<TensorIn<'a>> {
        let long = parameter.name.as_str();
        let short = long.strip_prefix("transformer.").unwrap_or(long);
        let is_present = |name: &&str| self.tensors.contains_key(*name);
        let shape = parameter.dimensions();
        let Some(name) = [long, short].into_iter().chain(tied).find(is_present) else {
            return Err(match self.tensors.values().next().filter(|_| tied.is_some()) {
                // The names may be those of another program.
                Some(other) => {
                    let (all, other) = (self.tensors.len(), other.name.escape_debug());
                    let found = format!("is missing among {all} tensors, the first of which is `{other}`");
                    Error::file(&self.path, found).at(tensor_place(long)).expected(must_have(&shape))
                }
                None => missing(&self.path, long, &shape),
            });
        };
        let Some(tensor) = self.tensor(name) else { return Err(missing(&self.path, name, &shape)) };
        let tensor = tensor?;
        if name != short && is_present(&short) {
            return Err(tensor.error(format!("is also present as `{short}`")).expected("must be present once"));
        }
        if tensor.shape != shape {
            return Err(wrong_shape(tensor.path, tensor.name, tensor.shape, &shape));
        }
        Ok(tensor)
    }
}

/// A mapped file. The crate `safetensors` checks all claims of its header against the file.
struct TensorFile {
    path: PathBuf,
    map: mmap::Contents,
    header: Metadata,
    /// Offset of the elements.
    start: usize,
}

impl TensorFile {
    fn open(path: &Path) -> Result<Self> {
        let map = mmap::map(path)?;
        let (length, header) = SafeTensors::read_metadata(&map).map_err(|e| {
            if let Some(kind) = other_kind(&map) {
                return kind.in_file(path);
            }
            if let Some(text) = beginning_of_text(&map) {
                let found = format!("a text, which begins with {text:?}");
                return Error::file(path, found).expected("expected a safetensors file: download it again");
            }
            let why = match e {
                SafeTensorError::HeaderTooSmall => "the length of the header is cut off".into(),
                SafeTensorError::InvalidHeaderLength => "the header is longer than the file".into(),
                SafeTensorError::MetadataIncompleteBuffer => "the tensors do not end where the file ends".into(),
                e => e.to_string(),
            };
            let found = format!("is not a complete safetensors file ({} bytes)", map.len());
            Error::file(path, found).expected(why).with_fault(FileFault::Damaged)
        })?;
        Ok(TensorFile { path: path.to_path_buf(), start: size_of::<u64>() + length, map, header })
    }

    fn tensor<'a>(&'a self, name: &'a str) -> Result<TensorIn<'a>> {
        let missing = || Error::file(&self.path, "is missing").at(tensor_place(name));
        let info = self.header.info(name).ok_or_else(missing)?;
        let (from, to) = info.data_offsets;
        let bytes = self.map.get(self.start + from..self.start + to).ok_or_else(missing)?;
        Ok(TensorIn { path: &self.path, name, dtype: info.dtype, shape: &info.shape, bytes })
    }
}

/// The error of a tensor that a file lacks.
pub(in crate::store) fn missing(path: &Path, name: &str, shape: &[usize]) -> Error {
    Error::file(path, "is missing").at(tensor_place(name)).expected(must_have(shape))
}

fn must_have(shape: &[usize]) -> String {
    format!("must have shape {shape:?}")
}

/// The error of a tensor of another shape.
pub(in crate::store) fn wrong_shape(path: &Path, name: &str, found: &[usize], expected: &[usize]) -> Error {
    Error::file(path, format!("shape {found:?}")).at(tensor_place(name)).expected(format!("must be {expected:?}"))
}

/// A tensor in a mapped file.
struct TensorIn<'a> {
    path: &'a Path,
    name: &'a str,
    dtype: Dtype,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl TensorIn<'_> {
    fn error(&self, found: impl Display) -> Error {
        Error::file(self.path, found).at(tensor_place(self.name))
    }

    fn values(&self) -> Result<Vec<f32>> {
        let bytes = self.bytes;
        Ok(match self.dtype {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
            other => return Err(self.error(format!("type {other:?}")).expected("must be F32, F16 or BF16")),
        })
    }

    fn same_values(&self, other: &TensorIn<'_>) -> Result<bool> {
        Ok(self.shape == other.shape
            && match self.dtype == other.dtype {
                true => self.bytes == other.bytes,
                false => self.values()? == other.values()?,
            })
    }
}

/// Whether a tensor is a causal mask, which older files contain as `h.{i}.attn.bias` with shape \[1, 1, P, P\].
fn is_mask(name: &str, shape: &[usize]) -> bool {
    let name = name.strip_prefix("transformer.").unwrap_or(name);
    let layer = name.strip_prefix("h.").and_then(|rest| rest.strip_suffix(".attn.bias"));
    layer.is_some_and(|layer| layer.parse::<usize>().is_ok()) && shape.len() == 4
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::write::{save_parameters, write};
    use super::*;
    use crate::config::KvGroups;
    use safetensors::tensor::TensorView;

    pub(crate) fn small() -> (ModelConfig, Vec<Vec<f32>>) {
        let config =
            ModelConfig { n_layer: 2, n_embd: 6, n_head: 2, n_positions: 5, vocab_size: 7, ..Default::default() };
        let mut next = 0.0f32;
        let parameters = config.parameters().into_iter().map(|p| {
            (0..p.count())
                .map(|_| {
                    next += 0.5;
                    next
                })
                .collect()
        });
        let parameters = parameters.collect();
        (config, parameters)
    }

    fn tensors_of(config: &ModelConfig, parameters: &[Vec<f32>]) -> Tensors {
        let shapes = config.parameters().into_iter();
        shapes
            .zip(parameters)
            .map(|(p, data)| (p.name.clone(), Tensor { shape: p.dimensions(), data: data.clone() }))
            .collect()
    }

    fn write_all(path: &Path, tensors: &Tensors) {
        write(path, tensors.iter().map(|(n, t)| (n.as_str(), t.shape.as_slice(), t.data.as_slice()))).expect("write");
    }

    #[test]
    fn saved_parameters_are_loaded_unchanged() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        save_parameters(&path, &config, &parameters).expect("save");
        let loaded = load_parameters(&path, &config).expect("load");
        assert_eq!(loaded, Loaded { tensors: parameters.clone(), warnings: vec![] });
        assert_eq!(read(&path).expect("read"), tensors_of(&config, &parameters));
        let bytes = std::fs::read(&path).expect("bytes");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("header");
        assert_eq!(metadata.metadata().as_ref().expect("metadata")["format"], "pt");
        assert_eq!(u64::from_le_bytes(bytes[..8].try_into().expect("8")) % 8, 0, "elements are aligned");
        save_parameters(&path, &config, &parameters).expect("save");
        assert_eq!(std::fs::read(&path).expect("bytes"), bytes, "the same tensors are the same bytes");
        assert!(save_parameters(&path, &config, &parameters[1..]).is_err());
    }

    #[test]
    fn convolutions_are_transposed_in_files() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        for kv_groups in [KvGroups::One, KvGroups::Head, KvGroups::Channel] {
            let (config, _) = small();
            let config = ModelConfig { attention_pattern: "LM".into(), kv_groups, ..config };
            let parameters: Vec<Vec<f32>> =
                config.parameters().iter().map(|p| (0..p.count()).map(|i| i as f32).collect()).collect();
            save_parameters(&path, &config, &parameters).expect("save");
            assert_eq!(load_parameters(&path, &config).expect("load").tensors, parameters);
            let (width, f) = (config.kv_group_width(), config.kv_factor);
            let file = &read(&path).expect("read")["transformer.h.1.attn.compress_v.weight"];
            assert_eq!(file.shape, [6, width, f]);
            let (o, i, tap) = (5, width - 1, 1);
            assert_eq!(file.data[(o * width + i) * f + tap], ((tap * width + i) * 6 + o) as f32);
        }
    }

    #[test]
    fn the_prefix_of_names_is_optional_and_other_tensors_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        let full = tensors_of(&config, &parameters);
        let mut tensors: Tensors =
            full.iter().map(|(n, t)| (n.trim_start_matches("transformer.").to_string(), t.clone())).collect();
        tensors.insert("h.0.attn.bias".into(), Tensor { shape: vec![1, 1, 5, 5], data: vec![1.0; 25] });
        tensors.insert("lm_head.weight".into(), full["transformer.tokens_embed.weight"].clone());
        write_all(&path, &tensors);
        assert_eq!(load_parameters(&path, &config).expect("load"), Loaded { tensors: parameters, warnings: vec![] });

        tensors.insert("score.weight".into(), Tensor { shape: vec![2, 6], data: vec![0.0; 12] });
        tensors.insert("h.1.attn.bias".into(), Tensor { shape: vec![25], data: vec![1.0; 25] });
        write_all(&path, &tensors);
        let warnings = load_parameters(&path, &config).expect("load").warnings;
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for what in ["`score.weight`: shape [2, 6]", "`h.1.attn.bias`: shape [25]"] {
            assert!(warnings.iter().any(|w| w.contains(what)), "{warnings:?}");
        }
        let table = tensors.remove("tokens_embed.weight").expect("table");
        write_all(&path, &tensors);
        assert_eq!(load_parameters(&path, &config).expect("the output matrix is the table").tensors[0], table.data);
        tensors.insert("tokens_embed.weight".into(), table);
        tensors.get_mut("lm_head.weight").expect("head").data[0] = -1.0;
        write_all(&path, &tensors);
        let error = load_parameters(&path, &config).expect_err("an output matrix that is not tied").to_string();
        assert!(
            error
                .ends_with("`lm_head.weight`: has other values: must equal `tokens_embed.weight`, to which it is tied"),
            "{error}"
        );
    }

    #[test]
    fn names_of_wrapped_modules_are_found() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        let full = tensors_of(&config, &parameters);
        let wraps: [fn(&str) -> String; 5] = [
            |name| format!("_orig_mod.{name}"),
            |name| format!("module.{name}"),
            |name| format!("module._orig_mod.{}", name.trim_start_matches("transformer.")),
            |name| format!("_orig_mod.module.{name}"),
            |name| {
                name.replace("h.0.", "h.0._checkpoint_wrapped_module.")
                    .replace("transformer.", "transformer._orig_mod.")
            },
        ];
        for wrap in wraps {
            let tensors: Tensors = full.iter().map(|(name, tensor)| (wrap(name), tensor.clone())).collect();
            write_all(&path, &tensors);
            let loaded = load_parameters(&path, &config).expect("load");
            assert_eq!(loaded, Loaded { tensors: parameters.clone(), warnings: vec![] }, "{}", wrap("x"));
        }
        let mut twice = full.clone();
        let name = "transformer.h.0.ln_1.bias";
        twice.insert(format!("module.{name}"), full[name].clone());
        write_all(&path, &twice);
        let error = load_parameters(&path, &config).expect_err("two names").to_string();
        assert!(error.contains(&format!("is also present as `module.{name}`")), "{error}");
    }

    #[test]
    fn files_of_other_kinds_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        for (bytes, what) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"[..], "a Git LFS pointer"),
            (b"PK\x03\x04\0\0\0\0\0\0archive/data.pkl", "a zip archive"),
            (b"\x80\x02}q\0.", "a Python pickle"),
            (b"<!DOCTYPE html><html><title>404</title>", "an HTML page"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "compressed by gzip"),
            (b"\x93NUMPY\x01\0", "a NumPy array"),
            (b"Entry not found", "a text, which begins with \"Entry not found\": expected a safetensors file"),
        ] {
            std::fs::write(&path, bytes).expect("write");
            let error = load_parameters(&path, &small().0).expect_err(what);
            assert!(error.to_string().contains(what) && error.is_invalid_input(), "{error}");
        }
    }

    /// A tensor without elements may begin where another one begins: it takes no bytes.
    #[test]
    fn tensors_without_elements_are_ignored() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        save_parameters(&path, &config, &parameters).expect("save");
        let good = std::fs::read(&path).expect("bytes");
        let length = u64::from_le_bytes(good[..8].try_into().expect("8")) as usize;
        let header = String::from_utf8(good[8..8 + length].to_vec()).expect("UTF-8");
        for offset in [0, good.len() - 8 - length] {
            let empty = format!(r#"{{"none":{{"dtype":"F32","shape":[0,3],"data_offsets":[{offset},{offset}]}},"#);
            let header = header.replacen('{', &empty, 1);
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &good[8 + length..]].concat();
            std::fs::write(&path, bytes).expect("write");
            let loaded = load_parameters(&path, &config).expect("load");
            assert_eq!(loaded.tensors, parameters);
            assert!(
                loaded.warnings[0].contains("`none`: shape [0, 3], is not part of the model"),
                "{:?}",
                loaded.warnings
            );
            assert_eq!(read(&path).expect("read")["none"], Tensor { shape: vec![0, 3], data: vec![] });
        }
    }

    #[test]
    fn a_tied_head_may_have_another_type() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        let half: Vec<u8> = parameters[0].iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        let shapes = config.parameters();
        let bytes: Vec<Vec<u8>> = parameters.iter().map(|p| p.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let mut views: Vec<(&str, TensorView<'_>)> = shapes
            .iter()
            .zip(&bytes)
            .map(|(p, bytes)| (p.name.as_str(), TensorView::new(Dtype::F32, p.dimensions(), bytes).expect("view")))
            .collect();
        views.push(("lm_head.weight", TensorView::new(Dtype::F16, vec![7, 6], &half).expect("view")));
        std::fs::write(&path, safetensors::serialize(views, None).expect("bytes")).expect("write");
        assert_eq!(load_parameters(&path, &config).expect("load"), Loaded { tensors: parameters, warnings: vec![] });
    }

    #[test]
    fn duplicates_and_values_that_are_not_finite_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let (config, parameters) = small();
        let good = tensors_of(&config, &parameters);
        let mut twice = good.clone();
        twice.insert("h.0.ln_1.bias".into(), good["transformer.h.0.ln_1.bias"].clone());
        write_all(&paths[0], &twice);
        let error = load_parameters(&paths[0], &config).expect_err("two names").to_string();
        assert!(
            error.ends_with(
                "a: tensor `transformer.h.0.ln_1.bias`: is also present as `h.0.ln_1.bias`: must be present once"
            ),
            "{error}"
        );

        let (mut first, mut second) = (good.clone(), Tensors::new());
        second.extend(first.remove_entry("transformer.positions_embed.weight"));
        write_all(&paths[0], &first);
        write_all(&paths[1], &second);
        let weights = Weights::open(&paths[0], &paths).expect("open");
        assert_eq!(weights.load(&config).expect("load"), Loaded { tensors: parameters, warnings: vec![] });
        assert_eq!(weights.file_of("transformer.positions_embed.weight"), Some(1));
        second.insert("lm_head.weight".into(), good["transformer.tokens_embed.weight"].clone());
        first.insert("lm_head.weight".into(), good["transformer.tokens_embed.weight"].clone());
        write_all(&paths[0], &first);
        write_all(&paths[1], &second);
        let error = Weights::open(&paths[0], &paths).err().expect("two files").to_string();
        assert!(error.contains("b: tensor `lm_head.weight`: is also in ") && error.ends_with("/a"), "{error}");

        for bad in [f32::NAN, f32::INFINITY] {
            let mut tensors = good.clone();
            tensors.get_mut("transformer.h.1.ln_2.weight").expect("gain").data[3] = bad;
            write_all(&paths[0], &tensors);
            let error = load_parameters(&paths[0], &config).expect_err("not finite").to_string();
            assert!(
                error.ends_with(&format!("`transformer.h.1.ln_2.weight`: element 3 is {bad}: must be finite")),
                "{error}"
            );
        }
    }

    #[test]
    fn missing_tensors_and_wrong_shapes_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        let good = tensors_of(&config, &parameters);
        let name = "transformer.h.1.attn.c_proj.weight";
        let mut bad = good.clone();
        bad.remove(name);
        write_all(&path, &bad);
        let error = load_parameters(&path, &config).expect_err("missing").to_string();
        assert!(error.ends_with(&format!("tensor `{name}`: is missing: must have shape [6, 6]")), "{error}");
        write_all(&path, &good.iter().map(|(name, tensor)| (format!("model.{name}"), tensor.clone())).collect());
        let error = load_parameters(&path, &config).expect_err("other names").to_string();
        assert!(error.contains("is missing among 26 tensors, the first of which is `model.transformer."), "{error}");
        let mut bad = good;
        bad.get_mut(name).expect("tensor").shape = vec![4, 9];
        write_all(&path, &bad);
        let error = load_parameters(&path, &config).expect_err("shape").to_string();
        assert!(error.ends_with(&format!("tensor `{name}`: shape [4, 9]: must be [6, 6]")), "{error}");
    }

    #[test]
    fn half_precision_is_read_and_integers_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("t.safetensors");
        let values = [1.5f32, -0.25, 65504.0];
        let f16: Vec<u8> = values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
        let bf16: Vec<u8> = values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
        let view = |dtype, data| TensorView::new(dtype, vec![3], data).expect("view");
        let both = [("a", view(Dtype::F16, &f16)), ("b", view(Dtype::BF16, &bf16))];
        std::fs::write(&path, safetensors::serialize(both, None).expect("bytes")).expect("write");
        let tensors = read(&path).expect("read");
        assert_eq!(tensors["a"].data, values);
        assert_eq!(tensors["b"].data, [1.5, -0.25, half::bf16::from_f32(65504.0).to_f32()]);
        let ints = [("i", view(Dtype::I16, &f16))];
        std::fs::write(&path, safetensors::serialize(ints, None).expect("bytes")).expect("write");
        let error = read(&path).expect_err("integers").to_string();
        assert!(error.contains("`i`: type I16: must be F32, F16 or BF16"), "{error}");
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.safetensors");
        let (config, parameters) = small();
        save_parameters(&path, &config, &parameters).expect("save");
        let good = std::fs::read(&path).expect("bytes");
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).expect("write");
            let error = load_parameters(&path, &config).expect_err(what);
            assert!(error.to_string().contains("is not a complete safetensors file"), "{what}: {error}");
            assert!(error.is_invalid_input());
        };
        for length in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
            refused(&good[..length], "cut short");
        }
        refused(&[good.as_slice(), &[0]].concat(), "a byte too many");
        let headed = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        for (header, what) in [
            (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615]}}"#, "overflow"),
            (r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#, "all"),
            (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, "product"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, "backwards"),
            (r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[-1,0]}}"#, "negative"),
            (r#"{"a":{}}"#, "no claims"),
            ("[]", "a list"),
            ("{", "half"),
        ] {
            refused(&headed(header), what);
        }
        refused(&[u64::MAX.to_le_bytes().as_slice(), &[b'{'; 50]].concat(), "absurd header");
        let error = load_parameters(&folder.path().join("none"), &config).expect_err("none");
        assert!(error.is_invalid_input());
    }
}
