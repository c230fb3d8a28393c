//! What training takes, without a device: memory, the longest sequence that fits, and operations.

use super::activations::{Activations, Capacity, Entry, Lifetime, layout_capacity};
use super::half_copies;
use super::parameters::flat_bytes;
use crate::config::{AttentionKind, MAX_SIZE, ModelConfig};
use crate::ops::layout::LayoutBuffer;
use crate::ops::tiles::Rule;

/// Bytes on the device by use, without the image copies of CPU adapters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights.
    pub weights: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments.
    pub moments: usize,
    /// Activations that the forward pass saves for the backward pass.
    pub saved: usize,
    /// Activations that only neighboring kernels use.
    pub temporary: usize,
    /// The heads' logits and losses.
    pub head: usize,
    /// The batch: ids, positions and index lists.
    pub layout: usize,
    /// Copies of weights and activations in f16, in mixed precision.
    pub half_copies: usize,
}

impl Memory {
    /// The sum.
    pub fn total(&self) -> usize {
        let parameters = self.weights + self.gradients + self.moments;
        parameters + self.saved + self.temporary + self.head + self.layout + self.half_copies
    }
}

/// The memory that training takes on a device. `recompute`: [`TrainingOptions::recompute`].
///
/// [`TrainingOptions::recompute`]: super::TrainingOptions::recompute
pub fn plan(config: &ModelConfig, capacity: Capacity, recompute: bool) -> Memory {
    let flat = flat_bytes(config);
    let (mut saved, mut temporary, mut head) = (0, 0, 0);
    Activations::plan(config, capacity, recompute, |entry| match entry.lifetime {
        Lifetime::Saved => saved += entry.bytes(),
        Lifetime::Temporary => temporary += entry.bytes(),
        Lifetime::Head => head += entry.bytes(),
    });
    Memory {
        weights: flat,
        gradients: flat,
        moments: 2 * flat,
        saved,
        temporary,
        head,
        layout: LayoutBuffer::words(&layout_capacity(config, capacity)) * 4,
        half_copies: 0,
    }
}

/// As [`plan`], for mixed precision on an adapter with matrix units.
pub fn plan_mixed(config: &ModelConfig, capacity: Capacity, recompute: bool) -> Memory {
    Memory { half_copies: half_copies::bytes(config, capacity, recompute), ..plan(config, capacity, recompute) }
}

/// The longest sequence that trains alone (B = 1, N = P = T) in `bytes` bytes, and its memory; `None` if even one token does
/// not fit. Memory grows linearly with T, since no kernel stores T×T scores.
pub fn longest(config: &ModelConfig, bytes: usize) -> Option<(usize, Memory)> {
    longest_with(config, bytes, |_| 0)
}

/// As [`longest`], for an implementation that also saves all attention scores for its backward pass, as was usual in 2018:
/// for each layer and head, one number for each query and each key that it sees.
pub fn longest_with_scores(config: &ModelConfig, bytes: usize) -> Option<(usize, Memory)> {
    let keys = |layer, t: usize| match config.attention(layer) {
        AttentionKind::Full => t,
        AttentionKind::Local => t.min(config.local_block),
        AttentionKind::Compressed => Rule::compressed(config.kv_factor).keys(t),
    };
    let scores = |t: usize| (0..config.n_layer).map(|layer| 4 * config.n_head * t * keys(layer, t)).sum();
    longest_with(config, bytes, scores)
}

fn longest_with(config: &ModelConfig, bytes: usize, more: impl Fn(usize) -> usize) -> Option<(usize, Memory)> {
    let of = |t: usize| {
        let config = ModelConfig { n_positions: t, ..config.clone() };
        plan(&config, Capacity { rows: t, sequences: 1 }, false)
    };
    let fits = |t: usize| of(t).total() + more(t) <= bytes;
    let (mut fit, mut not) = (0, MAX_SIZE + 1);
    while not - fit > 1 {
        let t = fit + (not - fit) / 2;
        if fits(t) { fit = t } else { not = t }
    }
    (fit > 0).then(|| (fit, of(fit)))
}

/// Bytes of the activations of the first layer's attention: [forward, forward and backward].
///
/// Forward: q, k, v, the slots and the workspace of their convolution, ℓ and the output. Backward: their gradients and δ. Of
/// the rest of a step, only the layout grows with the length, by a few bytes a token.
pub fn attention_bytes(config: &ModelConfig, capacity: Capacity) -> [usize; 2] {
    let all = Activations::plan(&ModelConfig { n_layer: 1, ..config.clone() }, capacity, false, |_| {});
    let sum = |entries: &[&Entry]| entries.iter().map(|entry| entry.bytes()).sum::<usize>();
    let block = &all.blocks[0];
    let forward = sum(&[&block.qkv, &block.compressed, &block.log_sum_exp, &block.attention, &all.windows]);
    [forward, forward + sum(&[&all.dqkv, &all.dcompressed, &all.dattention, &all.delta])]
}

/// Floating-point operations of one training step over N rows in sequences of P tokens.
///
/// Counted are the products with weights, the language model's head, the convolutions, and attention over visible keys.
/// Backward counts twice as much as forward; attention computes its scores once more.
pub fn step_flops(config: &ModelConfig, rows: usize) -> f64 {
    let (n, c, p) = (rows as f64, config.n_embd as f64, config.n_positions.max(1));
    let layers = (0..config.n_layer).filter(|l| config.attention(*l) == AttentionKind::Compressed).count() as f64;
    let compress = 2.0 * layers * config.kv_group_width() as f64 * c;
    let products = 2.0 * n * (12.0 * c * c * config.n_layer as f64 + compress + c * config.vocab_size as f64);
    let seen = |layer| match config.attention(layer) {
        AttentionKind::Full => (p as f64 + 1.0) / 2.0,
        AttentionKind::Local => (0..p).map(|t| (t % config.local_block.max(1) + 1) as f64).sum::<f64>() / p as f64,
        AttentionKind::Compressed => {
            let rule = Rule::compressed(config.kv_factor);
            (0..p).map(|t| rule.visible(t) as f64).sum::<f64>() / p as f64
        }
    };
    let keys: f64 = (0..config.n_layer).map(seen).sum();
    3.0 * products + 3.5 * 2.0 * 2.0 * n * c * keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sequence_fits_and_the_next_does_not() {
        for pattern in ["F", "LMLML"] {
            let config = ModelConfig { attention_pattern: pattern.into(), ..ModelConfig::default() };
            let total = |t: usize| {
                plan(&ModelConfig { n_positions: t, ..config.clone() }, Capacity { rows: t, sequences: 1 }, false)
                    .total()
            };
            for bytes in [64 << 20, 300_000_001, 2 << 30] {
                let (t, memory) = longest(&config, bytes).expect("a sequence");
                assert!(
                    memory.total() == total(t) && total(t) <= bytes && total(t + 1) > bytes,
                    "{pattern} {bytes} {t}"
                );
            }
            assert!(longest(&config, 1 << 20).is_none(), "the weights alone take more");
        }
    }

    #[test]
    fn recomputed_blocks_share_all_but_their_outputs() {
        for pattern in ["F", "FLM"] {
            let config = ModelConfig { attention_pattern: pattern.into(), n_layer: 12, ..ModelConfig::default() };
            let capacity = Capacity { rows: 1024, sequences: 8 };
            let [kept, recomputed] = [false, true].map(|recompute| plan(&config, capacity, recompute));
            assert_eq!(Memory { saved: kept.saved, ..recomputed.clone() }, kept, "{pattern}");
            let output = 1024 * config.n_embd * 4;
            assert!(recomputed.saved >= 13 * output && recomputed.saved < 32 * output, "{pattern}: {recomputed:?}");
        }
    }

    #[test]
    fn scores_would_end_full_attention_first() {
        let of = |pattern: &str| {
            let config = ModelConfig { attention_pattern: pattern.into(), ..ModelConfig::default() };
            let longest = longest(&config, 2 << 30).expect("a sequence").0;
            (longest, longest_with_scores(&config, 2 << 30).expect("a sequence").0)
        };
        let ((full, full_scores), (mixed, mixed_scores)) = (of("F"), of("LMLML"));
        assert!(mixed < full && mixed as f64 > 0.8 * full as f64, "slots take memory: {mixed} {full}");
        assert!(full_scores < full / 2 && mixed_scores > 3 * full_scores / 2, "{full_scores} {mixed_scores}");
    }
}
