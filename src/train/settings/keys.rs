//! Every key of a run, once: [`KEYS`] drives the file, `--set`, the options of the command line and their help.
//!
//! A key's value comes as text (command line) or typed (TOML); [`Setting`] reads both and writes TOML.

use crate::config::{KvGroups, KvNull, KvScale};
use crate::data::batch_form::BatchForm;
use crate::data::tokenizer::Pretokenizer;
use crate::train::settings::task::TASK_KEYS;
use crate::train::settings::{Length, Settings};

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// Bare text of the command line.
    Text(String),
    /// A value of a TOML file, or several texts of one option.
    Toml(toml::Value),
}

/// A type that a key can have.
pub trait Setting: Sized {
    /// What stands for the value in help.
    const HINT: &'static str;
    /// Reads it, or says what was expected.
    ///
    /// # Errors
    /// The end of a sentence: "expected a whole number".
    fn read(given: &RawValue) -> Result<Self, String>;
    /// Writes it so that [`Setting::read`] gives it back.
    fn write(&self) -> toml::Value;
}

macro_rules! whole_number {
    ($($type:ty),+) => {$(
        impl Setting for $type {
            const HINT: &'static str = "N";
            fn read(given: &RawValue) -> Result<Self, String> {
                let number = match given {
                    RawValue::Text(text) => text.parse::<i64>().ok(),
                    RawValue::Toml(value) => value.as_integer(),
                };
                let number = number.ok_or("expected a whole number")?;
                if number < 0 {
                    return Err("must be 0 or more".into());
                }
                <$type>::try_from(number).map_err(|_| format!("must be at most {}", <$type>::MAX))
            }
            fn write(&self) -> toml::Value {
                toml::Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}
whole_number!(u32, u64, usize);

impl Setting for f64 {
    const HINT: &'static str = "X";
    fn read(given: &RawValue) -> Result<Self, String> {
        let number = match given {
            RawValue::Text(text) => text.parse().ok(),
            RawValue::Toml(toml::Value::Integer(n)) => Some(*n as f64),
            RawValue::Toml(value) => value.as_float(),
        };
        number.ok_or_else(|| "expected a number".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::Float(*self)
    }
}

impl Setting for f32 {
    const HINT: &'static str = "X";
    fn read(given: &RawValue) -> Result<Self, String> {
        f64::read(given).map(|x| x as f32)
    }
    fn write(&self) -> toml::Value {
        // By way of its shortest decimal: 0.1 stays 0.1 and is not 0.10000000149.
        toml::Value::Float(self.to_string().parse().unwrap_or(f64::from(*self)))
    }
}

impl Setting for String {
    const HINT: &'static str = "TEXT";
    fn read(given: &RawValue) -> Result<Self, String> {
        match given {
            RawValue::Text(text) => Ok(text.clone()),
            RawValue::Toml(value) => value.as_str().map(Into::into).ok_or_else(|| "expected a text in quotes".into()),
        }
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }
}

impl Setting for bool {
    const HINT: &'static str = "true|false";
    fn read(given: &RawValue) -> Result<Self, String> {
        let value = match given {
            RawValue::Text(text) => text.parse().ok(),
            RawValue::Toml(value) => value.as_bool(),
        };
        value.ok_or_else(|| "expected true or false".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::Boolean(*self)
    }
}

impl Setting for std::path::PathBuf {
    const HINT: &'static str = "PATH";
    fn read(given: &RawValue) -> Result<Self, String> {
        String::read(given).map(Into::into).map_err(|_| "expected a path in quotes".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.to_string_lossy().into_owned())
    }
}

/// One path, or a list of them.
impl Setting for Vec<std::path::PathBuf> {
    const HINT: &'static str = "FILE|DIR";
    fn read(given: &RawValue) -> Result<Self, String> {
        match given {
            RawValue::Text(text) => Some(vec![text.into()]),
            RawValue::Toml(toml::Value::String(text)) => Some(vec![text.into()]),
            RawValue::Toml(toml::Value::Array(all)) => all.iter().map(|v| v.as_str().map(Into::into)).collect(),
            RawValue::Toml(_) => None,
        }
        .ok_or_else(|| "expected a path in quotes, or a list of them".into())
    }
    fn write(&self) -> toml::Value {
        match self.as_slice() {
            [one] => one.write(),
            all => toml::Value::Array(all.iter().map(Setting::write).collect()),
        }
    }
}

macro_rules! named_choice {
    ($($name:ty, $hint:literal;)+) => {$(
        impl Setting for $name {
            const HINT: &'static str = $hint;
            fn read(given: &RawValue) -> Result<Self, String> {
                let text = match given {
                    RawValue::Text(text) | RawValue::Toml(toml::Value::String(text)) => text.clone(),
                    RawValue::Toml(value) => value.to_string(),
                };
                text.parse().map_err(|_| format!("expected {}", one_of(Self::NAMES)))
            }
            fn write(&self) -> toml::Value {
                let name = self.to_string();
                name.parse().map_or(toml::Value::String(name), toml::Value::Integer)
            }
        }
    )+};
}
named_choice! {
    KvGroups, "1|head|channel";
    KvNull, "learned|zero";
    KvScale, "head|width";
    BatchForm, "packed|grouped|padded";
}

macro_rules! choice {
    ($(#[$outer:meta])* $name:ident, $hint:literal { $($(#[$inner:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// The name it has in files and options.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl Setting for $name {
            const HINT: &'static str = $hint;
            fn read(given: &RawValue) -> Result<Self, String> {
                let text = String::read(given).unwrap_or_default();
                match text.as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("expected {}", one_of(&[$($text),+]))),
                }
            }
            fn write(&self) -> toml::Value {
                toml::Value::String(self.name().into())
            }
        }
    };
}

impl Setting for Pretokenizer {
    const HINT: &'static str = "bytes|bert|openai";
    fn read(given: &RawValue) -> Result<Self, String> {
        String::read(given).unwrap_or_default().parse().map_err(|_| "expected bytes, bert or openai".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }
}

choice! {
    /// The learning rate's way down after the warm-up.
    ScheduleKind, "cosine|linear|constant" {
        /// Half a cosine to 0.
        Cosine = "cosine",
        /// A straight line to 0.
        Linear = "linear",
        /// None.
        Constant = "constant",
    }
}

choice! {
    /// The arithmetic of an update.
    Optimizer, "adamw" {
        /// PyTorch's AdamW.
        AdamW = "adamw",
        /// The 2018 port of GPT-1: decay after the update.
        Hf2018 = "hf2018",
    }
}

choice! {
    /// The type of values and gradients.
    Precision, "f32" {
        /// Single precision throughout.
        F32 = "f32",
    }
}

/// The length of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// So many updates.
    Updates(u32),
    /// A share of all updates, rounded up; at least 0 and below 1.
    Share(f64),
}

impl Setting for Warmup {
    const HINT: &'static str = "N|SHARE";
    fn read(given: &RawValue) -> Result<Self, String> {
        let expected = "expected a whole number of updates, or a share of them below 1";
        let number = f64::read(given).map_err(|_| expected)?;
        if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) {
            Ok(Warmup::Updates(number as u32))
        } else if (0.0..1.0).contains(&number) {
            Ok(Warmup::Share(number))
        } else {
            Err(expected.into())
        }
    }
    fn write(&self) -> toml::Value {
        match self {
            Warmup::Updates(n) => n.write(),
            Warmup::Share(x) => x.write(),
        }
    }
}

/// What a number may be; every number is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// No number, or one that `ModelConfig::validate` looks at.
    Free,
    /// This or more.
    AtLeast(f64),
    /// More than this.
    Above(f64),
    /// The first or more, and less than the second.
    From(f64, f64),
    /// More than the first and less than the second.
    Between(f64, f64),
}

impl Range {
    /// Whether a value may be.
    ///
    /// # Errors
    /// The end of a sentence: "must be above 0".
    pub fn check(self, value: &toml::Value) -> Result<(), String> {
        let number = match value {
            toml::Value::Integer(n) => *n as f64,
            toml::Value::Float(x) => *x,
            _ => return Ok(()),
        };
        if !number.is_finite() {
            return Err("must be a finite number".into());
        }
        match self {
            Range::AtLeast(low) if number < low => Err(format!("must be {low} or more")),
            Range::Above(low) if number <= low => Err(format!("must be above {low}")),
            Range::From(low, high) if number < low || number >= high => {
                Err(format!("must be at least {low} and below {high}"))
            }
            Range::Between(low, high) if number <= low || number >= high => {
                Err(format!("must lie between {low} and {high}"))
            }
            _ => Ok(()),
        }
    }
}

/// The part of a run that a key belongs to: a heading in help and in config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The decoder.
    Model,
    /// The text.
    Data,
    /// Batches, rates, the optimizer.
    Training,
    /// What is looked at and kept.
    Looking,
    /// A task's files, columns and head.
    Task,
}

/// What a run does: which keys it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Trains on text.
    #[default]
    Pretraining,
    /// Trains on a task's examples.
    FineTuning,
}

/// The keys that a run on a task does not have: it is of examples and epochs.
const OF_TEXT: [&str; 11] = [
    "init",
    "data",
    "valid",
    "document_separator",
    "batching",
    "batch_tokens",
    "steps",
    "eval_every",
    "checkpoint_every",
    "sample_every",
    "keep",
];

impl Stage {
    /// Its keys, in the order of config.toml.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> + Clone {
        let more: &[Key] = if self == Stage::FineTuning { TASK_KEYS } else { &[] };
        let has = move |key: &&Key| self == Stage::Pretraining || !OF_TEXT.contains(&key.name);
        KEYS.iter().filter(has).chain(more)
    }

    /// The key of a name and its place among the stage's.
    ///
    /// # Errors
    /// The end of a sentence, with the nearest key: `unknown key; did you mean "lr"?`.
    pub fn find(self, name: &str) -> Result<(usize, &'static Key), String> {
        self.keys().enumerate().find(|(_, key)| key.name == name).ok_or_else(|| match self.nearest(name) {
            Some(key) => format!("unknown key; did you mean {key:?}?"),
            None => format!("unknown key; `wgpt {} --help` lists them", self.command()),
        })
    }

    fn nearest(self, name: &str) -> Option<&'static str> {
        let name = name.to_lowercase().replace('-', "_");
        let names = |key: &'static Key| std::iter::once(&key.name).chain(key.elsewhere).map(move |n| (key.name, n));
        let near = self.keys().flat_map(names).map(|(key, known)| (edits(&name, known), key));
        let (distance, key) = near.min_by_key(|(d, _)| *d)?;
        (distance * 3 <= name.chars().count().max(3)).then_some(key)
    }

    /// The settings when nothing is given.
    pub fn defaults(self) -> Settings {
        match self {
            Stage::Pretraining => Settings::default(),
            Stage::FineTuning => Settings::fine_tuning(&Settings::default().preset).unwrap_or_default(),
        }
    }

    /// The key that names the model to begin with.
    pub(in crate::train) fn model_key(self) -> &'static str {
        match self {
            Stage::Pretraining => "init",
            Stage::FineTuning => "model",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Stage::Pretraining => "pretrain",
            Stage::FineTuning => "finetune classify",
        }
    }
}

impl Group {
    /// The heading.
    pub const fn heading(self) -> &'static str {
        match self {
            Group::Model => "Model",
            Group::Data => "Data",
            Group::Training => "Training",
            Group::Looking => "Evaluation, samples, checkpoints",
            Group::Task => "Task",
        }
    }
}

/// One key.
pub struct Key {
    /// Its name in files and in `--set`.
    pub name: &'static str,
    /// What stands for its value in help.
    pub hint: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Where it stands.
    pub group: Group,
    /// What its number may be.
    pub range: Range,
    /// What others call it: for "did you mean".
    pub elsewhere: &'static [&'static str],
    /// Sets it.
    pub(crate) set: fn(&mut Settings, &RawValue) -> Result<(), String>,
    /// Its value; none where config.toml does not need it.
    pub(crate) get: fn(&Settings) -> Option<toml::Value>,
}

macro_rules! key {
    // A task's key without a value unless it is given.
    (Task, $name:literal, $type:ty => task.$field:ident?, $elsewhere:expr, $help:literal) => {
        key!(Task, $name, $type, Range::Free, $elsewhere, $help, |s, v| s.task.$field = Some(v), |s| s.task.$field.clone())
    };
    ($group:ident, $name:literal, $type:ty, $range:expr, $elsewhere:expr, $help:literal, $set:expr, $get:expr $(,)?) => {
        Key {
            name: $name,
            hint: <$type as Setting>::HINT,
            help: $help,
            group: Group::$group,
            range: $range,
            elsewhere: &$elsewhere,
            set: |settings, given| {
                let set: fn(&mut Settings, $type) = $set;
                set(settings, <$type>::read(given)?);
                Ok(())
            },
            get: |settings| {
                let get: fn(&Settings) -> Option<$type> = $get;
                get(settings).map(|value| value.write())
            },
        }
    };
    ($group:ident, $name:literal, $type:ty => $($field:ident).+, $range:expr, $elsewhere:expr, $help:literal) => {
        key!($group, $name, $type, $range, $elsewhere, $help, |s, v| s.$($field).+ = v, |s| Some(s.$($field).+.clone()))
    };
    // A key without a value unless it is given.
    ($group:ident, $name:literal, $type:ty => $field:ident?, $range:expr, $elsewhere:expr, $help:literal) => {
        key!($group, $name, $type, $range, $elsewhere, $help, |s, v| s.$field = Some(v), |s| s.$field.clone())
    };
}

pub(super) use key;

/// A dropout place that config.toml names apart only where the four differ.
macro_rules! dropout_key {
    ($field:ident, $help:literal) => {
        Key {
            name: stringify!($field),
            hint: f32::HINT,
            help: $help,
            group: Group::Model,
            range: Range::Free,
            elsewhere: &[],
            set: |s, v| f32::read(v).map(|rate| s.model.$field = rate),
            get: |s| if one_dropout(s).is_some() { None } else { Some(s.model.$field.write()) },
        }
    };
}

/// Every key, in the order of config.toml. Within one place `dropout` comes before the four that it sets.
pub static KEYS: &[Key] = &[
    // The preset is taken before all others, by `Layers::settings`.
    key!(Model, "preset", String => preset, Range::Free, ["size"], "What the other keys start from: nano, mini or gpt1"),
    key!(Model, "n_layer", usize => model.n_layer, Range::Free, ["layers", "num_layers", "depth"], "Layers"),
    key!(Model, "n_head", usize => model.n_head, Range::Free, ["heads", "num_heads"], "Attention heads; divides n_embd"),
    key!(Model, "n_embd", usize => model.n_embd, Range::Free, ["width", "hidden_size", "d_model", "dim"], "Width"),
    key!(Model, "n_positions", usize => model.n_positions, Range::Free,
        ["n_ctx", "block_size", "context", "sequence_length", "max_length"], "Longest sequence, in tokens"),
    key!(Model, "vocab_size", usize => model.vocab_size, Range::Free, ["vocab", "vocabulary"], "Entries of the vocabulary"),
    key!(
        Model,
        "dropout",
        f32,
        Range::Free,
        ["pdrop"],
        "Dropout, in all four places",
        |s, v| s.model.set_dropout(v),
        one_dropout
    ),
    dropout_key!(resid_pdrop, "Dropout on both residual branches"),
    dropout_key!(embd_pdrop, "Dropout on the summed embedding"),
    dropout_key!(attn_pdrop, "Dropout on attention probabilities"),
    dropout_key!(summary_first_dropout, "Dropout before a task head"),
    key!(Model, "layer_norm_epsilon", f32 => model.layer_norm_epsilon, Range::Free, ["layer_norm_eps"],
        "Added to the variance by layer norm"),
    key!(Model, "initializer_range", f32 => model.initializer_range, Range::Free, ["init_std"],
        "Standard deviation of the first weights"),
    key!(Model, "attention_pattern", String => model.attention_pattern, Range::Free, ["attention"],
        "Letters laid over the layers: F full attention, L local blocks, M memory-compressed"),
    key!(Model, "local_block", usize => model.local_block, Range::Free, ["window", "local_window"],
        "Tokens of a local block"),
    key!(Model, "kv_factor", usize => model.kv_factor, Range::Free, ["compression", "compression_factor", "kv_stride"],
        "Tokens that a compressed key or value stands for"),
    key!(Model, "kv_groups", KvGroups => model.kv_groups, Range::Free, ["conv_groups"],
        "Groups of the convolution that compresses keys and values"),
    key!(Model, "kv_shared", bool => model.kv_shared, Range::Free, ["shared_kv"],
        "Whether keys and values share that convolution"),
    key!(Model, "kv_null", KvNull => model.kv_null, Range::Free, ["null_kv"],
        "The key and value that every query of an M layer sees"),
    key!(Model, "kv_scale", KvScale => model.kv_scale, Range::Free, [],
        "What scores of M layers are divided by: the root of a head's width or of the model's"),
    key!(Model, "init", std::path::PathBuf => init?, Range::Free, ["init_from", "pretrained", "from"],
        "A model to go on from, a run's folder, a checkpoint's or one that Hugging Face wrote: its numbers, weights and \
         tokenizer"),
    key!(Data, "data", Vec<std::path::PathBuf> => data, Range::Free, ["text", "input", "dataset"],
        "Text to train on, UTF-8; of a folder every .txt, and every .jsonl with a document a line, its key `text`"),
    key!(Data, "valid", f64 => valid, Range::Between(0.0, 1.0), ["validation", "val_split", "held_out"],
        "Share of the tokens, the last ones, held out for validation"),
    key!(Data, "tokenizer", std::path::PathBuf => tokenizer?, Range::Free, ["tokenizer_path", "tokenizer_file"],
        "A tokenizer.json, or a folder with one or with GPT-1's two files; none: trained on the text"),
    key!(Data, "pretokenizer", Pretokenizer => pretokenizer, Range::Free, ["tokenization"],
        "How text is cut before byte-pair encoding: bytes is reversible, bert is GPT-1's in Hugging Face, openai its own"),
    key!(Data, "document_separator", String => document_separator?, Range::Free, ["separator", "doc_separator"],
        "A line that ends a document in text files, \"\" an empty one; none: text is one stream"),
    key!(Training, "batching", BatchForm => batching, Range::Free, ["packing", "group_by_length"],
        "How sequences of different lengths lie in a batch: without padding, in groups padded to their longest, or all to one"),
    // It takes the place of batch_tokens from farther below, and makes way for one that stands beside it.
    key!(
        Training,
        "batch",
        usize,
        Range::AtLeast(1.0),
        ["batch_size"],
        "Sequences an update",
        |s, v| (s.batch, s.batch_tokens) = (v, None),
        |s| Some(s.batch)
    ),
    key!(Training, "accumulate", usize => accumulate, Range::AtLeast(1.0),
        ["gradient_accumulation", "gradient_accumulation_steps", "grad_accum"], "Parts that a batch is cut in; divides batch"),
    key!(Training, "batch_tokens", usize => batch_tokens?, Range::AtLeast(1.0), ["tokens_per_batch", "max_tokens"],
        "Instead of batch: sequences until the next would pass so many tokens; n_positions or more"),
    key!(
        Training,
        "steps",
        u32,
        Range::AtLeast(1.0),
        ["max_steps", "max_iters", "iterations", "updates"],
        "Updates in all; or give epochs",
        |s, v| s.length = Length::Steps(v),
        |s| match s.length {
            Length::Steps(n) => Some(n),
            Length::Epochs(_) => None,
        }
    ),
    key!(
        Training,
        "epochs",
        u32,
        Range::AtLeast(1.0),
        ["max_epochs", "num_epochs"],
        "Passes over the training text; or give steps",
        |s, v| s.length = Length::Epochs(v),
        |s| match s.length {
            Length::Epochs(n) => Some(n),
            Length::Steps(_) => None,
        }
    ),
    key!(Training, "lr", f64 => lr, Range::Above(0.0), ["learning_rate", "max_lr", "rate"],
        "Learning rate at the end of the warm-up"),
    key!(Training, "warmup", Warmup => warmup, Range::AtLeast(0.0), ["warmup_steps", "warmup_iters", "warmup_ratio"],
        "Updates with a rising rate; below 1 a share of all, rounded up"),
    key!(Training, "schedule", ScheduleKind => schedule, Range::Free, ["lr_schedule", "scheduler", "lr_scheduler_type"],
        "The learning rate's way down after the warm-up"),
    key!(Training, "optimizer", Optimizer => optimizer, Range::Free, ["optim"], "The arithmetic of an update"),
    key!(Training, "beta1", f64 => beta1, Range::From(0.0, 1.0), ["adam_beta1"], "Adam's decay of the first moment"),
    key!(Training, "beta2", f64 => beta2, Range::From(0.0, 1.0), ["adam_beta2"], "Adam's decay of the second moment"),
    key!(Training, "eps", f64 => eps, Range::Above(0.0), ["epsilon", "adam_epsilon"], "Added to Adam's denominator"),
    key!(Training, "weight_decay", f64 => weight_decay, Range::AtLeast(0.0), ["decay", "wd"],
        "Decoupled weight decay of tensors with two dimensions"),
    key!(Training, "clip", f64 => clip, Range::AtLeast(0.0), ["grad_clip", "max_grad_norm"],
        "Largest global norm of the gradient; 0 does not clip"),
    key!(
        Training,
        "precision",
        Precision,
        Range::Free,
        ["dtype"],
        "Type of values and gradients",
        |_, _| (),
        |_| Some(Precision::F32)
    ),
    Key {
        name: "recompute",
        hint: "false",
        help: "Recompute activations in the backward pass; not built, so false only",
        group: Group::Training,
        range: Range::Free,
        elsewhere: &["gradient_checkpointing", "checkpointing"],
        set: |_, given| match bool::read(given)? {
            false => Ok(()),
            true => Err("expected false: activations are kept, never recomputed".into()),
        },
        get: |_| Some(false.write()),
    },
    key!(Training, "seed", u64 => seed, Range::Free, ["random_seed", "rng"],
        "Seed of weights, data order, dropout and samples"),
    key!(Looking, "eval_every", u32 => eval_every, Range::AtLeast(1.0), ["eval_steps", "eval_interval"],
        "Updates between two evaluations"),
    key!(Looking, "checkpoint_every", u32 => checkpoint_every, Range::AtLeast(1.0), ["save_every", "save_steps"],
        "Updates between two checkpoints"),
    key!(Looking, "sample_every", u32 => sample_every, Range::AtLeast(0.0), ["sample_interval"],
        "Updates between two samples; 0: none on the way"),
    key!(Looking, "keep", usize => keep, Range::AtLeast(1.0), ["save_total_limit"], "Checkpoints that stay, the newest"),
];

fn one_dropout(s: &Settings) -> Option<f32> {
    let m = &s.model;
    let rate = m.resid_pdrop;
    [m.embd_pdrop, m.attn_pdrop, m.summary_first_dropout].iter().all(|r| *r == rate).then_some(rate)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let kept = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = kept.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// "a, b or c".
pub(in crate::train) fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_near_ones_are_found() {
        for stage in [Stage::Pretraining, Stage::FineTuning] {
            let mut names: Vec<_> = stage.keys().map(|k| k.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        assert!(OF_TEXT.iter().all(|name| Stage::Pretraining.find(name).is_ok()));
        assert_eq!(Stage::FineTuning.nearest("lambda"), Some("lm_coef"));
        for (wrong, right) in [
            ("lerning_rate", "lr"),
            ("batch-size", "batch"),
            ("n_layers", "n_layer"),
            ("warmpu", "warmup"),
            ("N_HEAD", "n_head"),
            ("max_iters", "steps"),
        ] {
            assert_eq!(Stage::Pretraining.nearest(wrong), Some(right), "{wrong}");
        }
        assert_eq!(Stage::Pretraining.nearest("quux"), None);
    }

    #[test]
    fn numbers_keep_their_shortest_form() {
        assert_eq!(0.1f32.write().to_string(), "0.1");
        assert_eq!(f32::read(&RawValue::Toml(1e-5f32.write())), Ok(1e-5f32));
        let groups = |given| KvGroups::read(&given);
        assert_eq!(groups(RawValue::Toml(KvGroups::One.write())), Ok(KvGroups::One));
        assert_eq!(groups(RawValue::Text("head".into())), Ok(KvGroups::Head));
        assert_eq!(groups(RawValue::Text("2".into())), Err("expected 1, head or channel".into()));
        assert_eq!(Warmup::read(&RawValue::Text("0.002".into())), Ok(Warmup::Share(0.002)));
        assert_eq!(Warmup::read(&RawValue::Text("200".into())), Ok(Warmup::Updates(200)));
        assert!(Warmup::read(&RawValue::Text("1.5".into())).is_err());
        assert!(Warmup::read(&RawValue::Text("nan".into())).is_err());
    }
}
