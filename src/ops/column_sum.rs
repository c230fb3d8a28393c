//! Sums over rows: the gradients of biases, and the second pass of every partial sum.

use super::{Io, RowCount, StepValues, groups, shapes};
use crate::gpu::program::Rows;
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

fn variant(io: Io, add: bool) -> Variant {
    io.apply(Variant::new("column_sum", SOURCE)).constant("ADD", add.into())
}

/// Every variant that can come up on an adapter.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    Io::all(caps).into_iter().flat_map(|io| [variant(io, false), variant(io, true)]).collect()
}

/// Records out [1, C] += the column sums of the live rows of x [.., C], by way of `partial` [rows / 64, C].
///
/// # Errors
/// [`crate::Error::Kernel`].
pub fn column_sum(
    rec: &mut Recorder<StepValues>,
    io: Io,
    [x, partial, out]: [&Matrix; 3],
    rows: RowCount,
) -> Result<()> {
    let partial = &Matrix::over(partial.view.clone(), x.rows.div_ceil(BLOCK), x.columns);
    let n = rows.at(rec.capacity());
    let all = [(x, n, x.columns), (partial, groups(n, BLOCK as u32), x.columns), (out, 1, x.columns)];
    shapes("column_sum", &all, &[])?;
    pass(rec, io, x, partial, false, move |live| rows.at(live), BLOCK as u32)?;
    add(rec, io, partial, move |live| groups(rows.at(live), BLOCK as u32), out)
}

/// Records out [1, C] += the column sums of the first `rows` rows of x.
pub(super) fn add(
    rec: &mut Recorder<StepValues>,
    io: Io,
    x: &Matrix,
    rows: impl Fn(&StepValues) -> u32 + Send + Sync + Copy + 'static,
    out: &Matrix,
) -> Result<()> {
    pass(rec, io, x, out, true, rows, u32::MAX)
}

fn pass(
    rec: &mut Recorder<StepValues>,
    io: Io,
    x: &Matrix,
    out: &Matrix,
    add: bool,
    rows: impl Fn(&StepValues) -> u32 + Send + Sync + Copy + 'static,
    block: u32,
) -> Result<()> {
    let packs = dims::pitch(x.columns) as u32 / 8;
    let live_rows = move || -> Rows<StepValues> { Box::new(rows) };
    let out = if add { Bind::Update(&out.view) } else { Bind::Write(&out.view) };
    rec.dispatch(&variant(io, add), &[io.input(x, &live_rows), out], move |live| {
        let rows = rows(live);
        let block = block.min(rows.max(1));
        let params = Params { rows, packs, block, pad: 0 };
        Launch::new(params, [groups(packs, io.group()), groups(rows, block), 1])
    })
}
