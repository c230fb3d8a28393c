//! Which parts of a model learn, and how fast: layer-wise learning rates and gradual unfreezing (Howard & Ruder 2018;
//! docs/spec.md section 3).

use crate::config::{ModelConfig, Part, Task};
use std::ops::Range;

/// How the embeddings and the layers learn. The task's head and the three rows that fine-tuning adds to the token table
/// always learn, at the full rate.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Learning {
    /// ξ: layer l, counted from 1 at the bottom, learns at lr·ξ^(L−l), the embeddings at lr·ξ^L. At 1 all rates are the same.
    pub layer_lr_decay: f64,
    /// For the embeddings (first) and each layer: the updates done before it began to learn, `None` while it is frozen.
    pub unfrozen_at: Vec<Option<u32>>,
}

/// Rows of a tensor that learn at one rate, as a parameter group in PyTorch.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGroup {
    /// The tensor's index in [`ModelConfig::parameters`].
    pub tensor: usize,
    /// The rows.
    pub rows: Range<usize>,
    /// Factor on the step's learning rate.
    pub lr_scale: f64,
    /// Updates done before these rows began to learn.
    pub unfrozen_at: u32,
}

impl Learning {
    /// Everything learns, from the beginning, at one rate.
    pub fn all(config: &ModelConfig) -> Self {
        Learning { layer_lr_decay: 1.0, unfrozen_at: vec![Some(0); config.n_layer + 1] }
    }

    /// Whether a layer learns, counted from 0 at the bottom.
    pub fn layer(&self, layer: usize) -> bool {
        self.unfrozen_at.get(layer + 1).is_some_and(Option::is_some)
    }

    /// Whether the embeddings learn.
    pub fn embeddings(&self) -> bool {
        self.unfrozen_at.first().is_some_and(Option::is_some)
    }

    /// All rows that learn, in the order of the tensors.
    pub fn parameter_groups(&self, config: &ModelConfig) -> Vec<ParameterGroup> {
        let new_rows = new_rows(config);
        let of = |(tensor, (part, shape)): (usize, (Part, crate::config::ParameterShape))| {
            let whole = ParameterGroup { tensor, rows: 0..shape.rows, lr_scale: 1.0, unfrozen_at: 0 };
            let height = match part {
                Part::Head => return vec![whole],
                Part::Embedding => 0,
                Part::Layer(layer) => layer + 1,
            };
            let new = (tensor == 0).then(|| new_rows.clone()).flatten();
            let old = ParameterGroup { rows: 0..new.as_ref().map_or(shape.rows, |new| new.start), ..whole.clone() };
            let lr_scale = self.layer_lr_decay.powi((config.n_layer - height) as i32);
            let old = self.unfrozen_at.get(height).copied().flatten().map(|unfrozen_at| ParameterGroup {
                lr_scale,
                unfrozen_at,
                ..old
            });
            old.into_iter().chain(new.map(|rows| ParameterGroup { rows, ..whole })).collect()
        };
        config.parts().into_iter().zip(config.parameters()).enumerate().flat_map(of).collect()
    }
}

/// The rows of the token table that a task adds.
pub fn new_rows(config: &ModelConfig) -> Option<Range<usize>> {
    let first = config.vocab_size.saturating_sub(Task::TOKENS.len());
    config.task.as_ref().map(|_| first..config.vocab_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Answers, TaskKind};

    #[test]
    fn new_rows_and_head_always_learn_at_the_full_rate() {
        let task = Task { kind: TaskKind::Similar, answers: Answers::Score };
        let config = ModelConfig { n_layer: 2, vocab_size: 100, task: Some(task), ..ModelConfig::default() };
        let frozen = Learning { layer_lr_decay: 0.5, unfrozen_at: vec![None, None, Some(0)] };
        let parameter_groups = frozen.parameter_groups(&config);
        let head = config.head().expect("a head");
        assert_eq!(parameter_groups[0], ParameterGroup { tensor: 0, rows: 97..100, lr_scale: 1.0, unfrozen_at: 0 });
        assert_eq!(parameter_groups.len(), 1 + 12 + 2);
        assert!(
            parameter_groups[1..13]
                .iter()
                .all(|group| config.parts()[group.tensor] == Part::Layer(1) && group.lr_scale == 1.0)
        );
        assert_eq!(
            parameter_groups[13..].iter().map(|group| group.tensor).collect::<Vec<_>>(),
            head.collect::<Vec<_>>()
        );
        let all = Learning { layer_lr_decay: 0.5, unfrozen_at: vec![Some(9), Some(4), Some(0)] };
        let parameter_groups = all.parameter_groups(&config);
        assert_eq!(parameter_groups[0], ParameterGroup { tensor: 0, rows: 0..97, lr_scale: 0.25, unfrozen_at: 9 });
        assert_eq!(parameter_groups[1], ParameterGroup { tensor: 0, rows: 97..100, lr_scale: 1.0, unfrozen_at: 0 });
        assert_eq!(
            (
                parameter_groups[2].tensor,
                parameter_groups[2].lr_scale,
                parameter_groups[3].lr_scale,
                parameter_groups[3].unfrozen_at
            ),
            (1, 0.25, 0.5, 4)
        );
        let plain = ModelConfig::default();
        assert_eq!(Learning::all(&plain).parameter_groups(&plain).len(), plain.parameters().len());
    }
}
