//! `--model DIR`: a run's folder, a checkpoint's, or one that Hugging Face wrote, found, checked and read.
//!
//! Names that a folder's files hold (a run's `best` and `latest`, an index's shards) are plain names of what lies in
//! that folder: none leads out of it. Nothing is allocated from a file's claims before they are held against file sizes.

use super::folder::{CONFIG, Checkpoint, MODEL, read_file};
use super::safetensors::Weights;
use super::{config_json, seal};
use crate::config::{ModelConfig, Task};
use crate::data::tokenizer::Tokenizer;
use crate::{Error, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// A text file in a run's folder with the name of the newest checkpoint's folder.
pub const LATEST: &str = "latest";
/// The same for the best one, where a run has such.
pub const BEST: &str = "best";
/// Which shard holds which tensor, in place of [`MODEL`].
pub const INDEX: &str = "model.safetensors.index.json";

/// What a folder's files that are no safetensors hold the weights in.
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// A model as it was found.
#[derive(Clone, Debug)]
pub struct Model {
    /// The folder that holds its files: the one that was asked for, or a checkpoint in it.
    pub folder: PathBuf,
    /// The model's numbers.
    pub config: ModelConfig,
    /// Dense weights in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<Vec<f32>>,
    /// The tokenizer, where the folder has one.
    pub tokenizer: Option<Tokenizer>,
    /// What was in the folder and is not used, a sentence each.
    pub warnings: Vec<String>,
}

impl Model {
    /// Reads the model of a run's folder, a checkpoint's, or one that Hugging Face wrote.
    ///
    /// # Errors
    /// Those of [`resolve`] and [`Checkpoint::load`].
    pub fn load(dir: &Path) -> Result<Self> {
        let folder = resolve(dir)?;
        let (Checkpoint { config, parameters, tokenizer }, warnings) = Checkpoint::load(&folder)?;
        Ok(Model { folder, config, parameters, tokenizer, warnings })
    }

    /// The model as a language model: without the head of what it is fine-tuned for, which is then named in a warning.
    pub fn without_head(mut self) -> Self {
        if let (Some(head), Some(task)) = (self.config.head(), self.config.task.take()) {
            self.parameters.truncate(head.start);
            self.warnings.push(format!("{}: the head of task {} is left out", self.folder.display(), task.kind));
        }
        self
    }

    /// The tokenizer, for what cannot do without.
    ///
    /// # Errors
    /// [`Error::File`] naming the folder.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| Tokenizer::missing(&self.folder))
    }
}

/// The folder that holds a model's files: `dir` itself, or the checkpoint that a run's `best`, else its `latest`, names.
///
/// # Errors
/// [`Error::File`] for what is no folder or holds neither, and for a name that is none of a checkpoint in the run.
pub fn resolve(dir: &Path) -> Result<PathBuf> {
    if !dir.is_dir() {
        return Err(Error::file(dir, format!("is no folder: a model is a folder with {CONFIG} and {MODEL}")));
    }
    if dir.join(CONFIG).exists() {
        return Ok(dir.to_path_buf());
    }
    let Some(pointer) = [BEST, LATEST].map(|name| dir.join(name)).into_iter().find(|path| path.exists()) else {
        return Err(Error::file(
            dir,
            format!("holds no {CONFIG}, and neither {BEST} nor {LATEST}: must be a model's folder or a run's"),
        ));
    };
    let text = String::from_utf8_lossy(&read_file(&pointer)?).into_owned();
    let name = text.trim();
    let shown: String = name.chars().take(80).collect();
    let folder = dir.join(CHECKPOINTS).join(name);
    if !is_plain_name(name) || !folder.is_dir() {
        return Err(Error::file(&pointer, format!("names {shown:?}: must name a folder in {CHECKPOINTS} beside it")));
    }
    Ok(folder)
}

impl Checkpoint {
    /// Reads a folder that [`Checkpoint::save`] or Hugging Face wrote; one with a [`seal`] is held against it first. The
    /// second value names what was in it and is not used.
    ///
    /// # Errors
    /// [`Error::File`] naming the file and what is wrong with it.
    pub fn load(dir: &Path) -> Result<(Self, Vec<String>)> {
        seal::verify(dir)?;
        Self::read(dir)
    }

    /// As [`Checkpoint::load`], of a folder whose seal was looked at.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub(crate) fn read(dir: &Path) -> Result<(Self, Vec<String>)> {
        let config = load_config(dir)?;
        let weights = open_weights(dir)?;
        let tokenizer = load_tokenizer(dir, &config)?;
        let loaded = weights.load(&config)?;
        Ok((Checkpoint { config, parameters: loaded.tensors, tokenizer }, loaded.warnings))
    }
}

/// Reads a model folder's config.json alone.
///
/// # Errors
/// [`Error::File`] naming the file and the key.
pub fn load_config(dir: &Path) -> Result<ModelConfig> {
    let path = dir.join(CONFIG);
    config_json::from_json(&read_file(&path)?, &path)
}

/// Reads a model folder's tokenizer, where it has one, as [`Tokenizer::in_folder`].
///
/// # Errors
/// [`Error::File`] naming the file, also for a tokenizer with more ids than the model, and for one of a fine-tuned model
/// whose three tokens are not the model's last.
pub fn load_tokenizer(dir: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>> {
    let Some((path, tokenizer)) = Tokenizer::in_folder(dir)? else { return Ok(None) };
    let (has, allows) = (tokenizer.vocab_size(), config.vocab_size);
    if has > allows {
        return Err(Error::file(path, format!("has {has} ids: the model's vocab_size is {allows}")));
    }
    // Where config.json says that they are.
    if let (Some(_), Some(tokens)) = (&config.task, tokenizer.task_tokens())
        && tokens.extract as usize + 1 != allows
    {
        let (name, id) = (Task::TOKENS[2], tokens.extract);
        return Err(Error::file(path, format!("{name} has id {id}: must be {}, the model's last", allows - 1)));
    }
    Ok(Some(tokenizer))
}

/// Opens the weights, in one file or in shards.
fn open_weights(dir: &Path) -> Result<Weights> {
    let (whole, index) = (dir.join(MODEL), dir.join(INDEX));
    if whole.exists() {
        return Weights::open(&whole, std::slice::from_ref(&whole));
    }
    if index.exists() {
        return open_shards(dir, &index);
    }
    Err(match PICKLES.map(|name| dir.join(name)).into_iter().find(|path| path.exists()) {
        Some(path) => Error::file(path, format!("is not read: `save_pretrained` of transformers writes {MODEL}")),
        None => Error::file(dir, format!("holds neither {MODEL} nor {INDEX}")),
    })
}

fn open_shards(dir: &Path, path: &Path) -> Result<Weights> {
    let index: Index = serde_json::from_slice(&read_file(path)?)
        .map_err(|e| Error::file(path, format!("not an index with weight_map: {e}")))?;
    let entries = index.weight_map.0;
    let mut tensors = BTreeSet::new();
    for (tensor, shard) in &entries {
        if !is_plain_name(shard) {
            return Err(Error::file(path, format!("weight_map has {shard:?}: must be the name of a file beside it")));
        }
        if !tensors.insert(tensor) {
            return Err(Error::file(path, format!("weight_map has {tensor:?} twice")));
        }
    }
    let shards: Vec<&String> = entries.iter().map(|(_, shard)| shard).collect::<BTreeSet<_>>().into_iter().collect();
    if let Some(missing) = shards.iter().find(|shard| !dir.join(shard).is_file()) {
        return Err(Error::file(path, format!("weight_map has {missing:?}: no such file is beside it")));
    }
    let weights = Weights::open(path, &shards.iter().map(|shard| dir.join(shard)).collect::<Vec<_>>())?;
    for (tensor, shard) in &entries {
        if weights.file_of(tensor).is_none_or(|file| shards[file] != shard) {
            return Err(Error::file(path, format!("weight_map has {tensor:?} in {shard:?}: it is not there")));
        }
    }
    Ok(weights)
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: Entries,
}

/// Keys and values in the order of the file: a map would let a second one of the same key take the first one's place.
struct Entries(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("tensors and their files")
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

/// Whether a name stays in the folder that it is looked up in, on every system.
fn is_plain_name(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains(['/', '\\', ':', '\0'])
}
