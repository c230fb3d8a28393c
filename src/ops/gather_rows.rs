//! Rows by a list of row numbers: output\[i\] = input\[index\[i\]\], and its backward pass output\[index\[i\]\] += input\[i\].

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const GATHER: &str = include_str!("../../shaders/gather_rows.wgsl");
const SCATTER: &str = include_str!("../../shaders/scatter_rows_add.wgsl");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::trusted("gather_rows", GATHER))).collect()
}

/// As [`variants`], of [`scatter_rows_add`].
pub fn scatter_variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::trusted("scatter_rows_add", SCATTER))).collect()
}

/// Operands of [`gather_rows`] and [`scatter_rows_add`].
pub struct IndexedRows<'a> {
    /// What is read: any rows for gathering, `count` rows for scattering.
    pub input: &'a Matrix,
    /// `count` row numbers, all different for scattering.
    pub index: &'a View,
    /// What is written: `count` rows for gathering, any for scattering.
    pub output: &'a Matrix,
    /// The number of rows that are moved.
    pub count: RowCount,
}

/// Records output\[i\] = input\[index\[i\]\].
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn gather_rows(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &IndexedRows) -> Result<()> {
    let x_rows = RowCount::Fixed(call.input.rows as u32);
    record(recorder, access, Variant::trusted("gather_rows", GATHER), call, [x_rows, call.count])
}

/// Records output\[index\[i\]\] += input\[i\].
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn scatter_rows_add(recorder: &mut Recorder<StepValues>, access: RowAccess, call: &IndexedRows) -> Result<()> {
    record(recorder, access, Variant::trusted("scatter_rows_add", SCATTER), call, [call.count, RowCount::Fixed(1)])
}

fn record(
    recorder: &mut Recorder<StepValues>,
    access: RowAccess,
    variant: Variant,
    call: &IndexedRows,
    [x_rows, out_rows]: [RowCount; 2],
) -> Result<()> {
    let (capacity, c, count) = (*recorder.capacity(), call.input.columns, call.count);
    let all = [
        MatrixNeed { matrix: call.input, rows: x_rows.at(&capacity), columns: c },
        MatrixNeed { matrix: call.output, rows: out_rows.at(&capacity), columns: c },
    ];
    check_shapes(variant.stem, &all, &[ListNeed { list: call.index, words: count.at(&capacity) as usize }])?;
    let packs = dims::pitch(c) as u32 / 8;
    let out = match out_rows {
        RowCount::Fixed(_) => Bind::Update(&call.output.view),
        _ => Bind::Write(&call.output.view),
    };
    recorder.dispatch(
        &access.apply(variant),
        &[access.input(call.input, x_rows), Bind::Read(call.index), out],
        move |values| {
            let rows = count.at(values);
            Launch::new(Params { rows, packs }, grid_of(rows))
        },
    )
}
