//! The numbers that change each time a program runs: sizes of the batch, counts, learning rate, dropout key.

use crate::data::batch::LossCounts;

/// The numbers of one run of a program: sizes from the batch's layout, and what varies by step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepValues {
    /// N, rows of the packed batch.
    pub rows: u32,
    /// S, compressed slots of all sequences.
    pub slots: u32,
    /// Rows at the ends of sequences that fill no slot.
    pub tail_rows: u32,
    /// Null keys: one for each sequence that has a token.
    pub null_keys: u32,
    /// Sequences whose last rows the head of a task reads.
    pub sequences: u32,
    /// A task's examples.
    pub examples: u32,
    /// Query tiles of attention's work lists, by [`kind_index`](super::layout::kind_index).
    pub query_tiles: [u32; 3],
    /// Key tiles, by [`kind_index`](super::layout::kind_index).
    pub key_tiles: [u32; 3],
    /// Pairs of a query and a key that the tiles visit, by [`kind_index`](super::layout::kind_index).
    pub pairs: [f64; 3],
    /// Distinct token ids in the batch.
    pub token_owners: u32,
    /// Distinct positions in the batch.
    pub position_owners: u32,
    /// Targets and examples of the whole optimizer step, over all its micro-batches.
    pub loss_counts: LossCounts,
    /// Number of this optimizer step, counted from 1.
    pub step: u32,
    /// AdamW's t: optimizer steps that had targets or examples, this one included.
    pub adam_step: u32,
    /// Learning rate.
    pub lr: f64,
    /// The step key of dropout ([`step_key`](crate::philox::step_key)).
    pub dropout_key: [u32; 2],
}

/// What gradients are multiplied by before they are narrowed to f16, over the number that the loss is a mean over.
const GRADIENT_HEADROOM: f32 = 256.0;

impl StepValues {
    /// The power of two that kernels multiply gradients by before they narrow them to f16, whose smallest normal number is
    /// 6.1e-5. Gradients of a mean over n targets are about 1/n of those of one target, so that it grows with n.
    pub fn gradient_scale(&self) -> f32 {
        let LossCounts { targets, examples } = self.loss_counts;
        let count = [targets, examples].into_iter().filter(|count| *count > 0).min().unwrap_or(1);
        count.min(1 << 24).next_power_of_two() as f32 * GRADIENT_HEADROOM
    }
}
