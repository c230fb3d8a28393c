//! y = LN(x + dropout(branch)), and its backward pass with partial sums of the gradients of gain and bias, and of the bias that
//! the branch ends with.

use super::column_sum;
use super::grid::grid_of;
use super::row_access::{RowAccess, rows_a_group};
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result, dims, philox};

/// The shader of one direction for GPUs, and for CPU adapters.
#[derive(Clone, Copy)]
struct File {
    stem: &'static str,
    buffer: &'static str,
    image: &'static str,
}

const FORWARD: File = File {
    stem: "layer_norm",
    buffer: include_str!("../../shaders/layer_norm.wgsl"),
    image: include_str!("../../shaders/layer_norm_image.wgsl"),
};
const BACKWARD: File = File {
    stem: "layer_norm_backward",
    buffer: include_str!("../../shaders/layer_norm_backward.wgsl"),
    image: include_str!("../../shaders/layer_norm_backward_image.wgsl"),
};

/// Sums that the backward pass makes of each column: of the branch's gradient, dgain and dbias.
const SUMS: usize = 3;
/// Most blocks of rows in the backward pass, up to 8 rows a block: enough for all multiprocessors of a GPU, and few partial
/// sums.
const MOST_BLOCKS: u32 = 1024;

/// Rows whose gradients of gain and bias one group adds up, for N rows at capacity.
fn block_rows(access: RowAccess, rows: u32) -> u32 {
    let block = rows.div_ceil(MOST_BLOCKS).next_multiple_of(8).max(8);
    if access == RowAccess::Image { block.max(32) } else { block }
}

/// Rows of C floats that the workspace of partial sums has, for N rows at capacity.
pub fn partial_rows(rows: usize) -> usize {
    SUMS * rows.div_ceil(block_rows(RowAccess::buffer(1), rows as u32) as usize)
}

#[repr(C)]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    quads: u32,
    columns: u32,
    block: u32,
    eps: f32,
    scale: f32,
    threshold: u32,
    place: u32,
    key: [u32; 2],
    positions: u32,
    sequences: u32,
}

fn variant(access: RowAccess, file: File, columns: usize, dropout: bool) -> Variant {
    let (group, quads) = (access.group(), dims::pitch(columns) as u32 / 4);
    let variant = match access {
        RowAccess::Image => {
            access.apply(Variant::trusted(file.stem, file.image)).constant("PACKS", (quads / 2).div_ceil(group))
        }
        RowAccess::Buffer { .. } => RowAccess::rows_of_lanes(Variant::trusted(file.stem, file.buffer), group)
            .constant("QUADS", quads.div_ceil(group)),
    };
    variant.constant("DROPOUT", dropout.into())
}

/// Every variant that an adapter can run, for some widths.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    every(caps, FORWARD)
}

/// As [`variants`], of the backward pass.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    every(caps, BACKWARD)
}

fn every(caps: &Caps, file: File) -> Vec<Variant> {
    let wide = |access| {
        [33, 768, 1600].into_iter().flat_map(move |c| [false, true].map(|dropout| variant(access, file, c, dropout)))
    };
    RowAccess::all(caps).into_iter().flat_map(wide).collect()
}

/// Dropout of the branch before it is added.
#[derive(Clone, Copy)]
pub struct BranchDropout<'a> {
    /// The view that `positions` and `sequences` lie in, as the kernel binds it.
    pub table: &'a View,
    /// N positions.
    pub positions: &'a View,
    /// The number of each row's sequence in the whole optimizer step.
    pub sequences: &'a View,
    /// Dropout rate, above 0.
    pub rate: f32,
    /// The place of the mask: [`philox::place`].
    pub place: u32,
}

impl BranchDropout<'_> {
    /// The parameters of the mask, apart from the key of the step.
    fn params(&self, stem: &str, rows: u32, params: Params) -> Result<Params> {
        check_shapes(stem, &[], &[self.positions, self.sequences].map(|list| ListNeed { list, words: rows as usize }))?;
        let start = |list: &View| {
            let error = || Error::kernel(stem, "not a part of the table").at(&*list.name);
            list.start_in(self.table).ok_or_else(error)
        };
        Ok(Params {
            threshold: philox::threshold(self.rate),
            scale: 1.0 / (1.0 - self.rate),
            place: self.place,
            positions: start(self.positions)?,
            sequences: start(self.sequences)?,
            ..params
        })
    }
}

/// Operands of the forward pass.
pub struct LayerNorm<'a> {
    /// [N, C]
    pub x: &'a Matrix,
    /// [N, C], added to `x` first.
    pub branch: &'a Matrix,
    /// Dropout of `branch`; `None` for none.
    pub dropout: Option<BranchDropout<'a>>,
    /// [1, C]
    pub gain: &'a Matrix,
    /// [1, C]
    pub bias: &'a Matrix,
    /// ε
    pub eps: f32,
    /// Out: x + dropout(branch) [N, C].
    pub sum: &'a Matrix,
    /// Out [N, C].
    pub y: &'a Matrix,
    /// Out: mean and rstd a row, 2N.
    pub stats: &'a View,
}

/// Records the forward pass.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn layer_norm(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &LayerNorm) -> Result<()> {
    let (n, columns) = (recorder.capacity().rows, call.x.columns);
    let wide = [call.x, call.branch, call.sum, call.y].map(|matrix| MatrixNeed { matrix, rows: n, columns });
    let one_row = [call.gain, call.bias].map(|matrix| MatrixNeed { matrix, rows: 1, columns });
    let all = [&wide[..], &one_row].concat();
    check_shapes("layer_norm", &all, &[ListNeed { list: call.stats, words: 2 * n as usize }])?;
    let (rows, one) = (RowCount::Rows, RowCount::Fixed(1));
    let mut binds = vec![
        access.input(call.x, rows),
        access.input(call.branch, rows),
        access.input(call.gain, one),
        access.input(call.bias, one),
        Bind::Write(&call.sum.view),
        Bind::Write(&call.y.view),
        Bind::Write(call.stats),
    ];
    binds.extend(call.dropout.map(|dropout| Bind::Read(dropout.table)));
    let quads = dims::pitch(columns) as u32 / 4;
    let mut params = Params { quads, columns: columns as u32, eps: call.eps, ..Params::default() };
    if let Some(dropout) = &call.dropout {
        params = dropout.params("layer_norm", n, params)?;
    }
    let a_group = if access == RowAccess::Image { 1 } else { rows_a_group(access.group()) };
    let variant = variant(access, FORWARD, columns, call.dropout.is_some());
    recorder.dispatch(&variant, &binds, move |values| {
        let params = Params { rows: values.rows, key: values.dropout_key, ..params };
        Launch::new(params, grid_of(values.rows.div_ceil(a_group)))
    })
}

/// The gradients of the parameters around a layer norm.
#[derive(Clone, Copy)]
pub struct NormGradients<'a> {
    /// Of the bias that the branch ends with, += [1, C].
    pub branch_bias: &'a Matrix,
    /// += [1, C]
    pub gain: &'a Matrix,
    /// += [1, C]
    pub bias: &'a Matrix,
}

/// Where the backward pass writes the gradient of a branch behind dropout.
#[derive(Clone, Copy)]
pub struct BranchBackward<'a> {
    /// The dropout of the forward pass.
    pub dropout: BranchDropout<'a>,
    /// Out: the gradient of the branch [N, C].
    pub dbranch: &'a Matrix,
}

/// Operands of the backward pass.
pub struct LayerNormBackward<'a> {
    /// [N, C]
    pub dy: &'a Matrix,
    /// x + dropout(branch), from the forward pass [N, C].
    pub sum: &'a Matrix,
    /// Mean and rstd a row, from the forward pass, 2N.
    pub stats: &'a View,
    /// [1, C]
    pub gain: &'a Matrix,
    /// Out: the gradient of x, and of the branch without dropout [N, C].
    pub dsum: &'a Matrix,
    /// The branch's gradient; `None` without dropout.
    pub branch: Option<BranchBackward<'a>>,
    /// `None` for a frozen layer.
    pub gradients: Option<NormGradients<'a>>,
    /// Workspace of partial sums, [[`partial_rows`], C].
    pub partial: &'a Matrix,
}

/// Records the backward pass.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn backward(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &LayerNormBackward) -> Result<()> {
    let (n, columns) = (recorder.capacity().rows, call.dy.columns);
    let mut matrices = [call.dy, call.sum, call.dsum].map(|matrix| MatrixNeed { matrix, rows: n, columns }).to_vec();
    matrices.push(MatrixNeed { matrix: call.gain, rows: 1, columns });
    matrices.push(MatrixNeed { matrix: call.partial, rows: partial_rows(n as usize) as u32, columns });
    matrices.extend(call.branch.map(|branch| MatrixNeed { matrix: branch.dbranch, rows: n, columns }));
    if let Some(NormGradients { branch_bias, gain, bias }) = call.gradients {
        matrices.extend([branch_bias, gain, bias].map(|matrix| MatrixNeed { matrix, rows: 1, columns }));
    }
    check_shapes("layer_norm_backward", &matrices, &[ListNeed { list: call.stats, words: 2 * n as usize }])?;
    let block = block_rows(access, n);
    let sums = SUMS * dims::pitch(columns);
    let partial = Matrix::over(call.partial.view.clone(), n.div_ceil(block) as usize, sums);
    let (rows, one) = (RowCount::Rows, RowCount::Fixed(1));
    let mut binds = vec![
        access.input(call.dy, rows),
        access.input(call.sum, rows),
        access.input(call.gain, one),
        Bind::Read(call.stats),
        Bind::Write(&call.dsum.view),
        Bind::Write(&partial.view),
    ];
    let quads = dims::pitch(columns) as u32 / 4;
    let mut params = Params { quads, columns: columns as u32, block, ..Params::default() };
    if let Some(BranchBackward { dropout, dbranch }) = &call.branch {
        params = dropout.params("layer_norm_backward", n, params)?;
        binds.extend([Bind::Write(&dbranch.view), Bind::Read(dropout.table)]);
    }
    recorder.dispatch(&variant(access, BACKWARD, columns, call.branch.is_some()), &binds, move |values| {
        let params = Params { rows: values.rows, key: values.dropout_key, ..params };
        Launch::new(params, [values.rows.div_ceil(block), 1, 1])
    })?;
    let Some(NormGradients { branch_bias, gain, bias }) = call.gradients else { return Ok(()) };
    column_sum::add_each(recorder, access, &partial, rows.blocks(block), &[branch_bias, gain, bias])
}
