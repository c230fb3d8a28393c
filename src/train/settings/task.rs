//! What a run on a task has besides: its model, files and columns, and how the head is trained (SPEC 3 and 6).

use crate::config::TaskKind;
use crate::tasks::{AnswerColumn, Columns, Inputs};
use crate::train::settings::Settings;
use crate::train::settings::keys::{Group, Key, Range, RawValue, Setting, key};
use crate::{Error, Result};
use std::path::PathBuf;

/// A task's settings; the fields have the names of their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSettings {
    /// The folder of the model to fine-tune.
    pub model: Option<PathBuf>,
    /// Instead of a model: weights are drawn, a tokenizer is trained on the texts of `train`.
    pub from_scratch: bool,
    /// Examples to train on.
    pub train: Option<PathBuf>,
    /// Examples that choose the best epoch.
    pub valid: Option<PathBuf>,
    /// Examples that are looked at once, with the best epoch's weights.
    pub test: Option<PathBuf>,
    /// The column of classify's text.
    pub text: Option<String>,
    /// The column of labels.
    pub label: Option<String>,
    /// A column of entail.
    pub premise: Option<String>,
    /// A column of entail.
    pub hypothesis: Option<String>,
    /// A column of similar.
    pub a: Option<String>,
    /// A column of similar.
    pub b: Option<String>,
    /// The column of scores, instead of labels.
    pub score: Option<String>,
    /// A column of choose.
    pub context: Option<String>,
    /// A column of choose.
    pub choices: Option<String>,
    /// λ of L3 = L2 + λ·L1.
    pub lm_coef: f64,
    /// ξ of layer-wise rates; 1 is one rate for all.
    pub layer_lr_decay: LayerDecay,
    /// Whether epoch e (from 0) trains the top e+1 layers alone.
    pub unfreeze: bool,
    /// Dropout before the head.
    pub classifier_dropout: f32,
    /// Epochs without a better one after which a run ends; 0: never.
    pub patience: u32,
    /// The metric that says which epoch is best; none: the task's first.
    pub best_by: Option<String>,
}

impl Default for TaskSettings {
    fn default() -> Self {
        TaskSettings {
            model: None,
            from_scratch: false,
            train: None,
            valid: None,
            test: None,
            text: None,
            label: None,
            premise: None,
            hypothesis: None,
            a: None,
            b: None,
            score: None,
            context: None,
            choices: None,
            lm_coef: 0.5,
            layer_lr_decay: LayerDecay(1.0),
            unfreeze: false,
            classifier_dropout: 0.1,
            patience: 0,
            best_by: None,
        }
    }
}

/// ξ: a number, or true for 1/2.6 (Howard & Ruder 2018), or false for 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerDecay(pub f64);

impl Setting for LayerDecay {
    const HINT: &'static str = "X|true|false";
    fn read(given: &RawValue) -> Result<Self, String> {
        match bool::read(given) {
            Ok(true) => Ok(LayerDecay(1.0 / 2.6)),
            Ok(false) => Ok(LayerDecay(1.0)),
            Err(_) => f64::read(given).map(LayerDecay).map_err(|_| "expected a number, true (1/2.6) or false".into()),
        }
    }
    fn write(&self) -> toml::Value {
        self.0.write()
    }
}

/// Keys that are true when they are given as an option without a value.
pub(crate) const FLAGS: [&str; 3] = ["from_scratch", "unfreeze", "layer_lr_decay"];

/// The keys of a task, in the order of config.toml.
pub(crate) static TASK_KEYS: &[Key] = &[
    key!(Task, "model", PathBuf => task.model?, ["init", "pretrained"],
        "The model to fine-tune: a run's folder, a checkpoint's, or one that Hugging Face wrote"),
    key!(Task, "from_scratch", bool => task.from_scratch, Range::Free, [],
        "Instead of a model: weights of the preset are drawn, and a tokenizer is trained on the texts of train"),
    key!(Task, "train", PathBuf => task.train?, ["data", "train_file"],
        "Examples to train on: .tsv, .csv with quotes, or .jsonl, columns by name"),
    key!(Task, "valid", PathBuf => task.valid?, ["validation", "dev"], "Examples that choose the best epoch"),
    key!(Task, "test", PathBuf => task.test?, ["test_file"], "Examples looked at once, with the best epoch's weights"),
    key!(Task, "text", String => task.text?, ["sentence"], "The column of classify's text"),
    key!(Task, "label", String => task.label?, ["labels", "target"],
        "The column of labels, words or numbers; of choose the right candidate's place, from 0, or its text"),
    key!(Task, "premise", String => task.premise?, [], "The column of entail's first text"),
    key!(Task, "hypothesis", String => task.hypothesis?, [], "The column of entail's second text"),
    key!(Task, "a", String => task.a?, [], "The column of similar's one text"),
    key!(Task, "b", String => task.b?, [], "The column of similar's other text"),
    key!(Task, "score", String => task.score?, [], "The column of similar's score, in place of label: the head gives a number"),
    key!(Task, "context", String => task.context?, [], "The column of choose's context"),
    key!(Task, "choices", String => task.choices?, ["candidates"], "The column of choose's list of candidates"),
    key!(Task, "lm_coef", f64 => task.lm_coef, Range::AtLeast(0.0), ["lambda"],
        "What the language model's loss counts beside the task's: L3 = L2 + lm_coef L1"),
    key!(Task, "layer_lr_decay", LayerDecay => task.layer_lr_decay, Range::Between(0.0, 1.000_001), ["llrd"],
        "The rate of each layer over that of the layer above it; true is 1/2.6"),
    key!(Task, "unfreeze", bool => task.unfreeze, Range::Free, ["gradual_unfreezing"],
        "Epoch 1 trains the top layer and the head alone, each epoch one layer more"),
    key!(Task, "classifier_dropout", f32 => task.classifier_dropout, Range::From(0.0, 1.0), ["clf_pdrop"],
        "Dropout before the head"),
    key!(Task, "patience", u32 => task.patience, Range::AtLeast(0.0), ["early_stopping"],
        "Epochs without a better one after which the run ends; 0: never"),
    key!(Task, "best_by", String => task.best_by?, ["metric_for_best_model"],
        "The metric of the validation examples that says which epoch is best: accuracy, f1, matthews, pearson, spearman or loss"),
];

/// The keys of columns, which `predict` and `eval --task` have too.
pub const COLUMNS: [&str; 9] = ["text", "label", "premise", "hypothesis", "a", "b", "score", "context", "choices"];

impl TaskSettings {
    /// The columns of a task.
    ///
    /// # Errors
    /// [`Error::Value`] for one that is missing, or is another task's.
    pub fn columns(&self, kind: TaskKind) -> Result<Columns> {
        let TaskSettings { text, label, premise, hypothesis, a, b, score, context, choices, .. } = self;
        let all = [
            ("text", text),
            ("label", label),
            ("premise", premise),
            ("hypothesis", hypothesis),
            ("a", a),
            ("b", b),
            ("score", score),
            ("context", context),
            ("choices", choices),
        ];
        let own: &[&str] = match kind {
            TaskKind::Classify => &["text", "label"],
            TaskKind::Entail => &["premise", "hypothesis", "label"],
            TaskKind::Similar => &["a", "b", "label", "score"],
            TaskKind::Choose => &["context", "choices", "label"],
        };
        if let Some((name, _)) = all.iter().find(|(name, column)| column.is_some() && !own.contains(name)) {
            let own = own.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(" ");
            return Err(Error::input(format!("--{name}: {kind} has no such column, it has {own}")));
        }
        let need = |name: &str, column: &Option<String>| {
            let missing = || Error::input(format!("{kind} needs --{name} COLUMN"));
            column.clone().ok_or_else(missing)
        };
        let inputs = match kind {
            TaskKind::Classify => Inputs::Classify { text: need("text", text)? },
            TaskKind::Entail => {
                Inputs::Entail { premise: need("premise", premise)?, hypothesis: need("hypothesis", hypothesis)? }
            }
            TaskKind::Similar => Inputs::Similar { a: need("a", a)?, b: need("b", b)? },
            TaskKind::Choose => {
                Inputs::Choose { context: need("context", context)?, choices: need("choices", choices)? }
            }
        };
        let answer = match (label, score) {
            (Some(_), Some(_)) => {
                return Err(Error::input("--label and --score: an answer is one of them"));
            }
            (Some(label), None) => Some(AnswerColumn::Label(label.clone())),
            (None, score) => score.clone().map(AnswerColumn::Score),
        };
        Ok(Columns { inputs, answer })
    }
}
