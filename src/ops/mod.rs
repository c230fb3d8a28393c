//! One file an op: its kernels, Specs, parameters and launcher. `choose(caps, …) -> Spec` holds all policy.

use crate::data::batch::LossCounts;
use crate::gpu::program::Rows;
use crate::gpu::{Bind, Caps, Matrix, Variant, View};
use crate::{Error, Result, dims};

pub mod attention;
pub mod cache;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather_rows;
pub mod kernels;
pub mod kv_compress;
pub mod layer_norm;
pub mod layout;
pub mod matmul;
pub mod matvec;
pub mod optimizer;
pub mod task_loss;
pub mod tiles;

/// The numbers that change from run to run of a program: sizes from the batch's layout, and what varies by step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepValues {
    /// N, rows of the packed batch.
    pub rows: u32,
    /// Compressed slots of all sequences.
    pub slots: u32,
    /// Tokens that fill no slot.
    pub tails: u32,
    /// Sequences with a token: each has a null key.
    pub nulls: u32,
    /// Sequences whose last rows a task's head reads.
    pub sequences: u32,
    /// A task's examples.
    pub examples: u32,
    /// Query tiles of the attention work lists, by [`layout::kind_index`].
    pub query_tiles: [u32; 3],
    /// Key tiles, by [`layout::kind_index`].
    pub key_tiles: [u32; 3],
    /// Pairs of a query and a key that the tiles visit, by [`layout::kind_index`].
    pub pairs: [f64; 3],
    /// Distinct token ids in the batch.
    pub token_owners: u32,
    /// Distinct positions in the batch.
    pub position_owners: u32,
    /// What the whole step learns from (over its micro-batches).
    pub real: LossCounts,
    /// Steps done, this one included.
    pub step: u32,
    /// Updates done, this one included: AdamW's t. A step without targets is none.
    pub updates: u32,
    /// The learning rate.
    pub lr: f64,
    /// The step's dropout key.
    pub key: [u32; 2],
}

/// How many rows a tensor has, live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCount {
    /// Always so many.
    Fixed(u32),
    /// N.
    Rows,
    /// Compressed slots.
    Slots,
    /// Null keys.
    Nulls,
    /// Sequences that a task's head reads.
    Sequences,
    /// A task's examples.
    Examples,
    /// Rows `skip` to `skip + at_most` of N: a chunk of the head.
    Chunk {
        /// Rows before it.
        skip: u32,
        /// Its size at capacity.
        at_most: u32,
    },
}

impl RowCount {
    /// The number for these live sizes.
    pub fn at(self, live: &StepValues) -> u32 {
        match self {
            RowCount::Fixed(n) => n,
            RowCount::Rows => live.rows,
            RowCount::Slots => live.slots,
            RowCount::Nulls => live.nulls,
            RowCount::Sequences => live.sequences,
            RowCount::Examples => live.examples,
            RowCount::Chunk { skip, at_most } => live.rows.saturating_sub(skip).min(at_most),
        }
    }

    fn rows(self) -> Rows<StepValues> {
        Box::new(move |live| self.at(live))
    }
}

/// Some of the N rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// Rows before it.
    pub skip: usize,
    /// Rows of it, at capacity.
    pub count: usize,
    /// How many are live.
    pub extent: RowCount,
}

impl RowRange {
    /// The fewest ranges in which the rows of all `matrices`, which have as many, can be bound and, where operands are read
    /// as images, be images.
    pub fn of_all(caps: &Caps, matrices: &[&Matrix]) -> Vec<RowRange> {
        let rows = matrices.iter().map(|m| m.rows).max().unwrap_or(0);
        let bytes = matrices.iter().map(|m| m.pitch() * 4).max().unwrap_or(1);
        let bound = usize::try_from(caps.max_binding).unwrap_or(usize::MAX) / bytes.max(1);
        let most = if caps.reads_images() { bound.min(caps.max_texture as usize) } else { bound };
        if rows <= most {
            return vec![RowRange { skip: 0, count: rows, extent: RowCount::Rows }];
        }
        // Whole tiles and whole blocks of partial sums.
        let most = (most / 64).max(1) * 64;
        let range = |skip| {
            let count = most.min(rows - skip);
            RowRange { skip, count, extent: RowCount::Chunk { skip: skip as u32, at_most: count as u32 } }
        };
        (0..rows).step_by(most).map(range).collect()
    }

    /// These rows of a matrix.
    pub fn of(&self, matrix: &Matrix) -> Matrix {
        matrix.rows_from(self.skip, self.count)
    }
}

/// How a row-wise kernel reads its tensors: from buffers, two vec4 at a time; or through image twins, which is the one
/// quick load that software drivers have, with 64-bit stores. Decides the group's width too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Io {
    /// Storage buffers, a group of this many invocations (a power of two).
    Buffer {
        /// Invocations a group.
        group: u32,
    },
    /// Image twins, a group of one subgroup of eight.
    Image,
}

impl Io {
    /// The rule: images where they are quicker and the tensors fit into textures; 32 invocations a row up to 256 columns,
    /// 64 up to 1024, else 256.
    pub fn choose(caps: &Caps, columns: usize, tensors: &[&Matrix]) -> Io {
        let fits = |m: &&Matrix| m.rows <= caps.max_texture as usize && m.pitch() / 4 <= caps.max_texture as usize;
        if caps.reads_images() && tensors.iter().all(fits) {
            return Io::Image;
        }
        Io::buffer(columns)
    }

    /// The rule where images do not pay.
    pub fn buffer(columns: usize) -> Io {
        Io::Buffer {
            group: match columns {
                0..=256 => 32,
                257..=1024 => 64,
                _ => 256,
            },
        }
    }

    /// The rule for loops over scalars, which no image holds: only the way of adding up differs.
    pub fn scalars(caps: &Caps) -> Io {
        if caps.reads_images() { Io::Image } else { Io::Buffer { group: 256 } }
    }

    /// Every Io that an adapter can run.
    pub fn all(caps: &Caps) -> Vec<Io> {
        let mut all = vec![Io::Buffer { group: 32 }, Io::Buffer { group: 64 }, Io::Buffer { group: 256 }];
        all.extend(caps.reads_images().then_some(Io::Image));
        all
    }

    /// Invocations a group.
    pub fn group(self) -> u32 {
        match self {
            Io::Buffer { group } => group,
            Io::Image => 8,
        }
    }

    /// The variant with this Io's constants and library files.
    pub fn apply(self, variant: Variant) -> Variant {
        let variant = variant.constant("GROUP", self.group());
        match self {
            Io::Buffer { .. } => variant
                .import("pack", "pack")
                .import("input", "input_buffer")
                .import("update", "update_buffer")
                .import("reduce", "reduce_shared"),
            Io::Image => variant
                .import("pack", "pack_u64")
                .import("input", "input_image")
                .import("update", "update_image")
                .import("reduce", "reduce_subgroup"),
        }
    }

    /// Binds an `#input`.
    pub(crate) fn input<'a>(self, matrix: &'a Matrix, rows: &'a dyn Fn() -> Rows<StepValues>) -> Bind<'a, StepValues> {
        match self {
            Io::Buffer { .. } => Bind::Read(&matrix.view),
            Io::Image => Bind::Image(matrix, rows),
        }
    }

    /// The image that an `#update` reads, bound after all others.
    pub(crate) fn updated<'a>(
        self,
        matrix: &'a Matrix,
        rows: &'a dyn Fn() -> Rows<StepValues>,
    ) -> Option<Bind<'a, StepValues>> {
        (self == Io::Image).then_some(Bind::Image(matrix, rows))
    }
}

/// Refuses tensors that are smaller than what a kernel will touch at capacity, since it checks no bounds: matrices with
/// least rows and exact columns, lists with least words.
pub(crate) fn shapes(kernel: &str, matrices: &[(&Matrix, u32, usize)], lists: &[(&View, usize)]) -> Result<()> {
    let error = |message: String| Err(Error::Kernel { kernel: kernel.into(), message });
    for (m, rows, columns) in matrices {
        let name = &m.view.name;
        if m.columns != *columns || m.rows < *rows as usize {
            return error(format!("`{name}` is [{}, {}]: expected [{rows} at least, {columns}]", m.rows, m.columns));
        }
        let words = dims::floats(*rows as usize, *columns);
        if m.view.words < words as u64 {
            return error(format!("`{name}` has {} words: expected {words} at least", m.view.words));
        }
    }
    match lists.iter().find(|(list, words)| list.words < *words as u64) {
        Some((list, words)) => error(format!("`{}` has {} words: expected {words} at least", list.name, list.words)),
        None => Ok(()),
    }
}

/// A grid of `n` groups, folded into y: what shaders read back as `group.y * 32768 + group.x`.
pub(crate) fn fold(n: u32) -> [u32; 3] {
    if n <= 32768 { [n, 1, 1] } else { [32768, n.div_ceil(32768), 1] }
}

/// `ceil(a / b)` for grids.
pub(crate) fn groups(a: u32, b: u32) -> u32 {
    a.div_ceil(b)
}

/// A Spec of any op, so that a case can be forced to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// A product's file and tile.
    Matmul(matmul::Spec),
    /// The file of a product of few rows.
    Matvec(matvec::Spec),
    /// Attention's files.
    Attention(attention::Spec),
    /// Where a cache lies.
    Cache(cache::Spec),
    /// How a row-wise kernel reads.
    Row(Io),
}

impl Spec {
    /// The error for a Spec given to another op's case.
    pub fn foreign(self, op: &str) -> crate::Error {
        crate::Error::Kernel { kernel: op.into(), message: format!("{self:?} is a Spec of another kernel") }
    }
}

/// A registered kernel: its stem, and every variant that can come up on an adapter.
pub struct Kernel {
    /// The op's stem.
    pub op: &'static str,
    /// Its variants.
    pub variants: fn(&Caps) -> Vec<Variant>,
}

/// Every kernel. One that is not here does not exist: tests, benches and `wgpt check` walk this list.
pub const ALL: &[Kernel] = &[
    Kernel { op: "embedding", variants: embedding::variants },
    Kernel { op: "embedding_backward", variants: embedding::backward_variants },
    Kernel { op: "matmul", variants: matmul::variants },
    Kernel { op: "matvec", variants: matvec::variants },
    Kernel { op: "attention", variants: attention::variants },
    Kernel { op: "attention_backward", variants: attention::backward_variants },
    Kernel { op: "kv_compress", variants: kv_compress::variants },
    Kernel { op: "kv_compress_backward", variants: kv_compress::backward_variants },
    Kernel { op: "gather_rows", variants: gather_rows::variants },
    Kernel { op: "scatter_rows_add", variants: gather_rows::scatter_variants },
    Kernel { op: "attention_decode", variants: cache::decode_variants },
    Kernel { op: "cache_append", variants: cache::append_variants },
    Kernel { op: "layer_norm", variants: layer_norm::variants },
    Kernel { op: "layer_norm_backward", variants: layer_norm::backward_variants },
    Kernel { op: "column_sum", variants: column_sum::variants },
    Kernel { op: "dropout", variants: dropout::variants },
    Kernel { op: "cross_entropy", variants: cross_entropy::variants },
    Kernel { op: "task_loss", variants: task_loss::variants },
    Kernel { op: "global_norm", variants: optimizer::norm_variants },
    Kernel { op: "step_state", variants: optimizer::state_variants },
    Kernel { op: "adamw", variants: optimizer::adamw_variants },
];
