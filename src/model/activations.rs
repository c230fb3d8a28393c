//! The memory of a step besides the parameters. One list of all activations, with their names, shapes and lifetimes, serves
//! allocation and planning.

use crate::Result;
use crate::config::{AttentionKind, ModelConfig, Task};
use crate::dims;
use crate::gpu::{Device, Matrix};
use crate::ops::layout;
use crate::ops::{column_sum, kv_compress, layer_norm, matmul};
use std::convert::Infallible;

/// The largest batch that activations are allocated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capacity {
    /// N, rows of a micro-batch.
    pub rows: usize,
    /// B, sequences of a micro-batch.
    pub sequences: usize,
}

impl Capacity {
    /// For batches of `count` sequences of the model's P tokens each.
    pub fn of_windows(config: &ModelConfig, count: usize) -> Self {
        Capacity { rows: count * config.n_positions, sequences: count }
    }
}

/// What the forward pass of one block saves for its backward pass. `M` is a matrix on the device, or its size when planning.
#[derive(Clone)]
pub struct Block<M = Matrix> {
    /// [N, 3C]
    pub qkv: M,
    /// Of an M layer, keys, then values [2(S + B), C]: each S slots, then a null row for each sequence.
    pub compressed: M,
    /// ℓ, [1, N·H]
    pub log_sum_exp: M,
    /// Attention's output [N, C].
    pub attention: M,
    /// x + attention branch [N, C].
    pub sum_1: M,
    /// mean and rstd of `sum_1` [1, 2N].
    pub stats_1: M,
    /// ln_1's output [N, C].
    pub normed: M,
    /// c_fc's output before GELU [N, 4C].
    pub pre_gelu: M,
    /// c_fc's output after GELU [N, 4C].
    pub post_gelu: M,
    /// normed + MLP branch [N, C].
    pub sum_2: M,
    /// mean and rstd of `sum_2` [1, 2N].
    pub stats_2: M,
    /// The block's output [N, C].
    pub out: M,
}

/// All activations of a step. For inference, all blocks share the matrices of one, and matrices of the backward pass have no
/// rows: recording a program that names them is an error. Blocks that are recomputed share all but their outputs.
pub struct Activations<M = Matrix> {
    /// The summed embedding [N, C].
    pub embedded: M,
    /// One for each block.
    pub blocks: Vec<Block<M>>,
    /// Whether the backward pass computes a block again before it needs the block's activations.
    pub recompute: bool,
    /// A branch's output before it is added [N, C].
    pub branch: M,
    /// Gradient of the residual stream [N, C].
    pub dx: M,
    /// Gradient of a sum [N, C].
    pub dsum: M,
    /// Gradient of a branch: `dsum` behind dropout [N, C].
    pub dbranch: M,
    /// [N, C]
    pub dattention: M,
    /// [N, 4C]
    pub dpre_gelu: M,
    /// [N, 3C]
    pub dqkv: M,
    /// Gradient of a block's `compressed`.
    pub dcompressed: M,
    /// Workspace of the convolution of keys and values.
    pub windows: M,
    /// δ, [1, N·H]
    pub delta: M,
    /// Workspace of partial sums [.., C].
    pub partial: M,
    /// Workspace of products of parts of K, [1, words].
    pub parts: M,
    /// A chunk of logits [R, V].
    pub logits: M,
    /// A loss for each row [1, N].
    pub losses: M,
    /// Of a task's head.
    pub task: TaskActivations<M>,
}

/// The activations of a task's head, without rows if the model has none.
pub struct TaskActivations<M = Matrix> {
    /// The last block's output at the last row of each sequence, behind dropout [B, C].
    pub states: M,
    /// Gradient of `states` [B, C].
    pub dstates: M,
    /// A score for each sequence and output, then its gradient [B, outputs].
    pub scores: M,
    /// The logits of each example: its sequences' scores, added up or side by side [B, outputs].
    pub logits: M,
    /// Gradient of `logits` [B, outputs].
    pub dlogits: M,
    /// A loss for each example [1, B].
    pub losses: M,
    /// Zeros, in place of a bias [1, outputs].
    pub no_bias: M,
}

/// How long an activation is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Saved by the forward pass for the backward pass.
    Saved,
    /// Written and read by neighboring kernels.
    Temporary,
    /// Used by the language model's head or a task's.
    Head,
}

/// An entry of the list of activations.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name on the device.
    pub name: &'static str,
    /// How long it is used.
    pub lifetime: Lifetime,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Entry {
    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        dims::floats(self.rows, self.columns) * 4
    }
}

/// Fewest and most bytes of the head's chunk of logits, unless the device binds less.
const CHUNK_BYTES: [usize; 2] = [64 << 20, 1 << 30];

/// Rows of the head's chunk of logits: a sixteenth of what the forward pass saves, in chunks of about equal size, a multiple
/// of 64 rows. `max_binding`: bytes that a kernel can bind.
fn chunk_rows(config: &ModelConfig, rows: usize, max_binding: u64) -> usize {
    let saved = rows * config.n_layer * 16 * config.n_embd * 4;
    let [least, most] = CHUNK_BYTES;
    let bytes = (saved / 16).clamp(least, most).min(usize::try_from(max_binding).unwrap_or(usize::MAX));
    let most_rows = (bytes / 4 / dims::pitch(config.vocab_size)).max(64) / 64 * 64;
    rows.div_ceil(rows.div_ceil(most_rows).max(1)).next_multiple_of(64)
}

/// Words of the workspace for products of parts of K: the most that a product of `rows` rows uses.
fn part_words(config: &ModelConfig, rows: usize, chunk: usize, purpose: Purpose) -> usize {
    let (n, c, v) = (rows, config.n_embd, config.vocab_size);
    // M, N, K: c_attn, c_proj, c_fc, its projection and the head; then what their backward passes add.
    let forward = [[n, 3 * c, c], [n, c, c], [n, 4 * c, c], [n, c, 4 * c], [chunk, v, c]];
    let backward =
        [[n, c, 3 * c], [chunk, c, v], [c, 3 * c, n], [c, c, n], [c, 4 * c, n], [4 * c, c, n], [v, c, chunk]];
    let backward = backward.into_iter().filter(|_| purpose.has_backward());
    forward.into_iter().chain(backward).map(matmul::workspace_words).max().unwrap_or(0)
}

/// What activations are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Training,
    /// Training that computes blocks again in the backward pass.
    Recomputation,
    Inference,
    /// The forward pass without a head, which fills a cache with keys and values.
    Prompt,
}

impl Purpose {
    fn training(recompute: bool) -> Self {
        if recompute { Purpose::Recomputation } else { Purpose::Training }
    }

    fn has_backward(self) -> bool {
        matches!(self, Purpose::Training | Purpose::Recomputation)
    }
}

impl<M: Clone> Activations<M> {
    /// The list of all activations, in the order in which they are allocated: `make` turns an entry into a field's value.
    fn list<E>(
        config: &ModelConfig,
        capacity: Capacity,
        purpose: Purpose,
        max_binding: u64,
        mut make: impl FnMut(Entry) -> Result<M, E>,
    ) -> Result<Self, E> {
        use Lifetime::{Head, Saved, Temporary};
        let mut entry = |name, lifetime, rows, columns| make(Entry { name, lifetime, rows, columns });
        let (n, c, h) = (capacity.rows.max(1), config.n_embd, config.n_head);
        let layout = layout_capacity(config, capacity);
        let chunk = chunk_rows(config, n, max_binding);
        let any_compressed = config.has(AttentionKind::Compressed);
        let compressed_rows = |is: bool| if is { 2 * layout.slot_rows() } else { 0 };
        let for_head = |rows: usize| if purpose == Purpose::Prompt { 0 } else { rows };
        let for_backward = |rows: usize| if purpose.has_backward() { rows } else { 0 };

        let embedded = entry("embedded", Saved, n, c)?;
        let own_blocks = if purpose == Purpose::Training { config.n_layer } else { 1 };
        let mut blocks = Vec::with_capacity(config.n_layer);
        for layer in 0..own_blocks {
            // A block that all layers share has the size of the largest.
            let is_compressed = match purpose {
                Purpose::Training => config.attention(layer) == AttentionKind::Compressed,
                Purpose::Recomputation | Purpose::Inference | Purpose::Prompt => any_compressed,
            };
            blocks.push(Block {
                qkv: entry("qkv", Saved, n, 3 * c)?,
                compressed: entry("compressed", Saved, compressed_rows(is_compressed), c)?,
                log_sum_exp: entry("log_sum_exp", Saved, 1, n * h)?,
                attention: entry("attention", Saved, n, c)?,
                sum_1: entry("sum_1", Saved, n, c)?,
                stats_1: entry("stats_1", Saved, 1, 2 * n)?,
                normed: entry("normed", Saved, n, c)?,
                pre_gelu: entry("pre_gelu", Saved, n, 4 * c)?,
                post_gelu: entry("post_gelu", Saved, n, 4 * c)?,
                sum_2: entry("sum_2", Saved, n, c)?,
                stats_2: entry("stats_2", Saved, 1, 2 * n)?,
                out: entry("out", Saved, n, c)?,
            });
        }
        // Where nothing is saved, an output is the next block's input: it is read before it is written again.
        let shared = blocks.first().cloned();
        blocks.extend(std::iter::repeat_n(shared, config.n_layer - blocks.len()).flatten());
        let recompute = purpose == Purpose::Recomputation;
        if recompute {
            let none = entry("compressed", Saved, 0, c)?;
            for (layer, block) in blocks.iter_mut().enumerate() {
                if layer > 0 {
                    block.out = entry("out", Saved, n, c)?;
                }
                if config.attention(layer) != AttentionKind::Compressed {
                    block.compressed = none.clone();
                }
            }
        }

        let dropped = if config.resid_pdrop > 0.0 { n } else { 1 };
        let [window_rows, window] = match any_compressed {
            true => kv_compress::workspace_shape(layout.slots(), c, config.kv_factor, config.kv_group_width()),
            false => [0, 1],
        };
        // Layer norms sum C columns, linear layers up to 4C.
        let partial_rows = layer_norm::partial_rows(n).max(4 * n.div_ceil(column_sum::BLOCK));
        let outputs = config.task.as_ref().map_or(0, Task::outputs);
        let b = if outputs > 0 { for_head(capacity.sequences.max(1)) } else { 0 };
        Ok(Activations {
            embedded,
            blocks,
            recompute,
            branch: entry("branch", Temporary, n, c)?,
            dx: entry("dx", Temporary, for_backward(n), c)?,
            dsum: entry("dsum", Temporary, for_backward(n), c)?,
            dbranch: entry("dbranch", Temporary, for_backward(dropped), c)?,
            dattention: entry("dattention", Temporary, for_backward(n), c)?,
            dpre_gelu: entry("dpre_gelu", Temporary, for_backward(n), 4 * c)?,
            dqkv: entry("dqkv", Temporary, for_backward(n), 3 * c)?,
            dcompressed: entry("dcompressed", Temporary, for_backward(compressed_rows(any_compressed)), c)?,
            windows: entry("windows", Temporary, window_rows, window)?,
            delta: entry("delta", Temporary, 1, for_backward(n * h))?,
            partial: entry("partial", Temporary, for_backward(partial_rows), c)?,
            parts: entry("parts", Temporary, 1, part_words(config, n, chunk, purpose))?,
            logits: entry("logits", Head, for_head(chunk), config.vocab_size)?,
            losses: entry("losses", Head, 1, for_head(n.next_multiple_of(64)))?,
            task: TaskActivations {
                states: entry("states", Head, b, c)?,
                dstates: entry("dstates", Head, for_backward(b), c)?,
                scores: entry("scores", Head, b, outputs.max(1))?,
                logits: entry("task logits", Head, b, outputs.max(1))?,
                dlogits: entry("dlogits", Head, b, outputs.max(1))?,
                losses: entry("task losses", Head, 1, b)?,
                no_bias: entry("no bias", Head, 1, outputs)?,
            },
        })
    }
}

impl Activations {
    /// Allocates the activations of training. With `recompute`, the backward pass computes each block again.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn new(device: &Device, config: &ModelConfig, capacity: Capacity, recompute: bool) -> Result<Self> {
        Self::allocate(device, config, capacity, Purpose::training(recompute))
    }

    /// Allocates the activations of a forward pass that saves nothing.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn for_inference(device: &Device, config: &ModelConfig, capacity: Capacity) -> Result<Self> {
        Self::allocate(device, config, capacity, Purpose::Inference)
    }

    /// As [`Activations::for_inference`], without the head's.
    ///
    /// # Errors
    /// [`crate::Error::Device`] past the device's limits.
    pub fn for_prompt(device: &Device, config: &ModelConfig, capacity: Capacity) -> Result<Self> {
        Self::allocate(device, config, capacity, Purpose::Prompt)
    }

    fn allocate(device: &Device, config: &ModelConfig, capacity: Capacity, purpose: Purpose) -> Result<Self> {
        let max_binding = device.caps().max_binding;
        Self::list(config, capacity, purpose, max_binding, |entry| {
            Matrix::new(device, entry.name, entry.rows, entry.columns)
        })
    }
}

impl Activations<Entry> {
    /// The activations of training as entries, for a device that binds as much as any tensor has; `each` sees them in the
    /// order of allocation.
    pub fn plan(config: &ModelConfig, capacity: Capacity, recompute: bool, mut each: impl FnMut(&Entry)) -> Self {
        let Ok(entries) = Self::list(config, capacity, Purpose::training(recompute), u64::MAX, |entry| {
            each(&entry);
            Ok::<_, Infallible>(entry)
        });
        entries
    }
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
