//! Products on CPU adapters: operands are read as images, K in passes of 128.

use super::product::{Epilogue, Matmul, Sizes};
use crate::gpu::{Bind, Launch, Matrix, Recorder, Variant};
use crate::ops::form::Form;
use crate::ops::row_access::RowAccess;
use crate::ops::rows::RowCount;
use crate::ops::values::StepValues;
use crate::{Result, dims};

const IMAGE: &str = include_str!("../../../shaders/matmul/image.wgsl");
const IMAGE_AT: &str = include_str!("../../../shaders/matmul/image_at.wgsl");

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ImageParams {
    m: u32,
    texel: u32,
    rows_a_group: u32,
    packs: u32,
    first_pack: u32,
    b_row: u32,
    pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ImageAtParams {
    m: u32,
    k0: u32,
    depth: u32,
    rows_a_group: u32,
    packs: u32,
    a_texel: u32,
    pad: [u32; 2],
}

/// The variant for A·B and A·Bᵀ.
pub(super) fn variant(transposed: bool, add: bool, epilogue: &'static str) -> Variant {
    RowAccess::Image
        .apply(Variant::trusted("matmul_image", IMAGE))
        .constant("TRANSPOSED", transposed.into())
        .constant("ADD", add.into())
        .import("epilogue", epilogue)
}

/// The variant for Aᵀ·B.
pub(super) fn variant_at(add: bool) -> Variant {
    RowAccess::Image.apply(Variant::trusted("matmul_image_at", IMAGE_AT)).constant("ADD", add.into())
}

/// Rows of A that a group computes: enough that it reads a block of B for many rows, and few enough for four groups, which
/// keep two cores busy.
fn rows_a_group(m: u32, column_groups: u32) -> u32 {
    let wanted = 4u32.div_ceil(column_groups.max(1));
    m.div_ceil(wanted).clamp(1, 256)
}

/// Rows of an operand that one pass of the image kernels reads. Ranges are multiples of it, so that none ends inside a pass.
pub(super) const RANGE: usize = 128;

/// Cuts the rows of an operand into ranges (first, end) that fit into a texture.
fn texture_ranges(rec: &Recorder<StepValues>, rows: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
    let side = (rec.device().caps().max_texture as usize / RANGE * RANGE).max(RANGE) as u32;
    (0..rows).step_by(side as usize).map(move |first| (first, (first + side).min(rows)))
}

/// Records A·B or A·Bᵀ.
///
/// # Errors
/// As [`super::matmul`].
pub(super) fn record(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes) -> Result<()> {
    let b_range = |(first, end): (u32, u32)| call.b.rows_from(first as usize, (end - first) as usize);
    if call.form == Form::ABt {
        // The rows of B are the columns of C: a range computes some of them.
        for range in texture_ranges(rec, s.n) {
            let b = b_range(range);
            (0..s.k).step_by(128).try_for_each(|k0| pass(rec, call, s, &b, [k0, k0 / 4], range))?;
        }
        return Ok(());
    }
    // The rows of B are the k of the sum: a range holds those of some passes.
    for (first, end) in texture_ranges(rec, s.k) {
        let b = b_range((first, end));
        (first..end).step_by(128).try_for_each(|k0| pass(rec, call, s, &b, [k0, k0 - first], (0, s.n)))?;
    }
    Ok(())
}

/// Records the pass over 128 of k from `k0` on, for the columns `first` to `end` of C. Where the rows of B are k, the pass
/// begins at row `b_row` of the range `b`.
fn pass(
    rec: &mut Recorder<StepValues>,
    call: &Matmul,
    s: Sizes,
    b: &Matrix,
    [k0, b_row]: [u32; 2],
    (first, end): (u32, u32),
) -> Result<()> {
    let (form, rows) = (call.form, call.rows);
    let live_rows = rows.into();
    let b_rows = RowCount::Fixed(b.rows as u32).into();
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    let column_groups = dims::pitch((end - first) as usize) as u32 / 64;
    let last = k0 + 128 >= s.k;
    let add = k0 > 0 || call.accumulate;
    let epilogue = if last { call.epilogue } else { Epilogue::None };
    let variant = variant(form == Form::ABt, add, epilogue.file());
    let out = if add { Bind::Update(&call.c.view) } else { Bind::Write(&call.c.view) };
    let mut binds = vec![Bind::Image(call.a, live_rows), Bind::Image(b, b_rows), out];
    match &epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => binds.push(Bind::Read(bias)),
        Epilogue::BiasGelu { bias, pre } => binds.extend([Bind::Read(bias), Bind::Write(&pre.view)]),
        Epilogue::GeluBackward(x) | Epilogue::Residual(x) => binds.push(Bind::Image(x, live_rows)),
    }
    if add {
        binds.push(Bind::Image(call.c, live_rows));
    }
    let capacity = rows.at(rec.capacity());
    let most = capacity.div_ceil(rows_a_group(capacity, column_groups)).max(1);
    rec.dispatch(&variant, &binds, move |values| {
        let m = rows.at(values);
        // With fewer rows there could be more groups than at capacity, which is not allowed.
        let rows_a_group = rows_a_group(m, column_groups).max(m.div_ceil(most));
        let first_pack = first / 8;
        let params = ImageParams { m, texel: k0 / 4, rows_a_group, packs, first_pack, b_row, pad: [0; 2] };
        let grid = [column_groups, m.div_ceil(rows_a_group), 1];
        let share = 128.0 / f64::from(s.k.max(128)) * f64::from(end - first) / f64::from(s.n);
        Launch::new(params, grid).flops(s.flops(form, m) * share)
    })
}

/// Records Aᵀ·B.
///
/// # Errors
/// As [`super::matmul`].
pub(super) fn record_at(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes) -> Result<()> {
    let rows = call.rows;
    let live_rows = rows.into();
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    for (first, end) in texture_ranges(rec, s.m) {
        let m = end - first;
        let c = call.c.rows_from(first as usize, m as usize);
        for k0 in (0..s.k).step_by(128) {
            let add = k0 > 0 || call.accumulate;
            let out = if add { Bind::Update(&c.view) } else { Bind::Write(&c.view) };
            let mut binds = vec![Bind::Image(call.a, live_rows), Bind::Image(call.b, live_rows), out];
            if add {
                binds.push(Bind::Image(&c, RowCount::Fixed(m).into()));
            }
            rec.dispatch(&variant_at(add), &binds, move |values| {
                let depth = rows.at(values);
                let rows_a_group = rows_a_group(m, packs / 8).next_multiple_of(4);
                // Unless it adds, the first pass runs without live rows too, because it writes C.
                let needed = k0 < depth || !add;
                let params = ImageAtParams { m, k0, depth, rows_a_group, packs, a_texel: first / 4, pad: [0; 2] };
                let grid = [packs / 8, if needed { m.div_ceil(rows_a_group) } else { 0 }, 1];
                let flops = 2.0 * f64::from(m) * f64::from(s.n) * f64::from(depth.saturating_sub(k0).min(128));
                Launch::new(params, grid).flops(flops)
            })?;
        }
    }
    Ok(())
}
