//! A model, and the folders that hold one: a checkpoint, a run (its best or latest checkpoint), or a Hugging Face folder.
//!
//! Names read from a folder's files (`best`, `latest`, shards of an index) must be plain file names, so that no path leaves
//! the folder. Sizes that a file claims are compared with the file's size before anything is allocated.

use super::atomic::{Existing, write_file, write_folder};
use super::safetensors::{self, Weights};
use super::{checksums, config_json, in_use};
use crate::config::{ModelConfig, Task};
use crate::data::read_file::{read_regular, read_text_bytes, text_bytes};
use crate::data::tokenizer::Tokenizer;
use crate::model::initial_parameters;
use crate::{Error, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file of the weights.
pub const MODEL: &str = "model.safetensors";
/// The index of sharded weights: which file holds which tensor. Read where [`MODEL`] is missing.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file of the model's configuration.
pub const CONFIG: &str = "config.json";
/// The file of the tokenizer.
pub const TOKENIZER: &str = crate::data::tokenizer::FILE_NAME;
/// The file of transformers' tokenizer settings.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// A text file in a run's folder: the name of the latest checkpoint's folder.
pub const LATEST: &str = "latest";
/// A text file in a run's folder: the name of the best checkpoint's folder. Not every run has one.
pub const BEST: &str = "best";

/// Extensions of files of weights in formats that are not read.
const OTHER_FORMATS: [&str; 7] = ["bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf"];

/// A model in memory: configuration, weights and tokenizer.
///
/// ```
/// use wgpt::config::ModelConfig;
/// use wgpt::store::Model;
///
/// # fn main() -> wgpt::Result<()> {
/// # let folder = tempfile::tempdir().expect("folder");
/// # let path = folder.path().join("model");
/// let config = ModelConfig { n_layer: 1, n_embd: 32, n_head: 2, ..ModelConfig::default() };
/// let model = Model::new(config, 1)?; // random weights; 1 is the seed
/// model.save(&path)?; // config.json and model.safetensors, as Hugging Face names them
/// let model = Model::load(&path)?; // a run's folder, a checkpoint's, or one of Hugging Face's
/// assert_eq!((model.config.n_layer, model.parameters[0].len()), (1, 512 * 32));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    /// The model's configuration.
    pub config: ModelConfig,
    /// Weights without padding, in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<Vec<f32>>,
    /// The tokenizer, if the model has one.
    pub tokenizer: Option<Tokenizer>,
    /// The folder that the files were read from; `None` for a model that was not loaded.
    pub folder: Option<PathBuf>,
    /// Messages about contents of the folder that are not used.
    pub warnings: Vec<String>,
}

impl Model {
    /// A model with initial weights, which are a function of `config` and `seed`, and without a tokenizer.
    ///
    /// # Errors
    /// [`Error::Value`] for a configuration that is not valid.
    pub fn new(config: ModelConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        let parameters = initial_parameters(&config, seed);
        Ok(Self::from_parts(config, parameters, None))
    }

    /// A model of given weights, in the order of [`ModelConfig::parameters`].
    pub fn from_parts(config: ModelConfig, parameters: Vec<Vec<f32>>, tokenizer: Option<Tokenizer>) -> Self {
        Model { config, parameters, tokenizer, folder: None, warnings: Vec::new() }
    }

    /// Reads the model of a run's folder, of a checkpoint, or of a folder that Hugging Face wrote. Checksums are verified if
    /// the folder has them.
    ///
    /// # Errors
    /// Those of [`resolve`], and [`Error::File`] naming the file and what is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let folder = resolve(path.as_ref())?;
        checksums::verify(&folder)?;
        Self::read(&folder)
    }

    /// Reads a folder whose checksums are already verified.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let config = load_config(folder)?;
        let weights = open_weights(folder)?;
        let tokenizer = load_tokenizer(folder, &config)?;
        let loaded = weights.load(&config)?;
        let mut warnings = loaded.warnings;
        warnings.extend(tokenizer.as_ref().and_then(Tokenizer::warning));
        let folder = Some(folder.to_path_buf());
        Ok(Model { config, parameters: loaded.tensors, tokenizer, folder, warnings })
    }

    /// Writes a new folder that Hugging Face reads, completely or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if `dir` exists and is not empty; [`Error::Io`] if it cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        write_folder(dir.as_ref(), Existing::Refuse, |folder| self.write_files(folder))
    }

    /// Writes the model's files into an existing folder. A checkpoint, which has more files, calls it inside of
    /// [`write_folder`].
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be written.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        safetensors::save_parameters(&folder.join(MODEL), &self.config, &self.parameters)?;
        write_file(&folder.join(CONFIG), config_json::to_json(&self.config).as_bytes())?;
        match &self.tokenizer {
            Some(tokenizer) => write_tokenizer(folder, tokenizer, Some(self.config.n_positions)),
            None => Ok(()),
        }
    }

    /// The language model inside a fine-tuned model: the head is removed, and a warning names it.
    pub fn without_head(mut self) -> Self {
        if let (Some(head), Some(task)) = (self.config.head(), self.config.task.take()) {
            self.parameters.truncate(head.start);
            let message = format!("the head of task {} is not used", task.kind);
            self.warnings.push(match &self.folder {
                Some(folder) => format!("{}: {message}", folder.display()),
                None => message,
            });
        }
        self
    }

    /// The tokenizer, for callers that need one.
    ///
    /// # Errors
    /// [`Error::File`] naming the folder; [`Error::Value`] for a model that was not loaded.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| match &self.folder {
            Some(folder) => Tokenizer::missing_in(folder),
            None => Error::value("tokenizer", "none", "the model must have one"),
        })
    }
}

/// Writes a tokenizer's two files into an existing folder; `n_positions` are those of its model, if it has one.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written.
pub fn write_tokenizer(folder: &Path, tokenizer: &Tokenizer, n_positions: Option<usize>) -> Result<()> {
    write_file(&folder.join(TOKENIZER), tokenizer.to_json()?.as_bytes())?;
    write_file(&folder.join(TOKENIZER_CONFIG), tokenizer.tokenizer_config_json(n_positions).as_bytes())
}

/// The folder that holds a model's files: `dir` itself, or the checkpoint that a run's `best`, else its `latest`, names.
///
/// # Errors
/// [`Error::File`] if `dir` is not a folder, holds neither a model nor a run, or names a checkpoint that does not exist.
pub fn resolve(dir: &Path) -> Result<PathBuf> {
    if !dir.is_dir() {
        return Err(Error::file(dir, "is not a folder").expected(format!("must be a folder with {CONFIG} and {MODEL}")));
    }
    // A checkpoint without its config.json is still a checkpoint, whose checksums name the missing file.
    if [CONFIG, checksums::STATE].iter().any(|name| dir.join(name).exists()) {
        return Ok(dir.to_path_buf());
    }
    let Some(pointer) = [BEST, LATEST].map(|name| dir.join(name)).into_iter().find(|path| path.exists()) else {
        let found = format!("has no {CONFIG} and neither {BEST} nor {LATEST}");
        return Err(Error::file(dir, found).expected("must be a model's folder or a run's folder"));
    };
    let name = read_pointer(&pointer)?;
    let folder = dir.join(CHECKPOINTS).join(&name);
    if !is_plain_name(&name) || !folder.is_dir() {
        let shown: String = name.chars().take(80).collect();
        let expected = format!("must name a folder in {CHECKPOINTS}");
        return Err(Error::file(&pointer, format!("{shown:?}")).expected(expected));
    }
    Ok(folder)
}

/// The name in a run's file `latest` or `best`.
///
/// # Errors
/// [`Error::File`] if the file cannot be read.
pub fn read_pointer(path: &Path) -> Result<String> {
    // The run may replace the file at this moment. Windows does not read it then.
    let bytes = text_bytes(path, in_use::retry(|| read_regular(path)))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_string())
}

/// Reads only the config.json of a model's folder.
///
/// # Errors
/// [`Error::File`] naming the file and the key.
pub fn load_config(folder: &Path) -> Result<ModelConfig> {
    let path = folder.join(CONFIG);
    config_json::from_json(&read_text_bytes(&path)?, &path)
}

/// Reads the tokenizer of a model's folder ([`Tokenizer::in_folder`]); `None` if it has none.
///
/// # Errors
/// [`Error::File`] naming the file, also for a tokenizer with more ids than the model, and for a fine-tuned model whose
/// three task tokens are not its last ids.
pub fn load_tokenizer(folder: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>> {
    let Some((path, tokenizer)) = Tokenizer::in_folder(folder)? else { return Ok(None) };
    let (ids, allowed) = (tokenizer.vocab_size(), config.vocab_size);
    if ids > allowed {
        let expected = format!("must be at most {allowed}, the model's vocab_size");
        return Err(Error::file(path, format!("{ids} ids")).expected(expected));
    }
    // config.json implies these ids: pad_token_id is the first of the three.
    if let (Some(_), Some(tokens)) = (&config.task, tokenizer.task_tokens())
        && tokens.extract as usize + 1 != allowed
    {
        let (token, expected) = (Task::TOKENS[2], format!("must be {}, the model's last id", allowed - 1));
        return Err(Error::file(path, tokens.extract).at(format!("token {token}")).expected(expected));
    }
    Ok(Some(tokenizer))
}

/// Opens the weights of a folder, in one file or in shards.
fn open_weights(dir: &Path) -> Result<Weights> {
    let (whole, index) = (dir.join(MODEL), dir.join(INDEX));
    if whole.exists() {
        return Weights::open(&whole, std::slice::from_ref(&whole));
    }
    if index.exists() {
        return open_shards(dir, &index);
    }
    Err(match in_other_format(dir) {
        Some(path) => {
            let expected = format!("must be {MODEL}, which `save_pretrained` of transformers writes");
            Error::file(path, "this format is not read").expected(expected)
        }
        None => Error::file(dir, "has no weights").expected(format!("must have {MODEL} or {INDEX}")),
    })
}

/// The first file of weights in a format that is not read.
fn in_other_format(dir: &Path) -> Option<PathBuf> {
    let is_other = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        extension.is_some_and(|extension| OTHER_FORMATS.contains(&extension.as_str()))
    };
    let paths = std::fs::read_dir(dir).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(is_other).min()
}

fn open_shards(dir: &Path, path: &Path) -> Result<Weights> {
    let index: Index = serde_json::from_slice(&read_text_bytes(path)?)
        .map_err(|e| Error::file(path, format!("is not an index with weight_map: {e}")))?;
    let bad = |found: &str, expected: String| Err(Error::file(path, found).at("weight_map").expected(expected));
    let entries = index.weight_map.0;
    let mut tensors = BTreeSet::new();
    for (tensor, shard) in &entries {
        if !is_plain_name(shard) {
            return bad(&format!("{shard:?}"), "must be the name of a file in the same folder".into());
        }
        if !tensors.insert(tensor) {
            return bad(&format!("{tensor:?} is listed twice"), "must be listed once".into());
        }
    }
    let shards: Vec<&String> = entries.iter().map(|(_, shard)| shard).collect::<BTreeSet<_>>().into_iter().collect();
    if let Some(missing) = shards.iter().find(|shard| !dir.join(shard).is_file()) {
        return bad(&format!("{missing:?} is missing"), "must be a file in the same folder".into());
    }
    let weights = Weights::open(path, &shards.iter().map(|shard| dir.join(shard)).collect::<Vec<_>>())?;
    for (tensor, shard) in &entries {
        if weights.file_of(tensor).is_none_or(|file| shards[file] != shard) {
            return bad(&format!("{tensor:?}"), format!("must be in {shard:?}, which does not hold it"));
        }
    }
    Ok(weights)
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: Entries,
}

/// Keys and values in the order of the file. In a map, a repeated key would replace the first one.
struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors and their files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(List)
    }
}

/// Whether a name, joined to a folder, is a direct child of the folder on every system.
fn is_plain_name(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(all(test, feature = "tokenizers"))]
mod tests {
    use super::*;
    use crate::data::tokenizer::Pretokenizer;

    #[test]
    fn a_saved_model_is_loaded_unchanged() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("runs/model");
        let config =
            ModelConfig { n_layer: 2, n_embd: 6, n_head: 2, n_positions: 5, vocab_size: 260, ..Default::default() };
        let tokenizer = Tokenizer::train("the cat and the hat", 260, Pretokenizer::Bytes).expect("train");
        let saved = Model { tokenizer: Some(tokenizer), ..Model::new(config, 1).expect("model") };
        saved.save(&dir).expect("save");
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).expect("folder");
            let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("entry").file_name();
            let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&dir), [CONFIG, MODEL, TOKENIZER, TOKENIZER_CONFIG]);
        assert_eq!(names(&folder.path().join("runs")), ["model"], "no sibling is left");
        let loaded = Model::load(&dir).expect("load");
        assert_eq!((&loaded.config, &loaded.parameters), (&saved.config, &saved.parameters));
        assert_eq!((loaded.folder.as_deref(), loaded.warnings), (Some(dir.as_path()), vec![]));
        let json = |t: &Option<Tokenizer>| t.as_ref().expect("tokenizer").to_json().expect("json");
        assert_eq!(json(&loaded.tokenizer), json(&saved.tokenizer));
        let error = saved.save(&dir).expect_err("exists").to_string();
        assert!(error.ends_with("already exists: must be a new or empty folder"), "{error}");
        assert!(Model::new(ModelConfig { n_head: 5, ..ModelConfig::default() }, 1).is_err());
    }
}
