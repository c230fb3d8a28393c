//! What a run on a task has besides: its model, files and columns, and how the head is trained (docs/spec.md sections 3 and 6).

use super::value::LayerDecay;
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
