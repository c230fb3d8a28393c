//! x = tokens_embed\[id\] + positions_embed\[position\], and its backward pass. Each row of a table's gradient has one
//! owner, whose groups sum it.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const FORWARD: &str = include_str!("../../shaders/embedding.wgsl");
const BACKWARD: &str = include_str!("../../shaders/embedding_backward.wgsl");
const BACKWARD_IMAGE: &str = include_str!("../../shaders/embedding_backward_image.wgsl");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    owners: u32,
    quads: u32,
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::trusted("embedding", FORWARD))).collect()
}

/// As [`variants`], of the backward pass.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    let wide = |access| [33, 768].map(|columns| backward_variant(access, columns).0);
    RowAccess::all(caps).into_iter().flat_map(wide).collect()
}

/// The backward pass for C columns, and the groups of an owner.
fn backward_variant(access: RowAccess, columns: usize) -> (Variant, u32) {
    let quads = dims::pitch(columns) as u32 / 4;
    match access {
        RowAccess::Image => (access.apply(Variant::trusted("embedding_backward", BACKWARD_IMAGE)), 1),
        RowAccess::Buffer { .. } => {
            let width = if quads > 16 { 32 } else { 16 };
            let variant = Variant::trusted("embedding_backward", BACKWARD);
            (variant.constant("QUADS", width).constant("LANES", 256 / width), quads.div_ceil(width))
        }
    }
}

/// Operands of the forward pass.
pub struct Embedding<'a> {
    /// [V, C]
    pub tokens: &'a Matrix,
    /// [P, C]
    pub positions_embed: &'a Matrix,
    /// N token ids.
    pub ids: &'a View,
    /// N positions.
    pub positions: &'a View,
    /// Out [N, C].
    pub x: &'a Matrix,
}

/// Records x = `tokens_embed[id] + positions_embed[position]`.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn embedding(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &Embedding) -> Result<()> {
    let (n, c) = (recorder.capacity().rows, call.x.columns);
    check_shapes(
        "embedding",
        &[
            MatrixNeed { matrix: call.tokens, rows: 1, columns: c },
            MatrixNeed { matrix: call.positions_embed, rows: 1, columns: c },
            MatrixNeed { matrix: call.x, rows: n, columns: c },
        ],
        &[call.ids, call.positions].map(|list| ListNeed { list, words: n as usize }),
    )?;
    let packs = dims::pitch(c) as u32 / 8;
    let all = |m: &Matrix| RowCount::Fixed(m.rows as u32);
    let (token_rows, position_rows) = (all(call.tokens), all(call.positions_embed));
    let binds = [
        access.input(call.tokens, token_rows),
        access.input(call.positions_embed, position_rows),
        Bind::Read(call.ids),
        Bind::Read(call.positions),
        Bind::Write(&call.x.view),
    ];
    recorder.dispatch(&access.apply(Variant::trusted("embedding", FORWARD)), &binds, move |values| {
        Launch::new(Params { rows: values.rows, packs }, grid_of(values.rows))
    })
}

/// Which table a backward pass computes the gradient of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Rows of the same token id.
    Tokens,
    /// Rows of the same position.
    Positions,
}

impl Table {
    fn owners(self, values: &StepValues) -> u32 {
        match self {
            Table::Tokens => values.token_owners,
            Table::Positions => values.position_owners,
        }
    }
}

/// Operands of the backward pass.
pub struct EmbeddingBackward<'a> {
    /// Which table.
    pub table: Table,
    /// [N, C]
    pub dx: &'a Matrix,
    /// (table row, first, end) for each owner: its range in `rows`.
    pub owners: &'a View,
    /// N rows, sorted by owner.
    pub rows: &'a View,
    /// += [V or P, C]
    pub gradient: &'a Matrix,
}

/// Records gradient += the sums of dx over the rows of each owner.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn backward(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &EmbeddingBackward) -> Result<()> {
    let (capacity, c, table) = (*recorder.capacity(), call.dx.columns, call.table);
    check_shapes(
        "embedding_backward",
        &[
            MatrixNeed { matrix: call.dx, rows: capacity.rows, columns: c },
            MatrixNeed { matrix: call.gradient, rows: 1, columns: c },
        ],
        &[
            ListNeed { list: call.owners, words: 3 * table.owners(&capacity) as usize },
            ListNeed { list: call.rows, words: capacity.rows as usize },
        ],
    )?;
    let quads = dims::pitch(c) as u32 / 4;
    let binds = [
        access.input(call.dx, RowCount::Rows),
        Bind::Read(call.owners),
        Bind::Read(call.rows),
        Bind::Update(&call.gradient.view),
    ];
    let (variant, groups) = backward_variant(access, c);
    recorder.dispatch(&variant, &binds, move |values| {
        let owners = table.owners(values);
        let [x, y, _] = grid_of(owners);
        Launch::new(BackwardParams { owners, quads }, [x, y, groups])
    })
}
