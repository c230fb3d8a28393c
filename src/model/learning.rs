//! Which parts of a model learn, and how fast: layer-wise rates and gradual unfreezing (Howard & Ruder 2018; SPEC 3).

use crate::config::{ModelConfig, Part, Task};
use std::ops::Range;

/// How the embeddings and the layers learn. The head and the three rows of the token table that fine-tuning adds always
/// learn, at the full rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Learning {
    /// ξ: the rate of layer l, counted from 1 at the bottom, is lr·ξ^(L−l), that of the embeddings lr·ξ^L. 1: all the same.
    pub layer_lr_decay: f64,
    /// Updates that were done when the embeddings (first) and each layer began to learn; none while they are frozen.
    pub since: Vec<Option<u32>>,
}

/// Rows of a tensor that learn at one rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its index in [`ModelConfig::parameters`].
    pub tensor: usize,
    /// Its rows.
    pub rows: Range<usize>,
    /// Times the step's learning rate.
    pub lr_scale: f64,
    /// Updates done before it began to learn.
    pub since: u32,
}

impl Learning {
    /// Everything, from the beginning, at one rate.
    pub fn all(config: &ModelConfig) -> Self {
        Learning { layer_lr_decay: 1.0, since: vec![Some(0); config.n_layer + 1] }
    }

    /// Whether a layer learns, counted from 0 at the bottom.
    pub fn layer(&self, layer: usize) -> bool {
        self.since.get(layer + 1).is_some_and(Option::is_some)
    }

    /// Whether the embeddings learn.
    pub fn embeddings(&self) -> bool {
        self.since.first().is_some_and(Option::is_some)
    }

    /// What learns, tensor by tensor.
    pub fn pieces(&self, config: &ModelConfig) -> Vec<Piece> {
        let new_rows = new_rows(config);
        let of = |(tensor, (part, shape)): (usize, (Part, crate::config::ParameterShape))| {
            let whole = Piece { tensor, rows: 0..shape.rows, lr_scale: 1.0, since: 0 };
            let height = match part {
                Part::Head => return vec![whole],
                Part::Embedding => 0,
                Part::Layer(layer) => layer + 1,
            };
            let new = (tensor == 0).then(|| new_rows.clone()).flatten();
            let old = Piece { rows: 0..new.as_ref().map_or(shape.rows, |new| new.start), ..whole.clone() };
            let lr_scale = self.layer_lr_decay.powi((config.n_layer - height) as i32);
            let old = self.since.get(height).copied().flatten().map(|since| Piece { lr_scale, since, ..old });
            old.into_iter().chain(new.map(|rows| Piece { rows, ..whole })).collect()
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
        let frozen = Learning { layer_lr_decay: 0.5, since: vec![None, None, Some(0)] };
        let pieces = frozen.pieces(&config);
        let head = config.head().expect("a head");
        assert_eq!(pieces[0], Piece { tensor: 0, rows: 97..100, lr_scale: 1.0, since: 0 });
        assert_eq!(pieces.len(), 1 + 12 + 2);
        assert!(
            pieces[1..13].iter().all(|piece| config.parts()[piece.tensor] == Part::Layer(1) && piece.lr_scale == 1.0)
        );
        assert_eq!(pieces[13..].iter().map(|piece| piece.tensor).collect::<Vec<_>>(), head.collect::<Vec<_>>());
        let all = Learning { layer_lr_decay: 0.5, since: vec![Some(9), Some(4), Some(0)] };
        let pieces = all.pieces(&config);
        assert_eq!(pieces[0], Piece { tensor: 0, rows: 0..97, lr_scale: 0.25, since: 9 });
        assert_eq!(pieces[1], Piece { tensor: 0, rows: 97..100, lr_scale: 1.0, since: 0 });
        assert_eq!((pieces[2].tensor, pieces[2].lr_scale, pieces[3].lr_scale, pieces[3].since), (1, 0.25, 0.5, 4));
        let plain = ModelConfig::default();
        assert_eq!(Learning::all(&plain).pieces(&plain).len(), plain.parameters().len());
    }
}
