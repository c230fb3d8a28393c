//! The settings of a run and the presets.

use super::stage::Stage;
use super::task::TaskSettings;
use super::value::{Optimizer, ScheduleKind, Warmup, one_of};
use crate::config::ModelConfig;
use crate::data::data_loader::{BatchSize, Batching};
use crate::data::padding::Padding;
use crate::data::tokenizer::{Pretokenizer, Tokenizer};
use crate::train::schedule::Schedule;
use crate::{Error, Result};
use std::path::PathBuf;

/// The presets, smallest first.
pub const PRESETS: [&str; 3] = ["nano", "mini", "gpt1"];

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Updates.
    Steps(u32),
    /// Passes over the training text.
    Epochs(u32),
}

/// Every setting of a run; the fields have the names of their keys (SPEC 6).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the others started from.
    pub preset: String,
    /// The model's numbers.
    pub model: ModelConfig,
    /// The folder of a model that the weights come from; none: they are drawn.
    pub init: Option<PathBuf>,
    /// Files to train on, and folders of them.
    pub data: Vec<PathBuf>,
    /// Share of the tokens held out.
    pub valid: f64,
    /// Where a tokenizer lies; none: it is trained on the text.
    pub tokenizer: Option<PathBuf>,
    /// How text is cut before byte-pair encoding.
    pub pretokenizer: Pretokenizer,
    /// A line that ends a document in text files.
    pub document_separator: Option<String>,
    /// How sequences of different lengths lie in a batch.
    pub batching: Padding,
    /// Sequences an update.
    pub batch: usize,
    /// Instead of `batch`: sequences until the next would pass so many tokens.
    pub batch_tokens: Option<usize>,
    /// Parts that a batch is cut in.
    pub accumulate: usize,
    /// The keys `steps` and `epochs`.
    pub length: Length,
    /// Learning rate at the end of the warm-up.
    pub lr: f64,
    /// Updates with a rising rate.
    pub warmup: Warmup,
    /// The rate's way down.
    pub schedule: ScheduleKind,
    /// The arithmetic of an update.
    pub optimizer: Optimizer,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Added to Adam's denominator.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global norm of the gradient; 0 does not clip.
    pub clip: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Updates between two evaluations.
    pub eval_every: u32,
    /// Updates between two checkpoints.
    pub checkpoint_every: u32,
    /// Updates between two samples; 0: none on the way.
    pub sample_every: u32,
    /// Checkpoints that stay.
    pub keep: usize,
    /// Whether the run is on text or on a task.
    pub stage: Stage,
    /// A task's own settings.
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
            batch_tokens: None,
            accumulate: 1,
            length: Length::Steps(1000),
            lr: 2e-3,
            warmup: Warmup::Updates(200),
            schedule: ScheduleKind::Cosine,
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
            stage: Stage::Pretraining,
            task: TaskSettings::default(),
        }
    }
}

impl Settings {
    /// A preset's run (SPEC 1).
    ///
    /// # Errors
    /// [`Error::Value`] with the names there are.
    pub fn preset(name: &str) -> Result<Self> {
        let (batch, lr, warmup, length) = match name {
            "nano" => (8, 2e-3, 200, Length::Steps(1000)),
            "mini" => (8, 6e-4, 500, Length::Steps(5000)),
            "gpt1" => (64, 2.5e-4, 2000, Length::Epochs(100)),
            _ => return Err(Error::input(format!("preset = {name:?}: {}", no_preset()))),
        };
        let model = ModelConfig::preset(name).unwrap_or_default();
        let warmup = Warmup::Updates(warmup);
        Ok(Settings { preset: name.into(), model, batch, lr, warmup, length, ..Settings::default() })
    }

    /// A run on a task (SPEC 3), of a preset's model where it is from scratch.
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

    pub(super) fn of(stage: Stage, preset: &str) -> Result<Self> {
        match stage {
            Stage::Pretraining => Settings::preset(preset),
            Stage::FineTuning => Settings::fine_tuning(preset),
        }
    }

    /// The files to train on.
    ///
    /// # Errors
    /// [`Error::Value`] where there is none.
    pub fn data_files(&self) -> Result<&[PathBuf]> {
        if self.data.is_empty() {
            return Err(Error::input("no data: name a text to train on, `--data FILE`"));
        }
        Ok(&self.data)
    }

    /// The tokenizer that the key `tokenizer` names, if it does. `pretokenizer = "openai"` cuts its words so where they are
    /// GPT-1's, whose files do not say how.
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

    /// How updates are made of sequences.
    pub fn batching(&self) -> Batching {
        let size = self.batch_tokens.map_or(BatchSize::Windows(self.batch), BatchSize::Rows);
        Batching { size, micro_batches: self.accumulate, padding: self.batching }
    }

    /// Updates in all; `updates_in` says how many there are in so many epochs of the data.
    ///
    /// # Errors
    /// Those of `updates_in`; [`Error::Value`] for more updates than 32 bits count.
    pub fn steps(&self, updates_in: impl FnOnce(u32) -> Result<u64>) -> Result<u32> {
        match self.length {
            Length::Steps(n) => Ok(n),
            Length::Epochs(n) => {
                let updates = updates_in(n)?;
                let most = |_| Error::input(format!("epochs = {n}: {updates} updates: must be at most {}", u32::MAX));
                u32::try_from(updates).map_err(most)
            }
        }
    }

    /// Updates of warm-up in a run of `steps`.
    pub fn warmup_updates(&self, steps: u32) -> u32 {
        match self.warmup {
            Warmup::Updates(n) => n,
            // A share of 0.002 of 1000 is 2, not the 3 that the product's last bit would make of it.
            Warmup::Share(share) => (share * f64::from(steps) * (1.0 - 4.0 * f64::EPSILON)).ceil() as u32,
        }
    }

    /// The learning rate of a run of `steps`.
    pub fn schedule(&self, steps: u32) -> Schedule {
        Schedule { kind: self.schedule, lr: self.lr, warmup: self.warmup_updates(steps), steps }
    }

    /// What a user should hear before a run of `steps` that is allowed, but hardly meant.
    pub fn warning(&self, steps: u32) -> Option<String> {
        let warmup = self.warmup_updates(steps);
        (warmup >= steps).then(|| {
            format!("warmup = {warmup} is not below steps = {steps}: the learning rate never reaches lr = {}", self.lr)
        })
    }
}

pub(super) fn no_preset() -> String {
    format!("expected {}", one_of(&PRESETS))
}
