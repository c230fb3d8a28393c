//! Cross-entropy: the loss of each row, and the gradient in place of the logits, for a chunk of the batch's rows.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const SOURCE: &str = include_str!("../../shaders/cross_entropy.wgsl");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
    columns: u32,
    scale: f32,
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::trusted("cross_entropy", SOURCE))).collect()
}

/// Operands of one chunk.
pub struct CrossEntropy<'a> {
    /// [R, V]; becomes dlogits.
    pub logits: &'a Matrix,
    /// R targets; `u32::MAX` is no target.
    pub targets: &'a View,
    /// Out: R losses, 0 without a target.
    pub losses: &'a View,
    /// Which rows of the batch the chunk has.
    pub rows: RowCount,
    /// Weight of this loss: λ of L3 in fine-tuning (docs/spec.md section 3), 1 in pretraining.
    pub weight: f32,
}

/// Records the losses and dlogits = weight·(softmax − onehot)/targets, with the targets of the whole optimizer step.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn cross_entropy(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &CrossEntropy) -> Result<()> {
    let columns = call.logits.columns as u32;
    let packs = dims::pitch(call.logits.columns) as u32 / 8;
    let (rows, weight) = (call.rows, call.weight);
    let n = rows.at(recorder.capacity());
    let lists = [(call.targets, n as usize), (call.losses, n as usize)];
    check_shapes("cross_entropy", &[(call.logits, n, call.logits.columns)], &lists)?;
    let mut binds = vec![Bind::Update(&call.logits.view), Bind::Read(call.targets), Bind::Write(call.losses)];
    binds.extend(access.updated(call.logits, rows));
    recorder.dispatch(&access.apply(Variant::trusted("cross_entropy", SOURCE)), &binds, move |values| {
        let count = rows.at(values);
        let params = Params { rows: count, packs, columns, scale: weight / values.loss_counts.targets.max(1) as f32 };
        Launch::new(params, grid_of(count))
    })
}
