//! The launches of the kernels that compute a product in tiles, with K divided into parts where tiles alone are too few groups
//! for a GPU's processors.

use super::half::{self, Halves};
use super::product::{Matmul, Side, Sizes};
use crate::gpu::{Bind, Launch, Matrix, Recorder, Variant, View};
use crate::ops::form::Form;
use crate::ops::grid::grid_of;
use crate::ops::row_access::RowAccess;
use crate::ops::rows::RowCount;
use crate::ops::values::StepValues;
use crate::{Result, dims};

const SUM: &str = include_str!("../../../shaders/matmul/sum.wgsl");

/// Invocations a group of the sum of parts.
const SUM_GROUP: u32 = 64;

/// Most words of the workspace for parts: 64 MiB.
pub(super) const MOST_WORDS: usize = 16 << 20;

/// Words of one part of C [M, N].
pub(super) fn words(m: usize, n: usize) -> usize {
    m * dims::pitch(n)
}

/// What a group computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    /// Rows of C.
    pub m: u32,
    /// Columns of C.
    pub n: u32,
    /// Values of k in a step.
    pub depth: u32,
}

impl Group {
    /// Groups of one part of K of C [M, N].
    pub fn count(self, m: usize, n: usize) -> usize {
        m.div_ceil(self.m as usize) * dims::pitch(n).div_ceil(self.n as usize)
    }

    /// The number of parts of K, a depth of `least_k` each, with which there are `groups` groups, as far as a workspace of
    /// `workspace` words allows.
    pub fn parts(self, [m, n, k]: [usize; 3], groups: usize, least_k: usize, workspace: usize) -> usize {
        let most = (workspace.min(MOST_WORDS) / words(m, n).max(1)).max(1);
        groups.div_ceil(self.count(m, n).max(1)).min(k / least_k).clamp(1, most)
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    k: u32,
    packs: u32,
    a_quads: u32,
    b_quads: u32,
    b_rows: u32,
    part_k: u32,
    part_packs: u32,
    columns_first: u32,
    a_scale: f32,
    b_scale: f32,
    c_scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SumParams {
    parts: u32,
    part_packs: u32,
    packs: u32,
    live_packs: u32,
}

/// What a group does with its tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// C =, behind the epilogue.
    Write,
    /// C +=
    Add,
    /// Writes the product of a part of K.
    Part,
}

/// The variant that adds up parts.
pub(super) fn sum_variant(accumulate: bool, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: SUM_GROUP }
        .apply(Variant::trusted("matmul_sum", SUM))
        .constant("ACCUMULATE", accumulate.into())
        .import("epilogue", epilogue)
}

/// Records a product in `parts` parts of K, with some operands in f16.
///
/// # Errors
/// As [`super::matmul`].
pub(super) fn record(
    rec: &mut Recorder<StepValues>,
    call: &Matmul,
    s: Sizes,
    (group, parts, halves): (Group, u32, Halves),
    variant: impl Fn(Store, &'static str) -> Variant,
) -> Result<()> {
    let epilogue = call.epilogue.file();
    let parts = if call.parts.is_some() { parts } else { 1 };
    let launch = Launches::new(rec, call, s, group, parts);
    let [a, b] = &operands(rec, call, halves)?;
    let Some(workspace) = call.parts.filter(|_| parts > 1) else {
        let store = if call.accumulate { Store::Add } else { Store::Write };
        let mut binds = vec![Bind::Read(a), Bind::Read(b), call.output()];
        call.epilogue_binds(&mut binds);
        return rec.dispatch(&variant(store, epilogue), &binds, move |values| launch.tiles(values));
    };
    let workspace = &workspace.part(0, parts as usize * launch.part_packs as usize * 8);
    let binds = [Bind::Read(a), Bind::Read(b), Bind::Write(workspace)];
    rec.dispatch(&variant(Store::Part, "epilogue_none"), &binds, move |values| launch.tiles(values))?;
    let mut binds = vec![Bind::Read(workspace), call.output()];
    call.epilogue_binds(&mut binds);
    rec.dispatch(&sum_variant(call.accumulate, epilogue), &binds, move |values| launch.sum(values))
}

/// A and B as the kernel reads them: in f32, or as copies in f16.
fn operands(rec: &mut Recorder<StepValues>, call: &Matmul, halves: Halves) -> Result<[View; 2]> {
    let b_rows = if call.form == Form::AtB { call.rows } else { RowCount::Fixed(call.b.rows as u32) };
    let mut operand = |matrix: &Matrix, rows, side, is_half| match is_half {
        true => half::copy(rec, matrix, rows, call.gradient == Some(side)),
        false => Ok(matrix.view.clone()),
    };
    Ok([operand(call.a, call.rows, Side::A, halves.a)?, operand(call.b, b_rows, Side::B, halves.b)?])
}

/// Computes the launches of a product.
#[derive(Clone, Copy)]
struct Launches {
    form: Form,
    rows: RowCount,
    sizes: Sizes,
    group: Group,
    gradient: Option<Side>,
    parts: u32,
    packs: u32,
    part_packs: u32,
    a_quads: u32,
    b_quads: u32,
}

impl Launches {
    fn new(rec: &Recorder<StepValues>, call: &Matmul, sizes: Sizes, group: Group, parts: u32) -> Self {
        let packs = dims::pitch(call.c.columns) as u32 / 8;
        let m = if call.form == Form::AtB { sizes.m } else { call.rows.at(rec.capacity()) };
        let (a_quads, b_quads) = (call.a.pitch() as u32 / 4, call.b.pitch() as u32 / 4);
        let (form, rows, gradient, part_packs) = (call.form, call.rows, call.gradient, m * packs);
        let mut all = Launches { form, rows, sizes, group, gradient, parts, packs, part_packs, a_quads, b_quads };
        // No batch may have more parts than the largest, whose parts are rounded to whole steps.
        all.parts = all.division(all.live(rec.capacity()).1).1.max(1);
        all
    }

    /// M and K of these values.
    fn live(&self, values: &StepValues) -> (u32, u32) {
        let rows = self.rows.at(values);
        if self.form == Form::AtB { (self.sizes.m, rows) } else { (rows, self.sizes.k) }
    }

    /// Values of k in a part, and the parts that have any.
    fn division(&self, k: u32) -> (u32, u32) {
        let part_k = k.div_ceil(self.parts).next_multiple_of(self.group.depth).max(self.group.depth);
        (part_k, k.div_ceil(part_k))
    }

    fn tiles(&self, values: &StepValues) -> Launch {
        let (m, k) = self.live(values);
        let (part_k, live_parts) = self.division(k);
        // Without parts, the groups write C even if there is nothing to add up.
        let parts = if self.parts > 1 { live_parts } else { 1 };
        let grid = [self.packs.div_ceil(self.group.n / 8), m.div_ceil(self.group.m)];
        // Neighboring groups share rows of the larger operand, and the smaller one stays in the cache.
        let columns_first = m > self.sizes.n;
        let [x, y] = if columns_first { grid } else { [grid[1], grid[0]] };
        let scale = values.gradient_scale();
        let params = Params {
            m,
            k,
            packs: self.packs,
            a_quads: self.a_quads,
            b_quads: self.b_quads,
            b_rows: if self.form == Form::ABt { self.sizes.n } else { k },
            part_k,
            part_packs: self.part_packs,
            columns_first: columns_first.into(),
            a_scale: if self.gradient == Some(Side::A) { scale } else { 1.0 },
            b_scale: if self.gradient == Some(Side::B) { scale } else { 1.0 },
            c_scale: if self.gradient.is_some() { scale.recip() } else { 1.0 },
        };
        Launch::new(params, [x, y, parts]).flops(self.sizes.flops(self.form, self.rows.at(values)))
    }

    fn sum(&self, values: &StepValues) -> Launch {
        let (m, k) = self.live(values);
        let (packs, part_packs, live_packs) = (self.packs, self.part_packs, m * self.packs);
        let params = SumParams { parts: self.division(k).1, part_packs, packs, live_packs };
        Launch::new(params, grid_of(live_packs.div_ceil(SUM_GROUP)))
    }
}
