//! Sums of columns: the gradients of biases, and the second pass of every sum that is made by partial sums.

use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant};
use crate::{Result, dims};

const SOURCE: &str = include_str!("../../shaders/column_sum.wgsl");

/// Rows that one group adds up in the first pass.
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

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().flat_map(|access| [variant(access, false), variant(access, true)]).collect()
}

/// Operands of [`column_sum`].
#[derive(Clone, Copy)]
pub struct ColumnSum<'a> {
    /// [.., C]
    pub input: &'a Matrix,
    /// Workspace of partial sums, [rows / [`BLOCK`], C].
    pub partial: &'a Matrix,
    /// += [1, C]
    pub output: &'a Matrix,
    /// Rows of the input that are added up.
    pub rows: RowCount,
}

/// Records output += the sums of the input's columns, in two passes.
///
/// # Errors
/// [`crate::Error::Kernel`] when shapes do not match.
pub fn column_sum(rec: &mut Recorder<StepValues>, access: RowAccess, call: &ColumnSum) -> Result<()> {
    let ColumnSum { input, partial, output, rows } = *call;
    let partial = &Matrix::over(partial.view.clone(), input.rows.div_ceil(BLOCK), input.columns);
    let n = rows.at(rec.capacity());
    let matrices =
        [(input, n, input.columns), (partial, n.div_ceil(BLOCK as u32), input.columns), (output, 1, input.columns)];
    check_shapes("column_sum", &matrices, &[])?;
    let first = Pass { input, output: partial, rows: rows.into(), add: false, block: BLOCK as u32 };
    record(rec, access, first)?;
    add(rec, access, partial, rows.blocks(BLOCK as u32), output)
}

/// Records output [1, C] += the sums of the columns of `input`'s first `rows` rows, in one pass.
pub(super) fn add(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    input: &Matrix,
    rows: BlockCount,
    output: &Matrix,
) -> Result<()> {
    record(rec, access, Pass { input, output, rows, add: true, block: u32::MAX })
}

/// One pass: each block of rows is added up into one row of the output.
struct Pass<'a> {
    input: &'a Matrix,
    output: &'a Matrix,
    rows: BlockCount,
    /// Adds to the output instead of writing it.
    add: bool,
    /// Rows of a block.
    block: u32,
}

fn record(rec: &mut Recorder<StepValues>, access: RowAccess, pass: Pass) -> Result<()> {
    let Pass { input, output, rows, add, block } = pass;
    let packs = dims::pitch(input.columns) as u32 / 8;
    let out = if add { Bind::Update(&output.view) } else { Bind::Write(&output.view) };
    rec.dispatch(&variant(access, add), &[access.input(input, rows), out], move |values| {
        let rows = rows.at(values);
        let block = block.min(rows.max(1));
        let params = Params { rows, packs, block, pad: 0 };
        Launch::new(params, [packs.div_ceil(access.group()), rows.div_ceil(block), 1])
    })
}
