//! What a step keeps and what it only needs in passing, by name and shape: one list that allocation and `wgpt plan` read.

use super::parameters::flat_bytes;
use crate::config::{AttentionKind, MOST_POSITIONS, ModelConfig, Task};
use crate::dims;
use crate::gpu::{Device, Matrix, View};
use crate::ops::layout::{self, LayoutBuffer};
use crate::ops::tiles::Rule;
use crate::ops::{column_sum, kv_compress, layer_norm};
use crate::{Error, Result};

/// The largest batch that will come: activations are made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// N, rows of a micro-batch.
    pub rows: usize,
    /// B, sequences of a micro-batch.
    pub sequences: usize,
}

/// What the forward pass of one block keeps for its backward pass.
#[derive(Clone)]
pub struct Block {
    /// [N, 3C]
    pub qkv: Matrix,
    /// Compressed keys, then values, of an M layer [2(S + B), C]: S slots, then a null row a sequence.
    pub compressed: Matrix,
    /// ℓ, N·H
    pub log_sum_exp: View,
    /// Attention's output [N, C].
    pub attention: Matrix,
    /// x + attention branch [N, C].
    pub sum_1: Matrix,
    /// mean and rstd, 2N.
    pub stats_1: View,
    /// ln_1's output [N, C].
    pub normed: Matrix,
    /// c_fc's output before GELU [N, 4C].
    pub pre: Matrix,
    /// After GELU [N, 4C].
    pub act: Matrix,
    /// normed + MLP branch [N, C].
    pub sum_2: Matrix,
    /// mean and rstd, 2N.
    pub stats_2: View,
    /// The block's output [N, C].
    pub out: Matrix,
}

/// Everything of a step but the parameters. Made for inference, the blocks share one block's slots, and what only the
/// backward pass needs has no room: a recording that names it is refused.
pub struct Activations {
    /// The summed embedding [N, C].
    pub embedded: Matrix,
    /// A block each.
    pub blocks: Vec<Block>,
    /// A branch's output before it is added [N, C].
    pub branch: Matrix,
    /// Gradient of the residual stream [N, C].
    pub dx: Matrix,
    /// Gradient of a sum [N, C].
    pub dsum: Matrix,
    /// The same past dropout [N, C].
    pub dbranch: Matrix,
    /// [N, C]
    pub dattention: Matrix,
    /// [N, 4C]
    pub dpre: Matrix,
    /// [N, 3C]
    pub dqkv: Matrix,
    /// As `compressed` of a block.
    pub dcompressed: Matrix,
    /// What the convolution of keys and values works in.
    pub windows: Matrix,
    /// δ, N·H
    pub delta: View,
    /// Partial sums [.., 4C], twice.
    pub partial: [Matrix; 2],
    /// A chunk of logits [R, V].
    pub logits: Matrix,
    /// N losses.
    pub losses: View,
    /// What a task's head works in.
    pub task: TaskRoom,
}

/// Room of a task's head, of one row each where the model has none.
pub struct TaskRoom {
    /// The last block's output at the last row of each sequence, past dropout [B, C].
    pub states: Matrix,
    /// Their gradient [B, C].
    pub dstates: Matrix,
    /// A score a sequence and output, then its gradient [B, labels].
    pub scores: Matrix,
    /// What an example's scores come to [B, labels].
    pub logits: Matrix,
    /// Its gradient [B, labels].
    pub dlogits: Matrix,
    /// A loss an example, B at most.
    pub losses: View,
    /// Zeros, for a head without bias.
    pub no_bias: View,
}

/// Rows of the head's chunk: as many as 64 MiB of logits hold, a multiple of 64.
pub fn chunk_rows(config: &ModelConfig, rows: usize) -> usize {
    let most = ((16 << 20) / dims::pitch(config.vocab_size)).max(64) / 64 * 64;
    rows.next_multiple_of(64).min(most)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    Passing,
    Head,
}

/// What activations are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Training,
    Inference,
    /// The forward pass alone, for what it leaves in a cache.
    Prompt,
}

impl Purpose {
    /// Blocks with slots of their own.
    fn blocks(self, config: &ModelConfig) -> usize {
        if self == Purpose::Training { config.n_layer } else { 1 }
    }
}

/// The floats of every activation, in the order in which [`Activations::with`] takes them.
fn slots(config: &ModelConfig, capacity: Capacity, purpose: Purpose) -> Vec<(&'static str, Kind, usize, usize)> {
    let (n, c, h) = (capacity.rows.max(1), config.n_embd, config.n_head);
    let layout = layout_capacity(config, capacity);
    let compressed = |is: bool| if is { 2 * layout.slot_rows() } else { 0 };
    let any = config.has(AttentionKind::Compressed);
    // A block that stands for all has room for those of every kind.
    let is_compressed = |layer| match purpose {
        Purpose::Training => config.attention(layer) == AttentionKind::Compressed,
        Purpose::Inference | Purpose::Prompt => any,
    };
    let mut all = vec![("embedded", Kind::Kept, n, c)];
    for layer in 0..purpose.blocks(config) {
        all.extend([
            ("qkv", Kind::Kept, n, 3 * c),
            ("compressed", Kind::Kept, compressed(is_compressed(layer)), c),
            ("log_sum_exp", Kind::Kept, 1, n * h),
            ("attention", Kind::Kept, n, c),
            ("sum_1", Kind::Kept, n, c),
            ("stats_1", Kind::Kept, 1, 2 * n),
            ("normed", Kind::Kept, n, c),
            ("pre", Kind::Kept, n, 4 * c),
            ("act", Kind::Kept, n, 4 * c),
            ("sum_2", Kind::Kept, n, c),
            ("stats_2", Kind::Kept, 1, 2 * n),
            ("out", Kind::Kept, n, c),
        ]);
    }
    let blocks = n.div_ceil(layer_norm::BLOCK.min(column_sum::BLOCK));
    let dropped = if config.resid_pdrop > 0.0 { n } else { 1 };
    let [windows, window] = match any {
        true => kv_compress::room(layout.slots(), c, config.kv_factor, config.kv_group_width()),
        false => [0, 1],
    };
    let head = |rows: usize| if purpose == Purpose::Prompt { 0 } else { rows };
    let backward = |rows: usize| if purpose == Purpose::Training { rows } else { 0 };
    all.extend([
        ("branch", Kind::Passing, n, c),
        ("dx", Kind::Passing, backward(n), c),
        ("dsum", Kind::Passing, backward(n), c),
        ("dbranch", Kind::Passing, backward(dropped), c),
        ("dattention", Kind::Passing, backward(n), c),
        ("dpre", Kind::Passing, backward(n), 4 * c),
        ("dqkv", Kind::Passing, backward(n), 3 * c),
        ("dcompressed", Kind::Passing, backward(compressed(any)), c),
        ("windows", Kind::Passing, windows, window),
        ("delta", Kind::Passing, 1, backward(n * h)),
        ("partial", Kind::Passing, backward(blocks), 4 * c),
        ("partial", Kind::Passing, backward(blocks), 4 * c),
        ("logits", Kind::Head, head(chunk_rows(config, n)), config.vocab_size),
        ("losses", Kind::Head, 1, head(n.next_multiple_of(64))),
    ]);
    let outputs = config.task.as_ref().map_or(0, Task::outputs);
    let b = if outputs > 0 { head(capacity.sequences.max(1)) } else { 0 };
    all.extend([
        ("states", Kind::Head, b, c),
        ("dstates", Kind::Head, backward(b), c),
        ("scores", Kind::Head, b, outputs.max(1)),
        ("task logits", Kind::Head, b, outputs.max(1)),
        ("dlogits", Kind::Head, b, outputs.max(1)),
        ("task losses", Kind::Head, 1, b),
        ("no bias", Kind::Head, 1, outputs),
    ]);
    all
}

impl Activations {
    /// Allocates what training takes.
    ///
    /// # Errors
    /// [`Error::Device`] past the device's limits.
    pub fn new(device: &Device, config: &ModelConfig, capacity: Capacity) -> Result<Self> {
        Self::with(device, config, capacity, Purpose::Training)
    }

    /// Allocates what the forward pass takes when nothing is kept.
    ///
    /// # Errors
    /// [`Error::Device`] past the device's limits.
    pub fn for_inference(device: &Device, config: &ModelConfig, capacity: Capacity) -> Result<Self> {
        Self::with(device, config, capacity, Purpose::Inference)
    }

    /// As [`Activations::for_inference`], without room for the head.
    ///
    /// # Errors
    /// [`Error::Device`] past the device's limits.
    pub fn for_prompt(device: &Device, config: &ModelConfig, capacity: Capacity) -> Result<Self> {
        Self::with(device, config, capacity, Purpose::Prompt)
    }

    fn with(device: &Device, config: &ModelConfig, capacity: Capacity, purpose: Purpose) -> Result<Self> {
        let mut slots = slots(config, capacity, purpose).into_iter();
        let mut next = || -> Result<Matrix> {
            let missing = || Error::device("the list of activations is short");
            let (name, _, rows, columns) = slots.next().ok_or_else(missing)?;
            Matrix::new(device, name, rows, columns)
        };
        let embedded = next()?;
        let mut blocks = Vec::with_capacity(config.n_layer);
        for _ in 0..purpose.blocks(config) {
            blocks.push(Block {
                qkv: next()?,
                compressed: next()?,
                log_sum_exp: next()?.view,
                attention: next()?,
                sum_1: next()?,
                stats_1: next()?.view,
                normed: next()?,
                pre: next()?,
                act: next()?,
                sum_2: next()?,
                stats_2: next()?.view,
                out: next()?,
            });
        }
        // A block's input is dead before its output is written, so one slot may be both.
        let first = blocks.first().cloned();
        blocks.extend(std::iter::repeat_n(first, config.n_layer - blocks.len()).flatten());
        Ok(Activations {
            embedded,
            blocks,
            branch: next()?,
            dx: next()?,
            dsum: next()?,
            dbranch: next()?,
            dattention: next()?,
            dpre: next()?,
            dqkv: next()?,
            dcompressed: next()?,
            windows: next()?,
            delta: next()?.view,
            partial: [next()?, next()?],
            logits: next()?,
            losses: next()?.view,
            task: TaskRoom {
                states: next()?,
                dstates: next()?,
                scores: next()?,
                logits: next()?,
                dlogits: next()?,
                losses: next()?.view,
                no_bias: next()?.view,
            },
        })
    }
}

/// Bytes on the device by kind; image twins of CPU adapters are not in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights.
    pub weights: usize,
    /// Gradients.
    pub gradients: usize,
    /// Both moments.
    pub moments: usize,
    /// What the forward pass keeps for the backward pass.
    pub kept: usize,
    /// What lives between two kernels.
    pub passing: usize,
    /// The head's chunk of logits and the losses.
    pub head: usize,
    /// Integers of the batch.
    pub layout: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.gradients + self.moments + self.kept + self.passing + self.head + self.layout
    }
}

/// What training takes, without a device.
pub fn plan(config: &ModelConfig, capacity: Capacity) -> Memory {
    let flat = flat_bytes(config);
    let bytes = |wanted: Kind| {
        let of_kind = slots(config, capacity, Purpose::Training).into_iter().filter(|s| s.1 == wanted);
        of_kind.map(|(_, _, rows, columns)| dims::floats(rows, columns) * 4).sum()
    };
    Memory {
        weights: flat,
        gradients: flat,
        moments: 2 * flat,
        kept: bytes(Kind::Kept),
        passing: bytes(Kind::Passing),
        head: bytes(Kind::Head),
        layout: LayoutBuffer::words(&layout_capacity(config, capacity)) * 4,
    }
}

/// The longest sequence that trains alone (B = 1, N = P = T) in so many bytes, and what it takes; none where one token does
/// not. Whatever T is, what [`plan`] counts grows by as much a token: nobody holds T×T scores.
pub fn longest(config: &ModelConfig, bytes: usize) -> Option<(usize, Memory)> {
    longest_with(config, bytes, |_| 0)
}

/// As [`longest`], of an implementation that also keeps every score of every layer for its backward pass, as those of 2018
/// did: a number a head for each query and each key that it may see.
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
        plan(&config, Capacity { rows: t, sequences: 1 })
    };
    let fits = |t: usize| of(t).total() + more(t) <= bytes;
    let (mut fit, mut not) = (0, MOST_POSITIONS + 1);
    while not - fit > 1 {
        let t = fit + (not - fit) / 2;
        if fits(t) { fit = t } else { not = t }
    }
    (fit > 0).then(|| (fit, of(fit)))
}

/// Bytes of what the first layer's attention reads and keeps forward (q, k, v, the slots and the room of their convolution,
/// ℓ, its output), and what backward takes, when their gradients and δ come to it: of activations, as [`plan`] has them. Else
/// only a few bytes a token of the layout grow with the length.
pub fn attention_bytes(config: &ModelConfig, capacity: Capacity) -> [usize; 2] {
    let all = slots(&ModelConfig { n_layer: 1, ..config.clone() }, capacity, Purpose::Training);
    let bytes = |names: &[&str]| -> usize {
        let named = all.iter().filter(|slot| names.contains(&slot.0));
        named.map(|(_, _, rows, columns)| dims::floats(*rows, *columns) * 4).sum()
    };
    let forward = bytes(&["qkv", "compressed", "log_sum_exp", "attention", "windows"]);
    [forward, forward + bytes(&["dqkv", "dcompressed", "dattention", "delta"])]
}

/// The layout's capacity for a model and a batch.
pub fn layout_capacity(config: &ModelConfig, capacity: Capacity) -> layout::LayoutCapacity {
    layout::LayoutCapacity {
        rows: capacity.rows.max(1),
        sequences: capacity.sequences.max(1),
        vocab: config.vocab_size,
        positions: config.n_positions,
        local_block: config.has(AttentionKind::Local).then_some(config.local_block),
        kv_factor: config.has(AttentionKind::Compressed).then_some(config.kv_factor),
        task: config.task.is_some(),
        tile_rows: layout::SMALLEST_TILE,
    }
}

/// Floating-point operations of one training step over N rows in sequences of P tokens: products of weights, the head,
/// convolutions, and attention over the keys that are seen; forward once, backward twice, and attention's scores once more.
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
                plan(&ModelConfig { n_positions: t, ..config.clone() }, Capacity { rows: t, sequences: 1 }).total()
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
    fn scores_would_end_full_attention_first() {
        let of = |pattern: &str| {
            let config = ModelConfig { attention_pattern: pattern.into(), ..ModelConfig::default() };
            let longest = longest(&config, 2 << 30).expect("a sequence").0;
            (longest, longest_with_scores(&config, 2 << 30).expect("a sequence").0)
        };
        let ((full, full_scores), (mixed, mixed_scores)) = (of("F"), of("LMLML"));
        assert!(mixed < full && mixed as f64 > 0.8 * full as f64, "slots take room: {mixed} {full}");
        assert!(full_scores < full / 2 && mixed_scores > 3 * full_scores / 2, "{full_scores} {mixed_scores}");
    }
}
