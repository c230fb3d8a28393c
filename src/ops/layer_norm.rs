//! y = LN(x + branch), and its backward pass with partial sums of the gradients of gain and bias.

use super::column_sum;
use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const FORWARD: &str = include_str!("../../shaders/layer_norm.wgsl");
const BACKWARD: &str = include_str!("../../shaders/layer_norm_backward.wgsl");

/// Rows whose gradients of gain and bias one group adds up.
pub const BLOCK: usize = 32;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
    columns: u32,
    eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BackwardParams {
    rows: u32,
    packs: u32,
    columns: u32,
    block: u32,
}

fn variant(access: RowAccess, stem: &'static str, source: &'static str, columns: usize) -> Variant {
    access
        .apply(Variant::trusted(stem, source))
        .constant("PACKS", (dims::pitch(columns) as u32 / 8).div_ceil(access.group()))
}

/// Every variant that an adapter can run, for some widths.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    every(caps, "layer_norm", FORWARD)
}

/// As [`variants`], of the backward pass.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    every(caps, "layer_norm_backward", BACKWARD)
}

fn every(caps: &Caps, stem: &'static str, source: &'static str) -> Vec<Variant> {
    let wide = |access| [33, 768, 1600].map(|columns| variant(access, stem, source, columns));
    RowAccess::all(caps).into_iter().flat_map(wide).collect()
}

/// Operands of the forward pass.
pub struct LayerNorm<'a> {
    /// [N, C]
    pub x: &'a Matrix,
    /// [N, C], added to `x` first.
    pub branch: &'a Matrix,
    /// [1, C]
    pub gain: &'a Matrix,
    /// [1, C]
    pub bias: &'a Matrix,
    /// ε
    pub eps: f32,
    /// Out: x + branch [N, C].
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
    let wide = [call.x, call.branch, call.sum, call.y].map(|m| (m, n, columns));
    let all = [&wide[..], &[(call.gain, 1, columns), (call.bias, 1, columns)]].concat();
    check_shapes("layer_norm", &all, &[(call.stats, 2 * n as usize)])?;
    let packs = dims::pitch(columns) as u32 / 8;
    let (rows, one) = (RowCount::Rows, RowCount::Fixed(1));
    let binds = [
        access.input(call.x, rows),
        access.input(call.branch, rows),
        access.input(call.gain, one),
        access.input(call.bias, one),
        Bind::Write(&call.sum.view),
        Bind::Write(&call.y.view),
        Bind::Write(call.stats),
    ];
    let eps = call.eps;
    recorder.dispatch(&variant(access, "layer_norm", FORWARD, columns), &binds, move |values| {
        Launch::new(Params { rows: values.rows, packs, columns: columns as u32, eps }, grid_of(values.rows))
    })
}

/// Matrices of gain and bias, or of their gradients.
#[derive(Clone, Copy)]
pub struct GainAndBias<'a> {
    /// [1, C], partial sums [N / [`BLOCK`], C].
    pub gain: &'a Matrix,
    /// As `gain`.
    pub bias: &'a Matrix,
}

/// Operands of the backward pass.
pub struct LayerNormBackward<'a> {
    /// [N, C]
    pub dy: &'a Matrix,
    /// x + branch, from the forward pass [N, C].
    pub sum: &'a Matrix,
    /// Mean and rstd a row, from the forward pass, 2N.
    pub stats: &'a View,
    /// [1, C]
    pub gain: &'a Matrix,
    /// Out: the gradient of both addends [N, C].
    pub dsum: &'a Matrix,
    /// += [1, C] each; `None` for a frozen layer.
    pub gradients: Option<GainAndBias<'a>>,
    /// Workspaces of partial sums, [N / [`BLOCK`], C] each.
    pub partial: GainAndBias<'a>,
}

/// Records the backward pass.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn backward(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &LayerNormBackward) -> Result<()> {
    let (n, columns) = (recorder.capacity().rows, call.dy.columns);
    let blocks = n.div_ceil(BLOCK as u32);
    let mut matrices = [call.dy, call.sum, call.dsum].map(|m| (m, n, columns)).to_vec();
    matrices.extend([
        (call.gain, 1, columns),
        (call.partial.gain, blocks, columns),
        (call.partial.bias, blocks, columns),
    ]);
    if let Some(GainAndBias { gain, bias }) = call.gradients {
        matrices.extend([(gain, 1, columns), (bias, 1, columns)]);
    }
    check_shapes("layer_norm_backward", &matrices, &[(call.stats, 2 * n as usize)])?;
    let packs = dims::pitch(columns) as u32 / 8;
    let (rows, one) = (RowCount::Rows, RowCount::Fixed(1));
    let binds = [
        access.input(call.dy, rows),
        access.input(call.sum, rows),
        access.input(call.gain, one),
        Bind::Read(call.stats),
        Bind::Write(&call.dsum.view),
        Bind::Write(&call.partial.gain.view),
        Bind::Write(&call.partial.bias.view),
    ];
    recorder.dispatch(&variant(access, "layer_norm_backward", BACKWARD, columns), &binds, move |values| {
        let block = BLOCK as u32;
        let params = BackwardParams { rows: values.rows, packs, columns: columns as u32, block };
        Launch::new(params, [values.rows.div_ceil(block), 1, 1])
    })?;
    let Some(GainAndBias { gain, bias }) = call.gradients else { return Ok(()) };
    let blocks = RowCount::Rows.blocks(BLOCK as u32);
    column_sum::add(recorder, access, call.partial.gain, blocks, gain)?;
    column_sum::add(recorder, access, call.partial.bias, blocks, bias)
}
