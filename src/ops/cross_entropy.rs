//! Cross-entropy: the loss of each row, and the gradient in place of the logits, for a chunk of the batch's rows.

use super::grid::grid_of;
use super::row_access::{RowAccess, rows_a_group};
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{AdapterKind, Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const BUFFER: &str = include_str!("../../shaders/cross_entropy.wgsl");
const IMAGE: &str = include_str!("../../shaders/cross_entropy_image.wgsl");

/// Vectors of four columns that a lane can hold in registers.
const MOST_HELD: u32 = 8;
/// Invocations of a group for a row that registers do not hold: so many that few rows are read at a time, which then stay in
/// the cache until they are read again.
const WIDE: u32 = 1024;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    quads: u32,
    columns: u32,
    scale: f32,
}

/// The lanes of a row on GPUs, and the vectors that a lane holds; none if it reads them twice.
fn lanes(caps: &Caps, group: u32, quads: u32) -> (u32, u32) {
    let wide = if caps.kind == AdapterKind::Discrete && caps.max_workgroup_size >= WIDE { WIDE } else { 256 };
    match quads.div_ceil(group) {
        held if held <= MOST_HELD => (group, held),
        _ => (wide, 0),
    }
}

/// The variant for V columns, and the rows of a group.
fn variant(caps: &Caps, access: RowAccess, columns: usize) -> (Variant, u32) {
    match access {
        RowAccess::Image => (access.apply(Variant::trusted("cross_entropy", IMAGE)), 1),
        RowAccess::Buffer { group } => {
            let (lanes, held) = lanes(caps, group, dims::pitch(columns) as u32 / 4);
            let variant = RowAccess::rows_of_lanes(Variant::trusted("cross_entropy", BUFFER), lanes);
            (variant.constant("HELD", held), rows_a_group(lanes))
        }
    }
}

/// Every variant that an adapter can run, for some numbers of columns.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let wide = |access| [33, 512, 8192, 40_478].map(|columns| variant(caps, access, columns).0);
    RowAccess::all(caps).into_iter().flat_map(wide).collect()
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
    let quads = dims::pitch(call.logits.columns) as u32 / 4;
    let (rows, weight) = (call.rows, call.weight);
    let n = rows.at(recorder.capacity());
    let lists = [call.targets, call.losses].map(|list| ListNeed { list, words: n as usize });
    let logits = MatrixNeed { matrix: call.logits, rows: n, columns: call.logits.columns };
    check_shapes("cross_entropy", &[logits], &lists)?;
    let mut binds = vec![Bind::Update(&call.logits.view), Bind::Read(call.targets), Bind::Write(call.losses)];
    binds.extend(access.updated(call.logits, rows));
    let (variant, a_group) = variant(recorder.device().caps(), access, call.logits.columns);
    recorder.dispatch(&variant, &binds, move |values| {
        let count = rows.at(values);
        let params = Params { rows: count, quads, columns, scale: weight / values.loss_counts.targets.max(1) as f32 };
        Launch::new(params, grid_of(count.div_ceil(a_group)))
    })
}
