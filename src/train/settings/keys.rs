//! All keys of a run. The tables drive files of settings, `--set`, the options of the command line and their help.

use super::bytes::Bytes;
use super::key::{Group, Key, key};
use super::run::{Length, Settings};
use super::stage::Stage;
use super::value::{BatchChoice, LayerDecay, Optimizer, Precision, Range, ScheduleKind, Setting, Warmup};
use crate::config::{KvGroups, KvNull, KvScale};
use crate::data::padding::Padding;
use crate::data::tokenizer::Pretokenizer;
use std::path::PathBuf;

/// One of the four dropout probabilities. config.toml lists them only when they differ; else it has `dropout`.
macro_rules! dropout_key {
    ($field:ident, $help:literal) => {
        Key {
            name: stringify!($field),
            hint: f32::HINT,
            help: $help,
            fine_tuning_help: None,
            group: Group::Model,
            range: Range::From(0.0, 1.0),
            aliases: &[],
            set: |s, raw| f32::read(raw).map(|rate| s.model.$field = rate),
            get: |s| if one_dropout(s).is_some() { None } else { Some(s.model.$field.write()) },
        }
    };
}

/// The keys, in the order of config.toml. `dropout` comes before the four keys that it sets, which override it.
pub static KEYS: &[Key] = &[
    // `Layers::settings` applies the preset before all other keys.
    key!(Model, "preset", String => preset, Range::Free, ["size"], "Preset that gives the other keys their defaults: nano, mini, gpt1, or dN for N layers, such as d8")
        .in_fine_tuning("from_scratch: preset that gives the keys of the model their defaults: nano, mini, gpt1, or dN for N layers, such as d8"),
    key!(Model, "n_layer", usize => model.n_layer, Range::Free, ["layers", "num_layers", "depth"], "Number of layers"),
    key!(Model, "n_head", usize => model.n_head, Range::Free, ["heads", "num_heads"], "Number of attention heads; must divide n_embd"),
    key!(Model, "n_embd", usize => model.n_embd, Range::Free, ["width", "hidden_size", "d_model", "dim"], "Width of the model: numbers per token"),
    key!(Model, "n_positions", usize => model.n_positions, Range::Free,
        ["n_ctx", "block_size", "context", "sequence_length", "max_length"], "Longest sequence, in tokens"),
    key!(Model, "vocab_size", usize => model.vocab_size, Range::Free, ["vocab", "vocabulary"], "Number of tokens in the vocabulary"),
    key!(
        Model,
        "dropout",
        f32,
        Range::From(0.0, 1.0),
        ["pdrop"],
        "Dropout probability on the embedding, attention probabilities, and the outputs of attention and MLP",
        |s, v| s.model.set_dropout(v),
        one_dropout
    ),
    dropout_key!(resid_pdrop, "Dropout probability on the outputs of attention and MLP"),
    dropout_key!(embd_pdrop, "Dropout probability on the embedding"),
    dropout_key!(attn_pdrop, "Dropout probability on attention probabilities"),
    dropout_key!(summary_first_dropout, "Dropout probability before a task's head")
        .in_fine_tuning("No effect: set classifier_dropout"),
    key!(Model, "layer_norm_epsilon", f32 => model.layer_norm_epsilon, Range::Free, ["layer_norm_eps"],
        "Constant added to the variance in layer norm"),
    key!(Model, "initializer_range", f32 => model.initializer_range, Range::Free, ["init_std"],
        "Standard deviation of the initial weights"),
    key!(Model, "attention_pattern", String => model.attention_pattern, Range::Free, ["attention"],
        "Attention kind of each layer, repeated over the layers: F full, L local blocks, M memory-compressed"),
    key!(Model, "local_block", usize => model.local_block, Range::Free, ["window", "local_window"],
        "L layers: tokens in a block"),
    key!(Model, "kv_factor", usize => model.kv_factor, Range::Free, ["compression", "compression_factor", "kv_stride"],
        "M layers: tokens that are compressed into one key and value"),
    key!(Model, "kv_groups", KvGroups => model.kv_groups, Range::Free, ["conv_groups"],
        "M layers: groups of the convolution that compresses keys and values: 1, one per head or one per channel"),
    key!(Model, "kv_shared", bool => model.kv_shared, Range::Free, ["shared_kv"],
        "M layers: use one convolution for both keys and values"),
    key!(Model, "kv_null", KvNull => model.kv_null, Range::Free, ["null_kv"],
        "M layers: extra key and value that every query attends to"),
    key!(Model, "kv_scale", KvScale => model.kv_scale, Range::Free, [],
        "M layers: divide scores by the square root of the head's width or of the model's"),
    key!(Model, "init", std::path::PathBuf => init?, Range::Free, ["init_from", "pretrained", "from"],
        "Start from this model: a run, a checkpoint, or a folder saved by Hugging Face; its configuration, weights and \
         tokenizer are used"),
    key!(Data, "data", Vec<std::path::PathBuf> => data, Range::Free, ["text", "input", "dataset"],
        "Training text, UTF-8: files, or folders with .txt files and .jsonl files (one document per line, in the key `text`)"),
    key!(Data, "valid", f64 => valid, Range::Between(0.0, 1.0), ["validation", "val_split", "held_out"],
        "Share of the tokens held out for validation, at the end of the text"),
    key!(Data, "tokenizer", std::path::PathBuf => tokenizer?, Range::Free, ["tokenizer_path", "tokenizer_file"],
        "tokenizer.json, or a folder with one or with GPT-1's two files [default: a new tokenizer, trained on the text]")
        .in_fine_tuning("tokenizer.json, or a folder with one or with GPT-1's two files [default: the model's; from_scratch: a new \
         tokenizer, trained on the texts of train]"),
    key!(Data, "pretokenizer", Pretokenizer => pretokenizer, Range::Free, ["tokenization"],
        "How text is split before byte-pair encoding: bytes (decodes to the exact text), bert (GPT-1 in Hugging Face), openai \
         (GPT-1 by OpenAI)")
        .in_fine_tuning("from_scratch: how text is split before byte-pair encoding: bytes (decodes to the exact text), bert \
         (GPT-1 in Hugging Face), openai (GPT-1 by OpenAI)"),
    key!(Data, "document_separator", String => document_separator?, Range::Free, ["separator", "doc_separator"],
        "Line that ends a document in text files; \"\": an empty line [default: none, the text is one stream]"),
    key!(Training, "batching", Padding => batching, Range::Free, ["packing", "group_by_length"],
        "Layout of sequences of different lengths: packed without padding, grouped and padded per group, or all padded to one \
         length"),
    // `batch` clears a `batch_tokens` of lower precedence; a `batch_tokens` of the same source comes later and overrides it.
    key!(
        Training,
        "batch",
        BatchChoice,
        Range::AtLeast(1.0),
        ["batch_size"],
        "Sequences per optimizer step; auto: the fewest with which the adapter has its full speed, as measured before the run",
        |s, v| {
            (s.batch, s.batch_tokens) = (if let BatchChoice::Sequences(n) = v { n } else { s.batch }, None);
            s.measures_batch = v == BatchChoice::Auto;
        },
        |s| Some(if s.measures_batch { BatchChoice::Auto } else { BatchChoice::Sequences(s.batch) })
    )
    .in_fine_tuning("Examples per optimizer step; auto is for pretraining alone"),
    key!(Training, "accumulate", usize, Range::AtLeast(1.0),
        ["gradient_accumulation", "gradient_accumulation_steps", "grad_accum"], "Micro-batches per optimizer step; must divide batch",
        |s, v| s.accumulate = Some(v), |s| Some(s.micro_batches()))
        .in_fine_tuning("Micro-batches per optimizer step; at most batch"),
    key!(Training, "ranks", usize => ranks?, Range::From(1.0, 65.0), ["world_size", "num_processes", "devices"],
        "Parts that the batch of each step is divided into, one for each device that --adapter names; with one adapter, so \
         many devices on it [default: the number of adapters]"),
    key!(Training, "batch_tokens", usize => batch_tokens?, Range::AtLeast(1.0), ["tokens_per_batch", "max_tokens"],
        "Instead of batch: most tokens per optimizer step; must be n_positions or more"),
    key!(
        Training,
        "steps",
        u32,
        Range::AtLeast(1.0),
        ["max_steps", "max_iters", "iterations", "updates"],
        "Number of optimizer steps; or set epochs",
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
        "Number of passes over the training data; or set steps",
        |s, v| s.length = Length::Epochs(v),
        |s| match s.length {
            Length::Epochs(n) => Some(n),
            Length::Steps(_) => None,
        }
    )
    .in_fine_tuning("Number of passes over the training examples"),
    key!(Training, "lr", f64 => lr, Range::Above(0.0), ["learning_rate", "max_lr", "rate"],
        "Learning rate after warm-up"),
    key!(Training, "warmup", Warmup, Range::AtLeast(0.0), ["warmup_steps", "warmup_iters", "warmup_ratio"],
        "Warm-up: number of optimizer steps, or below 1 a share of all steps, rounded up [default in nano: 200, at most a fifth of \
         all steps]",
        |s, v| s.warmup = v,
        |s| (!matches!(s.warmup, Warmup::Preset(_))).then_some(s.warmup))
        .in_fine_tuning("Warm-up: number of optimizer steps, or below 1 a share of all steps, rounded up"),
    key!(Training, "schedule", ScheduleKind => schedule, Range::Free, ["lr_schedule", "scheduler", "lr_scheduler_type"],
        "Learning-rate schedule after warm-up: decay to 0, or constant"),
    key!(Training, "optimizer", Optimizer => optimizer, Range::Free, ["optim"], "Optimizer: AdamW as in PyTorch"),
    key!(Training, "beta1", f64 => beta1, Range::From(0.0, 1.0), ["adam_beta1"], "AdamW: decay rate of the first moment"),
    key!(Training, "beta2", f64 => beta2, Range::From(0.0, 1.0), ["adam_beta2"], "AdamW: decay rate of the second moment"),
    key!(Training, "eps", f64 => eps, Range::Above(0.0), ["epsilon", "adam_epsilon"], "AdamW: constant added to the denominator"),
    key!(Training, "weight_decay", f64 => weight_decay, Range::AtLeast(0.0), ["decay", "wd"],
        "AdamW: weight decay of tensors with two dimensions"),
    key!(Training, "clip", f64 => clip, Range::AtLeast(0.0), ["grad_clip", "max_grad_norm"],
        "Largest global norm of the gradients, to which they are clipped; 0: no clipping"),
    key!(Training, "precision", Precision => precision, Range::Free, ["dtype"],
        "Number types of matrix products: f32; mixed: operands in f16, sums in f32, on matrix units; auto: mixed where the \
         adapter has them"),
    key!(Training, "recompute", bool, Range::Free, ["gradient_checkpointing", "checkpointing"],
        "Compute each block's activations again in the backward pass instead of keeping them: the same results in less \
         memory, and about a third more operations",
        |s, v| s.recompute = Some(v), |s| Some(s.recomputes())),
    key!(Training, "memory", Bytes => memory?, Range::Free, ["max_memory", "vram", "memory_limit"],
        "Most memory on the device, in bytes, KiB, MiB or GiB, such as 8GiB: chooses accumulate and recompute, where they are not \
         given, so that the run fits [default: no limit; chosen when the device refuses more]"),
    key!(Training, "self_test", bool => self_test, Range::Free, ["driver_test"],
        "Test the kernels of the run on this driver first, once for each driver and size of model, in some seconds"),
    key!(Training, "seed", u64 => seed, Range::Free, ["random_seed", "rng"],
        "Seed of initial weights, data order, dropout and samples")
        .in_fine_tuning("Seed of new weights, data order and dropout"),
    key!(Outputs, "eval_every", u32 => eval_every, Range::AtLeast(1.0), ["eval_steps", "eval_interval"],
        "Optimizer steps between evaluations"),
    key!(Outputs, "checkpoint_every", u32 => checkpoint_every, Range::AtLeast(1.0), ["save_every", "save_steps"],
        "Optimizer steps between checkpoints"),
    key!(Outputs, "sample_every", u32 => sample_every, Range::AtLeast(0.0), ["sample_interval"],
        "Optimizer steps between samples; 0: only at the end"),
    key!(Outputs, "keep", usize => keep, Range::AtLeast(1.0), ["save_total_limit"], "Number of latest checkpoints to keep"),
    key!(Outputs, "tensorboard", bool => tensorboard, Range::Free, ["report_to"],
        "Write the numbers of metrics.jsonl as event files of TensorBoard too, in the run's folder tensorboard"),
];

fn one_dropout(s: &Settings) -> Option<f32> {
    let m = &s.model;
    let rate = m.resid_pdrop;
    [m.embd_pdrop, m.attn_pdrop, m.summary_first_dropout].iter().all(|r| *r == rate).then_some(rate)
}

/// Keys whose option without a value means true.
#[cfg(feature = "cli")]
pub(crate) const FLAGS: [&str; 5] = ["from_scratch", "unfreeze", "layer_lr_decay", "recompute", "tensorboard"];

/// The keys of a task, in the order of config.toml.
pub(crate) static TASK_KEYS: &[Key] = &[
    key!(Task, "model", PathBuf => task.model?, ["init", "pretrained"],
        "Model to fine-tune: a run, a checkpoint, or a folder saved by Hugging Face"),
    key!(Task, "from_scratch", bool => task.from_scratch, Range::Free, [],
        "Instead of model: start from random weights of the preset's size, and train a tokenizer on the texts of train"),
    key!(Task, "train", PathBuf => task.train?, ["data", "train_file"],
        "Training examples: .tsv, .csv or .jsonl, with named columns"),
    key!(Task, "valid", PathBuf => task.valid?, ["validation", "dev"], "Validation examples, which choose the best epoch"),
    key!(Task, "test", PathBuf => task.test?, ["test_file"], "Test examples, evaluated once with the weights of the best epoch"),
    key!(Task, "text", String => task.text?, ["sentence"], "classify: column of the text"),
    key!(Task, "label", String => task.label?, ["labels", "target"],
        "classify, entail, similar: column of the label; choose: column of the right candidate's index, from 0, or its text"),
    key!(Task, "premise", String => task.premise?, [], "entail: column of the first text"),
    key!(Task, "hypothesis", String => task.hypothesis?, [], "entail: column of the second text"),
    key!(Task, "a", String => task.a?, [], "similar: column of one text"),
    key!(Task, "b", String => task.b?, [], "similar: column of the other text"),
    key!(Task, "score", String => task.score?, [], "similar: column of a score, a number to predict instead of a label"),
    key!(Task, "context", String => task.context?, [], "choose: column of the context"),
    key!(Task, "choices", String => task.choices?, ["candidates"], "choose: column of the list of candidates"),
    key!(Task, "lm_coef", f64 => task.lm_coef, Range::AtLeast(0.0), ["lambda"],
        "Weight of the language model's loss L1 beside the task's loss L2: L3 = L2 + lm_coef · L1"),
    key!(Task, "layer_lr_decay", LayerDecay => task.layer_lr_decay, Range::Between(0.0, 1.000_001), ["llrd"],
        "Learning rate of each layer, as a multiple of that of the layer above; true: 1/2.6; 1: the same rate"),
    key!(Task, "unfreeze", bool => task.unfreeze, Range::Free, ["gradual_unfreezing"],
        "Gradual unfreezing: epoch 1 trains only the head and the top layer, each later epoch one layer more"),
    key!(Task, "classifier_dropout", f32 => task.classifier_dropout, Range::From(0.0, 1.0), ["clf_pdrop"],
        "Dropout probability before the task's head"),
    key!(Task, "patience", u32 => task.patience, Range::AtLeast(0.0), ["early_stopping"],
        "Epochs without improvement after which the run stops; 0: never"),
    key!(Task, "best_by", String => task.best_by?, ["metric_for_best_model"],
        "Validation metric that chooses the best epoch: accuracy, f1, matthews, pearson, spearman or loss [default: the task's \
         first metric]"),
];

/// The keys that name columns, which `predict` and `eval --task` have too.
pub const COLUMNS: [&str; 9] = ["text", "label", "premise", "hypothesis", "a", "b", "score", "context", "choices"];

/// The keys that only pretraining has. Fine-tuning trains on examples, for a number of epochs.
const PRETRAINING_KEYS: [&str; 11] = [
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
    /// The keys of this stage, in the order of config.toml.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> + Clone {
        let more: &[Key] = if self == Stage::FineTuning { TASK_KEYS } else { &[] };
        let is_key = move |key: &&Key| self == Stage::Pretraining || !PRETRAINING_KEYS.contains(&key.name);
        KEYS.iter().filter(is_key).chain(more)
    }

    /// The key of this name, with its index in [`Stage::keys`].
    ///
    /// # Errors
    /// The end of an error message, with the nearest key: `unknown key; did you mean "lr"?`.
    pub fn find(self, name: &str) -> Result<(usize, &'static Key), String> {
        self.keys().enumerate().find(|(_, key)| key.name == name).ok_or_else(|| match self.nearest(name) {
            Some(key) => format!("unknown key; did you mean {key:?}?"),
            None => format!("unknown key; `wgpt {} --help` lists them", self.command()),
        })
    }

    fn nearest(self, name: &str) -> Option<&'static str> {
        let name = name.to_lowercase().replace('-', "_");
        let names = |key: &'static Key| std::iter::once(&key.name).chain(key.aliases).map(move |n| (key.name, n));
        let near = self.keys().flat_map(names).map(|(key, known)| (strsim::levenshtein(&name, known), key));
        let (distance, key) = near.min_by_key(|(d, _)| *d)?;
        (distance * 3 <= name.chars().count().max(3)).then_some(key)
    }

    /// The default settings of this stage.
    pub fn defaults(self) -> Settings {
        match self {
            Stage::Pretraining => Settings::default(),
            Stage::FineTuning => Settings::fine_tuning(&Settings::default().preset).unwrap_or_default(),
        }
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
        assert!(PRETRAINING_KEYS.iter().all(|name| Stage::Pretraining.find(name).is_ok()));
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
}
