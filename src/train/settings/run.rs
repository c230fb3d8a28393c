//! The settings of a run and the presets.

use super::bytes::Bytes;
use super::stage::Stage;
use super::task::TaskSettings;
use super::value::{Optimizer, Precision, ScheduleKind, Warmup, one_of};
use crate::config::{ModelConfig, depth_of_preset};
use crate::data::data_loader::{BatchSize, Batching};
use crate::data::padding::Padding;
use crate::data::tokenizer::{Pretokenizer, Tokenizer};
use crate::train::schedule::Schedule;
use crate::{Error, Result};
use std::path::PathBuf;

/// The named presets, smallest first. Those by depth, `d1` to `d48`, are not listed.
pub const PRESETS: [&str; 3] = ["nano", "mini", "gpt1"];

/// The length of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Optimizer steps.
    Steps(u32),
    /// Passes over the training data.
    Epochs(u32),
}

/// All settings of a run. Fields have the names of their keys (docs/spec.md section 6).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The preset that gave the other settings their defaults.
    pub preset: String,
    /// The model's configuration.
    pub model: ModelConfig,
    /// The folder of a model with the initial weights; `None`: random weights.
    pub init: Option<PathBuf>,
    /// Training text: files, and folders of files.
    pub data: Vec<PathBuf>,
    /// Share of the tokens held out for validation.
    pub valid: f64,
    /// The file or folder of a tokenizer; `None`: a tokenizer is trained on the text.
    pub tokenizer: Option<PathBuf>,
    /// How text is split before byte-pair encoding.
    pub pretokenizer: Pretokenizer,
    /// The line that ends a document in text files; `None`: the text is one stream.
    pub document_separator: Option<String>,
    /// Layout of sequences of different lengths in a batch.
    pub batching: Padding,
    /// Sequences per step; for a task, examples per step.
    pub batch: usize,
    /// Whether `batch` is to be replaced by the smallest batch of full speed on the device, before the run starts.
    pub measures_batch: bool,
    /// Instead of `batch`: most tokens per step.
    pub batch_tokens: Option<usize>,
    /// Micro-batches of each rank per step; `None`: one, or as many as the memory needs.
    pub accumulate: Option<usize>,
    /// The parts that the batch of each step is divided into, one for each device; `None`: as many as there are devices.
    pub ranks: Option<usize>,
    /// The keys `steps` and `epochs`.
    pub length: Length,
    /// Learning rate at the end of the warm-up.
    pub lr: f64,
    /// Steps during which the learning rate rises.
    pub warmup: Warmup,
    /// The learning-rate schedule after warm-up.
    pub schedule: ScheduleKind,
    /// The number types of products.
    pub precision: Precision,
    /// Whether the backward pass recomputes activations; `None`: no, unless the memory needs it.
    pub recompute: Option<bool>,
    /// The most memory on the device, which chooses `accumulate` and `recompute`; `None`: as much as the device has.
    pub memory: Option<Bytes>,
    /// Whether the program tests the kernels before the run, on a driver on which they have not been tested yet. Callers of the
    /// library use [`SelfTest`](crate::verify::self_test::SelfTest).
    pub self_test: bool,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// AdamW: decay rate of the first moment.
    pub beta1: f64,
    /// AdamW: decay rate of the second moment.
    pub beta2: f64,
    /// AdamW: constant added to the denominator.
    pub eps: f64,
    /// AdamW: weight decay of tensors with two dimensions.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0: no clipping.
    pub clip: f64,
    /// Seed of initial weights, data order, dropout and samples.
    pub seed: u64,
    /// Steps between evaluations.
    pub eval_every: u32,
    /// Steps between checkpoints.
    pub checkpoint_every: u32,
    /// Steps between samples; 0: only at the end.
    pub sample_every: u32,
    /// Number of latest checkpoints to keep.
    pub keep: usize,
    /// Whether the run writes event files for TensorBoard.
    pub tensorboard: bool,
    /// The stage, which determines the keys of the run.
    pub stage: Stage,
    /// The settings that only fine-tuning has.
    pub task: TaskSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            preset: "nano".into(),
            model: ModelConfig::default(),
            init: None,
            data: Vec::new(),
            valid: 0.05,
            tokenizer: None,
            pretokenizer: Pretokenizer::Bytes,
            document_separator: None,
            batching: Padding::Packed,
            batch: 8,
            measures_batch: false,
            batch_tokens: None,
            accumulate: None,
            ranks: None,
            length: Length::Steps(1000),
            lr: 2e-3,
            warmup: Warmup::Preset(200),
            schedule: ScheduleKind::Cosine,
            precision: Precision::F32,
            recompute: None,
            memory: None,
            self_test: true,
            optimizer: Optimizer::AdamW,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            seed: 0,
            eval_every: 100,
            checkpoint_every: 200,
            sample_every: 200,
            keep: 3,
            tensorboard: false,
            stage: Stage::Pretraining,
            task: TaskSettings::default(),
        }
    }
}

impl Settings {
    /// The settings of a pretraining preset (docs/spec.md section 1).
    ///
    /// # Errors
    /// [`Error::Value`] with the names of the presets.
    pub fn preset(name: &str) -> Result<Self> {
        let (batch, lr, warmup, length) = match name {
            "nano" => (8, 2e-3, 200, Length::Steps(1000)),
            "mini" => (8, 6e-4, 500, Length::Steps(5000)),
            "gpt1" => (64, 2.5e-4, 2000, Length::Epochs(100)),
            _ => match depth_of_preset(name) {
                Some(depth) => (batch_of(depth), rate_of(depth), 500, Length::Steps(5000)),
                None => return Err(Error::value("preset", format!("{name:?}"), no_preset())),
            },
        };
        let model = ModelConfig::preset(name).unwrap_or_default();
        let warmup = Warmup::Preset(warmup);
        Ok(Settings { preset: name.into(), model, batch, lr, warmup, length, ..Settings::default() })
    }

    /// The default settings of fine-tuning (docs/spec.md section 3). The preset is the model's size for a run from scratch.
    ///
    /// # Errors
    /// As [`Settings::preset`].
    pub fn fine_tuning(preset: &str) -> Result<Self> {
        let Settings { preset, model, .. } = Settings::preset(preset)?;
        Ok(Settings {
            preset,
            model,
            batch: 32,
            length: Length::Epochs(3),
            lr: 6.25e-5,
            warmup: Warmup::Share(0.002),
            schedule: ScheduleKind::Linear,
            stage: Stage::FineTuning,
            ..Settings::default()
        })
    }

    pub(super) fn for_stage(stage: Stage, preset: &str) -> Result<Self> {
        match stage {
            Stage::Pretraining => Settings::preset(preset),
            Stage::FineTuning => Settings::fine_tuning(preset),
        }
    }

    /// The training text.
    ///
    /// # Errors
    /// [`Error::Value`] when `data` is not set.
    pub fn data_files(&self) -> Result<&[PathBuf]> {
        if self.data.is_empty() {
            return Err(Error::missing("data", "must name the text to train on, as in `--data FILE`"));
        }
        Ok(&self.data)
    }

    /// The tokenizer that the key `tokenizer` names; `None` when the key is not set. GPT-1's files do not record how text is
    /// split: with `pretokenizer = "openai"`, it is split as by OpenAI.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn named_tokenizer(&self) -> Result<Option<Tokenizer>> {
        let Some(path) = &self.tokenizer else { return Ok(None) };
        let tokenizer = Tokenizer::open(path)?;
        match (self.pretokenizer, tokenizer.pretokenizer()) {
            (Pretokenizer::OpenAi, Pretokenizer::Bert) => tokenizer.with_pretokenizer(Pretokenizer::OpenAi).map(Some),
            _ => Ok(Some(tokenizer)),
        }
    }

    /// Micro-batches of each rank per step.
    pub fn micro_batches(&self) -> usize {
        self.accumulate.unwrap_or(1)
    }

    /// Ranks of the run.
    pub fn ranks(&self) -> usize {
        self.ranks.unwrap_or(1)
    }

    /// Whether the backward pass recomputes activations.
    pub fn recomputes(&self) -> bool {
        self.recompute.unwrap_or(false)
    }

    /// Size and layout of batches, for a data loader.
    pub fn batching(&self) -> Batching {
        let size = self.batch_tokens.map_or(BatchSize::Windows(self.batch), BatchSize::Rows);
        Batching { size, micro_batches: self.micro_batches(), padding: self.batching }
    }

    /// Steps of the whole run. `steps_in` returns the steps of a number of epochs.
    ///
    /// # Errors
    /// Those of `steps_in`; [`Error::Value`] for more steps than a `u32` holds.
    pub fn steps(&self, steps_in: impl FnOnce(u32) -> Result<u64>) -> Result<u32> {
        match self.length {
            Length::Steps(n) => Ok(n),
            Length::Epochs(n) => {
                let steps = steps_in(n)?;
                let expected = format!("must be at most {} steps, found {steps}", u32::MAX);
                u32::try_from(steps).map_err(|_| Error::value("epochs", n, expected))
            }
        }
    }

    /// Steps of warm-up in a run of `steps` steps.
    pub fn warmup_steps(&self, steps: u32) -> u32 {
        match self.warmup {
            Warmup::Steps(n) => n,
            // One step of warm-up has the whole rate already.
            Warmup::Preset(n) => n.min(steps / 5).max(1),
            // Rounding of the product must not add a step: 0.002 of 1000 is 2, not 3.
            Warmup::Share(share) => (share * f64::from(steps) * (1.0 - 4.0 * f64::EPSILON)).ceil() as u32,
        }
    }

    /// The learning-rate schedule of a run of `steps` steps.
    pub fn schedule(&self, steps: u32) -> Schedule {
        Schedule { kind: self.schedule, lr: self.lr, warmup: self.warmup_steps(steps), steps }
    }
}

/// The batch of a preset `dN`: 8·(N/6)³, rounded to a power of two, at least 8. It goes through those of mini and gpt1.
fn batch_of(depth: usize) -> usize {
    let sequences = 8.0 * (depth as f64 / 6.0).powi(3);
    1 << sequences.log2().round().max(3.0) as u32
}

/// The learning rate of a preset `dN`: 6e-4·(6/N)^1.25, rounded to two digits. It goes through those of mini and gpt1.
fn rate_of(depth: usize) -> f64 {
    let rate = 6e-4 * (6.0 / depth as f64).powf(1.25);
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

pub(super) fn no_preset() -> String {
    format!("expected {}, or d1 to d48 for a model of so many layers", one_of(&PRESETS))
}
