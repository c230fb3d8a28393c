//! Sums of columns: the gradients of biases, and the last pass of every sum that is made by partial sums.

use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::{MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Result, dims};

const BUFFER: &str = include_str!("../../shaders/column_sum.wgsl");
const IMAGE: &str = include_str!("../../shaders/column_sum_image.wgsl");

/// The fewest rows that one group adds up in the first of two passes.
pub const BLOCK: usize = 64;
/// Rows that a group adds up in the first of two passes, on GPUs.
const BUFFER_BLOCK: u32 = 512;
/// Rows at capacity up to which GPUs need one pass: a second dispatch would take longer than the additional rows.
const ONE_PASS: u32 = 2048;

/// Invocations of a group on GPUs.
const INVOCATIONS: u32 = 256;
/// Lanes that share the rows of a column.
const LANES: u32 = 64;
/// Columns from which there are enough groups without sharing rows, and a grid may end.
const WIDE: u32 = 1 << 16;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    rows: u32,
    quads: u32,
    block: u32,
    pitch: u32,
    first: u32,
    pad: [u32; 3],
}

fn image_variant(add: bool) -> Variant {
    RowAccess::Image.apply(Variant::trusted("column_sum", IMAGE)).constant("ADD", add.into())
}

fn buffer_variant(add: bool, lanes: u32) -> Variant {
    let quads = INVOCATIONS / lanes;
    Variant::trusted("column_sum", BUFFER).constant("ADD", add.into()).constant("LANES", lanes).constant("QUADS", quads)
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let mut all = vec![buffer_variant(false, LANES), buffer_variant(true, LANES), buffer_variant(true, 1)];
    if caps.reads_images() {
        all.extend([image_variant(false), image_variant(true)]);
    }
    all
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

/// Records output += the sums of the input's columns: in one pass where that is enough, else in two.
///
/// # Errors
/// [`crate::Error::Kernel`] when shapes do not match.
pub fn column_sum(rec: &mut Recorder<StepValues>, access: RowAccess, call: &ColumnSum) -> Result<()> {
    let ColumnSum { input, partial, output, rows } = *call;
    let partial = &Matrix::over(partial.view.clone(), input.rows.div_ceil(BLOCK), input.columns);
    let n = rows.at(rec.capacity());
    let columns = input.columns;
    let matrices = [
        MatrixNeed { matrix: input, rows: n, columns },
        MatrixNeed { matrix: partial, rows: n.div_ceil(BLOCK as u32), columns },
        MatrixNeed { matrix: output, rows: 1, columns },
    ];
    check_shapes("column_sum", &matrices, &[])?;
    let block = match access {
        RowAccess::Image => BLOCK as u32,
        RowAccess::Buffer { .. } if n <= ONE_PASS => return add(rec, access, input, rows.into(), output),
        RowAccess::Buffer { .. } => BUFFER_BLOCK,
    };
    let (view, columns) = (&partial.view, input.pitch());
    record(rec, access, Pass { input, first: 0, columns, output: view, rows: rows.into(), block: Some(block) })?;
    add(rec, access, partial, rows.blocks(block), output)
}

/// Records output [1, C] += the sums of the columns of `input`'s first `rows` rows, in one pass.
pub(super) fn add(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    input: &Matrix,
    rows: BlockCount,
    output: &Matrix,
) -> Result<()> {
    record(rec, access, Pass { input, first: 0, columns: input.pitch(), output: &output.view, rows, block: None })
}

/// As [`add`], where `input` has the columns of several outputs side by side, each with its padding: in one dispatch if the
/// outputs lie side by side too.
pub(super) fn add_each(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    input: &Matrix,
    rows: BlockCount,
    outputs: &[&Matrix],
) -> Result<()> {
    let views: Vec<&View> = outputs.iter().map(|output| &output.view).collect();
    if let Some(output) = &View::joined(&views) {
        return record(rec, access, Pass { input, first: 0, columns: input.pitch(), output, rows, block: None });
    }
    let mut first = 0;
    for output in outputs {
        let columns = output.pitch();
        record(rec, access, Pass { input, first, columns, output: &output.view, rows, block: None })?;
        first += columns;
    }
    Ok(())
}

/// One pass: each block of rows is added up into one row of the output.
struct Pass<'a> {
    input: &'a Matrix,
    /// The first column, a multiple of [`dims::PITCH`].
    first: usize,
    /// Columns with their padding, a multiple of [`dims::PITCH`].
    columns: usize,
    output: &'a View,
    rows: BlockCount,
    /// Rows of a block. `None` adds the sums of all rows to the output.
    block: Option<u32>,
}

fn record(rec: &mut Recorder<StepValues>, access: RowAccess, pass: Pass) -> Result<()> {
    let Pass { input, first, columns, output, rows, block } = pass;
    let [quads, pitch, first] = [columns, dims::pitch(input.columns), first].map(|floats| floats as u32 / 4);
    let add = block.is_none();
    let lanes = if add && columns as u32 > WIDE { 1 } else { LANES };
    let (variant, width) = match access {
        RowAccess::Image => (image_variant(add), 2 * access.group()),
        RowAccess::Buffer { .. } => (buffer_variant(add, lanes), INVOCATIONS / lanes),
    };
    let out = if add { Bind::Update(output) } else { Bind::Write(output) };
    rec.dispatch(&variant, &[access.input(input, rows), out], move |values| {
        let rows = rows.at(values);
        let block = block.unwrap_or(u32::MAX).min(rows.max(1));
        let params = Params { rows, quads, block, pitch, first, pad: [0; 3] };
        Launch::new(params, [quads.div_ceil(width), rows.div_ceil(block), 1])
    })
}
