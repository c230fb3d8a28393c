//! Sums over rows: the gradients of biases, and the second pass of every partial sum.

use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant};
use crate::{Result, dims};

const SOURCE: &str = include_str!("../../shaders/column_sum.wgsl");

/// Rows that one group of the first pass adds up.
pub const BLOCK: usize = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    packs: u32,
    block: u32,
    pad: u32,
}

fn variant(access: RowAccess, add: bool) -> Variant {
    access.apply(Variant::trusted("column_sum", SOURCE)).constant("ADD", add.into())
}

/// Every variant that can come up on an adapter.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().flat_map(|access| [variant(access, false), variant(access, true)]).collect()
}

/// Records out [1, C] += the column sums of the live rows of x [.., C], by way of `partial` [rows / 64, C].
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn column_sum(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    [x, partial, out]: [&Matrix; 3],
    rows: RowCount,
) -> Result<()> {
    let partial = &Matrix::over(partial.view.clone(), x.rows.div_ceil(BLOCK), x.columns);
    let n = rows.at(rec.capacity());
    let all = [(x, n, x.columns), (partial, n.div_ceil(BLOCK as u32), x.columns), (out, 1, x.columns)];
    check_shapes("column_sum", &all, &[])?;
    pass(rec, access, x, partial, false, rows.into(), BLOCK as u32)?;
    add(rec, access, partial, rows.blocks(BLOCK as u32), out)
}

/// Records out [1, C] += the column sums of the first `rows` rows of x.
pub(super) fn add(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    x: &Matrix,
    rows: BlockCount,
    out: &Matrix,
) -> Result<()> {
    pass(rec, access, x, out, true, rows, u32::MAX)
}

fn pass(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    x: &Matrix,
    out: &Matrix,
    add: bool,
    rows: BlockCount,
    block: u32,
) -> Result<()> {
    let packs = dims::pitch(x.columns) as u32 / 8;
    let out = if add { Bind::Update(&out.view) } else { Bind::Write(&out.view) };
    rec.dispatch(&variant(access, add), &[access.input(x, rows), out], move |values| {
        let rows = rows.at(values);
        let block = block.min(rows.max(1));
        let params = Params { rows, packs, block, pad: 0 };
        Launch::new(params, [packs.div_ceil(access.group()), rows.div_ceil(block), 1])
    })
}
