//! What a run is: a preset, and over it the file, `--set` and the options, in this order.

pub mod keys;
pub mod task;

use std::path::{Path, PathBuf};

use self::keys::{Group, Key, Optimizer, Range, RawValue, ScheduleKind, Setting, Stage, Warmup};
use self::task::TaskSettings;
use crate::config::ModelConfig;
use crate::data::batch_form::BatchForm;
use crate::data::order::{BatchSize, Batching};
use crate::data::tokenizer::{Pretokenizer, Tokenizer};
use crate::store::model_folder::{load_config, resolve};
use crate::train::schedule::Schedule;
use crate::{Error, Result};

/// The presets, smallest first.
pub const PRESETS: [&str; 3] = ["nano", "mini", "gpt1"];

/// Keys beside the model's numbers that may be given with `init`, whatever its config.json says.
const FREE_OF_MODEL: [&str; 7] =
    ["preset", "init", "dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "summary_first_dropout"];

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
    pub batching: BatchForm,
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
            batching: BatchForm::Packed,
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

    fn of(stage: Stage, preset: &str) -> Result<Self> {
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
            (Pretokenizer::OpenAi, Pretokenizer::Bert) => tokenizer.cut_by(Pretokenizer::OpenAi).map(Some),
            _ => Ok(Some(tokenizer)),
        }
    }

    /// How updates are made of sequences.
    pub fn batching(&self) -> Batching {
        let size = self.batch_tokens.map_or(BatchSize::Windows(self.batch), BatchSize::Rows);
        Batching { size, micro_batches: self.accumulate, form: self.batching }
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

    /// Says which setting is wrong, and what would be right. The presence of `data` is [`Settings::data_files`]'s.
    ///
    /// # Errors
    /// [`Error::Value`] with the key's name.
    pub fn validate(&self) -> Result<()> {
        let bad = |message: String| Err(Error::input(message));
        if !PRESETS.contains(&self.preset.as_str()) {
            return bad(format!("preset = {:?}: {}", self.preset, no_preset()));
        }
        for key in self.stage.keys() {
            if let Some(value) = (key.get)(self) {
                key.range.check(&value).or_else(|why| bad(format!("{} = {value}: {why}", key.name)))?;
            }
        }
        if let Warmup::Share(share) = self.warmup
            && share >= 1.0
        {
            return bad(format!("warmup = {share}: a share of the updates is below 1"));
        }
        if let Some(separator) = &self.document_separator
            && separator.contains(['\n', '\r'])
        {
            return bad(format!("document_separator = {separator:?}: must be one line"));
        }
        self.model.validate()?;
        let (batch, positions, parts) = (self.batch, self.model.n_positions, self.accumulate);
        match self.batch_tokens {
            // Examples are of all lengths: a part may have one less than another.
            _ if self.stage == Stage::FineTuning && parts > batch => {
                bad(format!("accumulate = {parts}: must be at most batch = {batch}, in examples"))
            }
            _ if self.stage == Stage::FineTuning => Ok(()),
            Some(tokens) if tokens < positions => bad(format!(
                "batch_tokens = {tokens}: must be n_positions = {positions} or more, so that every sequence fits"
            )),
            Some(tokens) if tokens >= 1 << 31 => {
                bad(format!("batch_tokens = {tokens}: an update has less than 2^31 tokens"))
            }
            Some(_) => Ok(()),
            None if !batch.is_multiple_of(self.accumulate) => {
                bad(format!("batch = {batch} is not divisible by accumulate = {}", self.accumulate))
            }
            None if batch.checked_mul(positions).is_none_or(|tokens| tokens >= 1 << 31) => {
                bad(format!("batch = {batch} of n_positions = {positions}: an update has less than 2^31 tokens"))
            }
            None => Ok(()),
        }
    }

    /// The whole run as config.toml, which runs again as it is.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut last: Option<Group> = None;
        for key in self.stage.keys() {
            let Some(value) = (key.get)(self) else { continue };
            if last != Some(key.group) {
                let gap = if last.is_some() { "\n" } else { "" };
                text += &format!("{gap}# {}\n", key.group.heading());
                last = Some(key.group);
            }
            text += &format!("{} = {value}\n", key.name);
        }
        text
    }
}

fn no_preset() -> String {
    format!("expected {}", keys::one_of(&PRESETS))
}

/// Where a value stands. The order is that of precedence: later wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A file of settings, by its name.
    File(String),
    /// `--set`.
    Set,
    /// An option of the key's own.
    Option,
}

impl Source {
    fn rank(&self) -> usize {
        match self {
            Source::File(_) => 0,
            Source::Set => 1,
            Source::Option => 2,
        }
    }

    /// The place in the user's own spelling: `run.toml: lr = 1`, `--set lr=1`, `--lr 1`.
    fn spell(&self, key: &str, given: &RawValue) -> String {
        let value = match given {
            RawValue::Text(text) => text.clone(),
            RawValue::Toml(value) => value.to_string(),
        };
        match self {
            Source::File(name) => format!("{name}: {key} = {value}"),
            Source::Set => format!("--set {key}={value}"),
            Source::Option => format!("--{} {value}", key.replace('_', "-")),
        }
    }
}

/// A key with its value and the place it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's name.
    pub key: String,
    /// The value as given.
    pub given: RawValue,
    /// Where.
    pub source: Source,
}

/// Everything that was given, in the order given; [`Layers::settings`] lays it over the preset.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    entries: Vec<Entry>,
    stage: Stage,
}

impl Layers {
    /// Nothing given, for pretraining.
    pub fn new() -> Self {
        Layers::default()
    }

    /// Nothing given, for a stage.
    pub fn of(stage: Stage) -> Self {
        Layers { stage, ..Layers::default() }
    }

    /// Adds one entry.
    pub fn push(&mut self, key: impl Into<String>, given: RawValue, source: Source) {
        self.entries.push(Entry { key: key.into(), given, source });
    }

    /// Adds the keys of a TOML file.
    ///
    /// # Errors
    /// [`Error::Value`] where it cannot be read, is not UTF-8, or is not TOML with flat keys.
    pub fn file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        self.toml(&path.display().to_string(), &text)
    }

    /// Adds the keys of a TOML text, under the name of its file.
    ///
    /// # Errors
    /// [`Error::Value`] with the line, where it is not TOML with flat keys.
    pub fn toml(&mut self, name: &str, text: &str) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let start = e.span().map_or(0, |s| s.start).min(text.len());
            let line = 1 + text.as_bytes()[..start].iter().filter(|b| **b == b'\n').count();
            Error::input(format!("{name}: line {line}: {}", e.message().trim().replace('\n', ", ")))
        })?;
        for (key, value) in table {
            if value.is_table() {
                return Err(Error::input(format!("{name}: [{key}]: keys stand flat, outside of tables")));
            }
            self.push(key, RawValue::Toml(value), Source::File(name.into()));
        }
        Ok(())
    }

    /// Adds the `key=value` of a `--set`.
    ///
    /// # Errors
    /// [`Error::Value`] where there is no `=`.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| Error::input(format!("--set {assignment}: expected key=value, as in --set lr=0.001")))?;
        self.push(key.trim(), RawValue::Text(value.trim().into()), Source::Set);
        Ok(())
    }

    /// Whether a key was given.
    pub(in crate::train) fn names(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All of `above` over all of this.
    pub fn over(mut self, above: Layers) -> Layers {
        self.entries.extend(above.entries);
        self
    }

    /// Adds the value of an option of the key's own.
    pub fn option(&mut self, key: &str, value: impl Into<String>) {
        self.push(key, RawValue::Text(value.into()), Source::Option);
    }

    /// The settings: preset, then file, then `--set`, then options; within one place the last of a key. Validated. Where
    /// `init` names a model, the model's numbers are those of its config.json, and none but dropout may be given otherwise.
    /// Where a tokenizer is named and `vocab_size` is not, the tokenizer has it.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key, the place, and what would be right.
    pub fn settings(&self) -> Result<Settings> {
        let of = |entry: &Entry| PathBuf::read(&entry.given).map_err(|why| entry.error(&why));
        let init = self
            .entries
            .iter()
            .filter(|entry| entry.key == self.stage.model_key())
            .max_by_key(|entry| entry.source.rank());
        self.with_model(match init {
            // What it is fine-tuned for does not count here: its head is left out.
            Some(entry) => Some(ModelConfig { task: None, ..load_config(&resolve(&of(entry)?)?)? }),
            None => None,
        })
    }

    /// [`Layers::settings`] of a run's own config.toml, which has all of the model's numbers: `init`, where its weights once
    /// came from, is not looked at.
    pub(in crate::train) fn settings_of_run(&self) -> Result<Settings> {
        self.with_model(None)
    }

    /// The task's settings alone, for a command that trains nothing.
    ///
    /// # Errors
    /// As [`Layers::settings`].
    pub fn settings_of_task(&self) -> Result<TaskSettings> {
        let names_model = |entry: &&Entry| entry.key != self.stage.model_key();
        let entries = self.entries.iter().filter(names_model).cloned().collect();
        Ok(Layers { entries, stage: Stage::FineTuning }.with_model(None)?.task)
    }

    fn with_model(&self, model: Option<ModelConfig>) -> Result<Settings> {
        let mut sorted = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (place, key) = self.stage.find(&entry.key).map_err(|why| entry.error(&why))?;
            sorted.push((entry.source.rank(), place, key, entry));
        }
        // By place, then by the table: `dropout` goes before the four keys that it sets. Stable: the last of a key wins.
        sorted.sort_by_key(|(rank, place, ..)| (*rank, *place));
        self.check_lengths(&sorted)?;

        let mut settings = Settings::of(self.stage, &Settings::default().preset)?;
        for (_, _, key, entry) in &sorted {
            if key.name == "preset" {
                let name = String::read(&entry.given).map_err(|why| entry.error(&why))?;
                settings = Settings::of(self.stage, &name).map_err(|_| entry.error(&no_preset()))?;
            }
        }
        if let Some(model) = &model {
            settings.model = model.clone();
        }
        let of_model = settings.clone();
        for (_, _, key, entry) in &sorted {
            if key.name != "preset" {
                apply(&mut settings, key, &entry.given).map_err(|why| entry.error(&why))?;
            }
        }
        let fixed = |key: &Key| key.group == Group::Model && !FREE_OF_MODEL.contains(&key.name);
        for (_, _, key, entry) in sorted.iter().filter(|(_, _, key, _)| model.is_some() && fixed(key)) {
            if let Some(value) = (key.get)(&of_model).filter(|value| Some(value) != (key.get)(&settings).as_ref()) {
                return Err(entry.error(&format!(
                    "the model that {} names has {} = {value}",
                    self.stage.model_key(),
                    key.name
                )));
            }
        }
        if let Some(path) = &settings.tokenizer
            && model.is_none()
            && sorted.iter().all(|(_, _, key, _)| key.name != "vocab_size")
        {
            settings.model.vocab_size = Tokenizer::open(path)?.vocab_size();
        }
        settings.validate()?;
        Ok(settings)
    }

    fn check_lengths(&self, sorted: &[(usize, usize, &'static Key, &Entry)]) -> Result<()> {
        let of = |name: &str| {
            sorted
                .iter()
                .filter(|(_, _, key, _)| key.name == name)
                .map(|(rank, _, _, e)| (*rank, *e))
                .collect::<Vec<_>>()
        };
        for (rank, steps) in of("steps") {
            if let Some((_, epochs)) = of("epochs").into_iter().find(|(r, _)| *r == rank) {
                let (a, b) = (steps.spell(), epochs.spell());
                return Err(Error::input(format!("{a} and {b}: a run has steps or epochs, give one of them")));
            }
        }
        Ok(())
    }
}

impl Entry {
    fn spell(&self) -> String {
        self.source.spell(&self.key, &self.given)
    }

    fn error(&self, why: &str) -> Error {
        Error::input(format!("{}: {why}", self.spell()))
    }
}

fn apply(settings: &mut Settings, key: &Key, given: &RawValue) -> Result<(), String> {
    (key.set)(settings, given)?;
    match (key.get)(settings) {
        Some(value) if key.range != Range::Free => key.range.check(&value),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, sets: &[&str], options: &[(&str, &str)]) -> Result<Settings> {
        let mut layers = Layers::new();
        // RawValue in the wrong order on purpose: precedence is of the place, not of the call.
        for (key, value) in options {
            layers.option(key, *value);
        }
        for set in sets {
            layers.set(set)?;
        }
        layers.toml("run.toml", file)?;
        layers.settings()
    }

    fn error(file: &str, sets: &[&str], options: &[(&str, &str)]) -> String {
        layers(file, sets, options).expect_err("should be refused").to_string()
    }

    #[test]
    fn presets_are_the_table() {
        let nano = Settings::preset("nano").expect("nano");
        assert_eq!(nano, Settings::default());
        assert_eq!((nano.batch, nano.lr, nano.length), (8, 2e-3, Length::Steps(1000)));
        let mini = Settings::preset("mini").expect("mini");
        assert_eq!((mini.lr, mini.warmup, mini.length), (6e-4, Warmup::Updates(500), Length::Steps(5000)));
        assert_eq!((mini.model.n_layer, mini.model.n_embd, mini.model.attn_pdrop), (6, 384, 0.1));
        let gpt1 = Settings::preset("gpt1").expect("gpt1");
        assert_eq!((gpt1.batch, gpt1.lr, gpt1.length), (64, 2.5e-4, Length::Epochs(100)));
        for name in PRESETS {
            let s = Settings::preset(name).expect("preset");
            s.validate().expect("valid");
            assert_eq!((s.eval_every, s.checkpoint_every, s.sample_every, s.keep), (100, 200, 200, 3));
            assert_eq!((s.weight_decay, s.clip, s.valid, s.schedule), (0.01, 1.0, 0.05, ScheduleKind::Cosine));
        }
    }

    #[test]
    fn later_places_win() {
        let s = layers("preset = \"mini\"\nlr = 1\nbatch = 2\nseed = 5", &["lr=2", "batch=4"], &[("lr", "3")]);
        let s = s.expect("settings");
        assert_eq!((s.preset.as_str(), s.lr, s.batch, s.seed), ("mini", 3.0, 4, 5));
        assert_eq!(s.model.n_embd, 384);
        let s = layers("preset = \"mini\"", &[], &[("preset", "nano")]).expect("settings");
        assert_eq!(s, Settings::default());
        let s = layers("", &["lr=1", "lr=2"], &[]).expect("settings");
        assert_eq!(s.lr, 2.0);
    }

    #[test]
    fn the_four_dropouts_stand_over_dropout() {
        let s = layers("attn_pdrop = 0\ndropout = 0.25", &[], &[]).expect("settings");
        assert_eq!((s.model.attn_pdrop, s.model.embd_pdrop), (0.0, 0.25));
        assert!(s.to_toml().contains("attn_pdrop = 0.0\n") && !s.to_toml().contains("\ndropout"));
    }

    #[test]
    fn batch_and_batch_tokens() {
        let of = |file, options| layers(file, &[], options).expect("settings");
        let s = of("batch_tokens = 512\nbatch = 6\naccumulate = 4", &[]);
        let form = BatchForm::Packed;
        assert_eq!(s.batching(), Batching { size: BatchSize::Rows(512), micro_batches: 4, form });
        assert_eq!(of("batch_tokens = 512", &[("batch", "2")]).batching().size, BatchSize::Windows(2));
        assert_eq!(of("batch = 4", &[("batch_tokens", "300")]).batching().size, BatchSize::Rows(300));
    }

    #[test]
    fn steps_and_epochs() {
        let s = layers("steps = 5", &[], &[("epochs", "2")]).expect("settings");
        assert_eq!((s.length, s.steps(|n| Ok(50 * u64::from(n))).expect("steps")), (Length::Epochs(2), 100));
        let too_many = s.steps(|_| Ok(1 << 32)).expect_err("too many").to_string();
        assert_eq!(too_many, "epochs = 2: 4294967296 updates: must be at most 4294967295");
        let s = layers("preset = \"gpt1\"\nsteps = 5", &[], &[]).expect("settings");
        assert_eq!(s.length, Length::Steps(5));
        assert_eq!(
            error("steps = 5\nepochs = 1", &[], &[]),
            "run.toml: steps = 5 and run.toml: epochs = 1: a run has steps or epochs, give one of them"
        );
        assert!(error("", &[], &[("steps", "5"), ("epochs", "1")]).starts_with("--steps 5 and --epochs 1: "));
    }

    #[test]
    fn errors_name_key_place_and_cure() {
        for (file, sets, options, message) in [
            ("", &["lerning_rate=1"][..], &[][..], "--set lerning_rate=1: unknown key; did you mean \"lr\"?"),
            ("n_embd = \"x\"", &[], &[], "run.toml: n_embd = \"x\": expected a whole number"),
            ("", &[], &[("n_embd", "12.5")], "--n-embd 12.5: expected a whole number"),
            ("", &["lr"], &[], "--set lr: expected key=value, as in --set lr=0.001"),
            ("", &["lr=-1"], &[], "--set lr=-1: must be above 0"),
            ("", &["lr=nan"], &[], "--set lr=nan: must be a finite number"),
            ("", &["n_layer=-4"], &[], "--set n_layer=-4: must be 0 or more"),
            ("steps = 0", &[], &[], "run.toml: steps = 0: must be 1 or more"),
            ("valid = 1", &[], &[], "run.toml: valid = 1: must lie between 0 and 1"),
            ("schedule = \"cosin\"", &[], &[], "run.toml: schedule = \"cosin\": expected cosine, linear or constant"),
            ("", &[], &[("preset", "nona")], "--preset nona: expected nano, mini or gpt1"),
            ("", &["precision=bf16"], &[], "--set precision=bf16: expected f32"),
            (
                "recompute = true",
                &[],
                &[],
                "run.toml: recompute = true: expected false: activations are kept, never recomputed",
            ),
            ("[train]\nlr = 1", &[], &[], "run.toml: [train]: keys stand flat, outside of tables"),
            ("", &["batch=6", "accumulate=4"], &[], "batch = 6 is not divisible by accumulate = 4"),
            ("", &["n_embd=130"], &[], "n_embd = 130 is not divisible by n_head = 4"),
            (
                "",
                &["batch=99999999999999999"],
                &[],
                "batch = 99999999999999999 of n_positions = 128: an update has less than 2^31 tokens",
            ),
            ("", &["n_layer=5000"], &[], "n_layer = 5000: must be at most 4096"),
            ("", &["batching=ragged"], &[], "--set batching=ragged: expected packed, grouped or padded"),
            (
                "batch_tokens = 100",
                &[],
                &[],
                "batch_tokens = 100: must be n_positions = 128 or more, so that every sequence fits",
            ),
            ("document_separator = \"a\\nb\"", &[], &[], "document_separator = \"a\\nb\": must be one line"),
        ] {
            let e = layers(file, sets, options).expect_err(message);
            assert_eq!((e.to_string().as_str(), e.is_invalid_input()), (message, true));
        }
        assert!(error("lr = 1\nlr = ", &[], &[]).starts_with("run.toml: line 2: "));
        let missing = Layers::new().file("no/such/run.toml").expect_err("missing").to_string();
        assert!(missing.starts_with("no/such/run.toml: "), "{missing}");
    }

    #[test]
    fn config_toml_runs_again_as_it_is() {
        let mut odd = Settings::preset("gpt1").expect("gpt1");
        odd.data = vec!["a \"b\".txt".into(), "c.txt".into()];
        odd.warmup = Warmup::Share(0.002);
        (odd.tokenizer, odd.document_separator) = (Some("a/tokenizer.json".into()), Some(String::new()));
        (odd.batch, odd.batch_tokens, odd.batching) = (3, Some(4096), BatchForm::Grouped);
        odd.model.embd_pdrop = 0.3;
        odd.model.attention_pattern = "FL".into();
        (odd.lr, odd.eps, odd.seed) = (1.0 / 3.0, 1e-9, i64::MAX as u64);
        (odd.pretokenizer, odd.optimizer, odd.schedule) = (Pretokenizer::Bert, Optimizer::Hf2018, ScheduleKind::Linear);
        let mut all: Vec<Settings> = PRESETS.iter().map(|p| Settings::preset(p).expect("preset")).collect();
        all[0].data = vec!["text.txt".into()];
        all.push(odd);
        for settings in all {
            let text = settings.to_toml();
            assert_eq!(layers(&text, &[], &[]).expect(&text), settings);
        }
    }

    #[test]
    fn a_share_of_warmup_is_rounded_up() {
        let mut s = Settings { warmup: Warmup::Share(0.002), ..Settings::default() };
        assert_eq!([1000, 1001, 100, 1].map(|steps| s.warmup_updates(steps)), [2, 3, 1, 1]);
        s.warmup = Warmup::Updates(200);
        assert_eq!(s.warning(1000), None);
        assert!(s.warning(200).is_some_and(|w| w.starts_with("warmup = 200 is not below steps = 200")));
        s.warmup = Warmup::Share(1.5);
        assert!(s.validate().is_err());
    }
}
