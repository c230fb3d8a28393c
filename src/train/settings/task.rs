//! The settings of fine-tuning: model, files, columns, and training of the head (docs/spec.md sections 3 and 6).

use super::value::LayerDecay;
use std::path::PathBuf;

/// The settings of fine-tuning. Fields have the names of their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSettings {
    /// The folder of the model to fine-tune.
    pub model: Option<PathBuf>,
    /// Instead of a model: random weights, and a tokenizer trained on the texts of `train`.
    pub from_scratch: bool,
    /// The file of training examples.
    pub train: Option<PathBuf>,
    /// The file of validation examples, which choose the best epoch.
    pub valid: Option<PathBuf>,
    /// The file of test examples, evaluated once with the weights of the best epoch.
    pub test: Option<PathBuf>,
    /// classify: column of the text.
    pub text: Option<String>,
    /// Column of the labels.
    pub label: Option<String>,
    /// entail: column of the first text.
    pub premise: Option<String>,
    /// entail: column of the second text.
    pub hypothesis: Option<String>,
    /// similar: column of one text.
    pub a: Option<String>,
    /// similar: column of the other text.
    pub b: Option<String>,
    /// similar: column of a score, instead of a label.
    pub score: Option<String>,
    /// choose: column of the context.
    pub context: Option<String>,
    /// choose: column of the candidates.
    pub choices: Option<String>,
    /// λ in L3 = L2 + λ·L1.
    pub lm_coef: f64,
    /// Ratio of the learning rates of a layer and the layer above; 1: one rate for all layers.
    pub layer_lr_decay: LayerDecay,
    /// Whether epoch e, counted from 0, trains only the head and the top e + 1 layers.
    pub unfreeze: bool,
    /// Dropout probability before the head.
    pub classifier_dropout: f32,
    /// Epochs without improvement after which the run stops; 0: never.
    pub patience: u32,
    /// Validation metric that chooses the best epoch; `None`: the first metric of the task.
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
