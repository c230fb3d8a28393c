//! Dropout in place, with masks from Philox. The same kernel runs forward on x and backward on dx.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims, philox};

const SOURCE: &str = include_str!("../../shaders/dropout.wgsl");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
    threshold: u32,
    place: u32,
    key: [u32; 2],
    scale: f32,
    pad: u32,
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::trusted("dropout", SOURCE))).collect()
}

/// Operands of one application.
pub struct Dropout<'a> {
    /// [N, C], in place.
    pub x: &'a Matrix,
    /// N positions.
    pub positions: &'a View,
    /// The number of each row's sequence in the whole optimizer step.
    pub sequences: &'a View,
    /// How many rows are live.
    pub rows: RowCount,
    /// Dropout rate.
    pub rate: f32,
    /// The place of the mask: [`philox::place`].
    pub place: u32,
}

/// Records dropout of the live rows. Records nothing for a rate of 0.
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn dropout(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &Dropout) -> Result<()> {
    if call.rate <= 0.0 {
        return Ok(());
    }
    let count = call.rows;
    let n = count.at(recorder.capacity());
    let lists = [call.positions, call.sequences].map(|list| ListNeed { list, words: n as usize });
    check_shapes("dropout", &[MatrixNeed { matrix: call.x, rows: n, columns: call.x.columns }], &lists)?;
    let packs = dims::pitch(call.x.columns) as u32 / 8;
    let mut binds = vec![Bind::Update(&call.x.view), Bind::Read(call.positions), Bind::Read(call.sequences)];
    binds.extend(access.updated(call.x, count));
    let (threshold, place, scale) = (philox::threshold(call.rate), call.place, 1.0 / (1.0 - call.rate));
    recorder.dispatch(&access.apply(Variant::trusted("dropout", SOURCE)), &binds, move |values| {
        let rows = count.at(values);
        let params = Params { rows, packs, threshold, place, key: values.dropout_key, scale, pad: 0 };
        Launch::new(params, grid_of(rows))
    })
}
