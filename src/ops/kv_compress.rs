//! Compression of keys or values by a strided convolution with kernel and stride f (docs/spec.md section 4):
//! slot s = b + Σ_tap x\[s·f + tap\]·W\[tap\].
//!
//! With one group over all channels, the tokens of each slot are gathered into a row [S, f·C], and forward, dX and dW are
//! products of [`super::matmul`]. Groups of one head or of one channel have separate kernels.
//! W is [f·C/groups, C] (tap, channel of the group; channel out). dX `=`, dW and db `+=`.

use super::column_sum::{self, ColumnSum};
use super::grid::grid_of;
use super::kernels::Kernels;
use super::matmul::{self, Epilogue, Form, Matmul, Side};
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result};

/// A kernel's stem and text.
type File = (&'static str, &'static str);

const GATHER: File = ("kv_compress_gather", include_str!("../../shaders/kv_compress/gather.wgsl"));
const SCATTER: File = ("kv_compress_scatter", include_str!("../../shaders/kv_compress/scatter.wgsl"));
const GROUPED: File = ("kv_compress_grouped", include_str!("../../shaders/kv_compress/grouped.wgsl"));
const GROUPED_DX: File = ("kv_compress_grouped_dx", include_str!("../../shaders/kv_compress/grouped_dx.wgsl"));
const GROUPED_DW: File = ("kv_compress_grouped_dw", include_str!("../../shaders/kv_compress/grouped_dw.wgsl"));

/// Slots that one group adds up in the first pass of a grouped dW.
pub const BLOCK: usize = 256;
/// Slots of a workgroup of a grouped convolution, SLOTS in the shaders.
const SLOTS: u32 = 4;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    slots: u32,
    tails: u32,
    taps: u32,
    columns: u32,
    at: u32,
    x_pitch: u32,
    pitch: u32,
    block: u32,
}

/// Whether kernels can read and write whole packs of 8 columns.
fn is_aligned(c: usize, group_width: usize) -> bool {
    c.is_multiple_of(8) && (group_width == 1 || group_width.is_multiple_of(8))
}

/// `width` is the channels of a group, for the kernels of grouped convolutions.
fn variant(access: RowAccess, stem: &'static str, body: &'static str, aligned: bool, width: Option<usize>) -> Variant {
    let variant =
        access.apply(Variant::trusted(stem, body)).constant("ALIGNED", aligned.into()).constant("SLOTS", SLOTS);
    match width {
        Some(width) => variant.constant("WIDTH", width as u32),
        None => variant,
    }
}

fn every(caps: &Caps, full: &[File], grouped: &[File]) -> Vec<Variant> {
    let mut all = Vec::new();
    for access in RowAccess::all(caps) {
        for aligned in [false, true].into_iter().filter(|aligned| *aligned || access != RowAccess::Image) {
            all.extend(full.iter().map(|(stem, body)| variant(access, stem, body, aligned, None)));
            for width in [1, 3, 32, 64] {
                if is_aligned(8, width) || !aligned {
                    all.extend(grouped.iter().map(|(stem, body)| variant(access, stem, body, aligned, Some(width))));
                }
            }
        }
    }
    all
}

/// Every variant of the forward pass that an adapter can run, for some widths of groups.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    every(caps, &[GATHER], &[GROUPED])
}

/// As [`variants`], of the backward pass.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    every(caps, &[SCATTER], &[GROUPED_DX, GROUPED_DW])
}

/// Operands of both directions.
#[derive(Clone, Copy)]
pub struct Compress<'a> {
    /// [N, ..]
    pub x: &'a Matrix,
    /// Rows of x that are live.
    pub rows: RowCount,
    /// The first of the C columns of x that are compressed.
    pub first_column: usize,
    /// [f·C/groups, C]
    pub weight: &'a Matrix,
    /// f
    pub factor: usize,
    /// The first row of each slot.
    pub slot_rows: &'a View,
    /// How many slots there are.
    pub slots: RowCount,
    /// Of the shape of [`workspace_shape`].
    pub workspace: &'a Matrix,
    /// Chooses the Specs of products and sums.
    pub kernels: &'a Kernels,
}

/// Rows and columns of the workspace of both directions, for S slots: gathered tokens [S, f·C], or partial sums of a grouped
/// dW.
pub fn workspace_shape(slots: usize, c: usize, factor: usize, group_width: usize) -> [usize; 2] {
    if group_width == c { [slots, factor * c] } else { [slots.div_ceil(BLOCK) * factor * group_width, c] }
}

/// The matrices of a product.
struct Operands<'a> {
    a: &'a Matrix,
    b: &'a Matrix,
    c: &'a Matrix,
}

impl Compress<'_> {
    fn c(&self) -> usize {
        self.weight.columns
    }

    fn group_width(&self) -> usize {
        self.weight.rows / self.factor.max(1)
    }

    fn is_full(&self) -> bool {
        self.group_width() == self.c()
    }

    fn is_aligned(&self) -> bool {
        is_aligned(self.c(), self.group_width()) && self.first_column.is_multiple_of(8)
    }

    fn check(&self, rec: &Recorder<StepValues>, more: &[MatrixNeed]) -> Result<()> {
        let (c, width) = (self.c(), self.group_width());
        let fits = width > 0 && width * self.factor == self.weight.rows && c.is_multiple_of(width);
        if !fits || self.first_column + c > self.x.columns {
            let (w, x) = (self.weight, self.x);
            let found = format!(
                "weight [{}, {}], factor {}, x [{}, {}] from column {}",
                w.rows, w.columns, self.factor, x.rows, x.columns, self.first_column
            );
            let error = Error::kernel("kv_compress", found).at(&*w.view.name);
            return Err(error.expected("expected [f·C/groups, C] and C columns of x"));
        }
        let (n, s) = (self.rows.at(rec.capacity()), self.slots.at(rec.capacity()));
        let [rows, columns] = workspace_shape(s as usize, c, self.factor, width);
        let mut all = vec![
            MatrixNeed { matrix: self.x, rows: n, columns: self.x.columns },
            MatrixNeed { matrix: self.workspace, rows: rows as u32, columns },
        ];
        all.extend(more);
        check_shapes("kv_compress", &all, &[ListNeed { list: self.slot_rows, words: s as usize }])
    }

    /// Kernels that read single columns read them from buffers only.
    fn access(&self, access: RowAccess) -> RowAccess {
        match access {
            RowAccess::Image if !self.is_aligned() => RowAccess::Buffer { group: 32 },
            access => access,
        }
    }

    fn input<'b>(&self, access: RowAccess, matrix: &'b Matrix, rows: RowCount) -> Bind<'b, BlockCount> {
        self.access(access).input(matrix, rows)
    }

    fn variant(&self, access: RowAccess, (stem, body): File) -> Variant {
        variant(self.access(access), stem, body, self.is_aligned(), (!self.is_full()).then_some(self.group_width()))
    }

    fn params(&self, pitch: usize) -> Params {
        let [taps, columns, at, x_pitch] = [self.factor, self.c(), self.first_column, self.x.pitch()].map(|x| x as u32);
        Params { slots: 0, tails: 0, taps, columns, at, x_pitch, pitch: pitch as u32, block: BLOCK as u32 }
    }

    fn product(
        &self,
        rec: &mut Recorder<StepValues>,
        form: Form,
        operands: Operands,
        epilogue: Epilogue,
    ) -> Result<()> {
        let Operands { a, b, c } = operands;
        // Compression is a small part of a step: it makes no copies in f16.
        let spec = self.kernels.matmul(rec.device().caps(), form, a, b, 0).without_halves();
        let accumulate = form == Form::AtB;
        let gradient = match form {
            Form::AB => None,
            Form::ABt => Some(Side::A),
            Form::AtB => Some(Side::B),
        };
        matmul::matmul(
            rec,
            spec,
            &Matmul { form, a, b, c, rows: self.slots, epilogue, accumulate, gradient, parts: None },
        )
    }

    fn record_gather(&self, rec: &mut Recorder<StepValues>, access: RowAccess) -> Result<()> {
        let (slots, params) = (self.slots, self.params(self.workspace.pitch()));
        let binds =
            [self.input(access, self.x, self.rows), Bind::Read(self.slot_rows), Bind::Write(&self.workspace.view)];
        rec.dispatch(&self.variant(access, GATHER), &binds, move |values| {
            let slots = slots.at(values);
            Launch::new(Params { slots, ..params }, grid_of(slots))
        })
    }

    /// Floating-point operations of one direction of a grouped convolution.
    fn flops(&self, slots: u32) -> f64 {
        2.0 * f64::from(slots) * self.weight.rows as f64 * self.c() as f64
    }
}

/// Records that the workspace receives the tokens of each slot side by side [S, f·C]. Its product with the weight of one group
/// is the slots.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match, or there are several groups.
pub fn gather(rec: &mut Recorder<StepValues>, access: RowAccess, call: &Compress) -> Result<()> {
    call.check(rec, &[])?;
    if !call.is_full() {
        let found = format!("groups of {} channels", call.group_width());
        let error = Error::kernel("kv_compress_gather", found).at(&*call.weight.view.name);
        return Err(error.expected(format!("expected one group of all {}", call.c())));
    }
    call.record_gather(rec, access)
}

/// Records output [S, C] = the slots.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn forward(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    call: &Compress,
    bias: &View,
    output: &Matrix,
) -> Result<()> {
    let s = call.slots.at(rec.capacity());
    call.check(rec, &[MatrixNeed { matrix: output, rows: s, columns: call.c() }])?;
    if call.is_full() {
        call.record_gather(rec, access)?;
        return call.product(
            rec,
            Form::AB,
            Operands { a: call.workspace, b: call.weight, c: output },
            Epilogue::Bias(bias),
        );
    }
    check_shapes("kv_compress", &[], &[ListNeed { list: bias, words: call.c() }])?;
    let (slots, params, call) = (call.slots, call.params(output.pitch()), *call);
    let flops = call.flops(1);
    let weights = RowCount::Fixed(call.weight.rows as u32);
    let binds = [
        call.input(access, call.x, call.rows),
        call.input(access, call.weight, weights),
        Bind::Read(bias),
        Bind::Read(call.slot_rows),
        Bind::Write(&output.view),
    ];
    rec.dispatch(&call.variant(access, GROUPED), &binds, move |values| {
        let slots = slots.at(values);
        Launch::new(Params { slots, ..params }, grid_of(slots.div_ceil(SLOTS))).flops(flops * f64::from(slots))
    })
}

/// The gradients of a convolution's parameters.
#[derive(Clone, Copy)]
pub struct ParameterGradients<'a> {
    /// dW, += [f·C/groups, C]
    pub weight: &'a Matrix,
    /// db, += [1, C]
    pub bias: &'a Matrix,
}

/// Operands of the backward pass.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    /// [S, C]
    pub dy: &'a Matrix,
    /// = in the C columns of the shape of x.
    pub dx: &'a Matrix,
    /// `None` for a frozen layer.
    pub parameters: Option<ParameterGradients<'a>>,
    /// Rows of x that fill no slot: their dx becomes 0.
    pub tail_rows: &'a View,
    /// Workspace of the partial sums of db, [S / 64, C].
    pub partial: &'a Matrix,
}

/// Records dx, dW and db from dy.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn backward(rec: &mut Recorder<StepValues>, access: RowAccess, call: &Compress, to: &Gradients) -> Result<()> {
    let (capacity, c) = (*rec.capacity(), call.c());
    let (n, s) = (call.rows.at(&capacity), call.slots.at(&capacity));
    let mut tensors = vec![
        MatrixNeed { matrix: to.dy, rows: s, columns: c },
        MatrixNeed { matrix: to.dx, rows: n, columns: call.x.columns },
    ];
    let weight_rows = call.weight.rows as u32;
    tensors.extend(to.parameters.map(|of| MatrixNeed { matrix: of.weight, rows: weight_rows, columns: c }));
    call.check(rec, &tensors)?;
    check_shapes("kv_compress_backward", &[], &[ListNeed { list: to.tail_rows, words: capacity.tail_rows as usize }])?;
    let slots = call.slots;
    if call.is_full() {
        call.product(rec, Form::ABt, Operands { a: to.dy, b: call.weight, c: call.workspace }, Epilogue::None)?;
        let params = call.params(call.workspace.pitch());
        let binds = [
            call.input(access, call.workspace, slots),
            Bind::Read(call.slot_rows),
            Bind::Read(to.tail_rows),
            Bind::Update(&to.dx.view),
        ];
        rec.dispatch(&call.variant(access, SCATTER), &binds, move |values| {
            let (slots, tails) = (slots.at(values), values.tail_rows);
            Launch::new(Params { slots, tails, ..params }, grid_of(slots + tails))
        })?;
    } else {
        grouped_dx(rec, access, call, to)?;
    }
    let Some(ParameterGradients { weight: dweight, bias: dbias }) = to.parameters else { return Ok(()) };
    if call.is_full() {
        call.record_gather(rec, access)?;
        call.product(rec, Form::AtB, Operands { a: call.workspace, b: to.dy, c: dweight }, Epilogue::None)?;
    } else {
        grouped_dw(rec, access, call, to.dy, dweight)?;
    }
    column_sum::column_sum(rec, access, &ColumnSum { input: to.dy, partial: to.partial, output: dbias, rows: slots })
}

fn grouped_dx(rec: &mut Recorder<StepValues>, access: RowAccess, call: &Compress, to: &Gradients) -> Result<()> {
    let (slots, params, flops) = (call.slots, call.params(to.dy.pitch()), call.flops(1));
    let weights = RowCount::Fixed(call.weight.rows as u32);
    let binds = [
        call.input(access, to.dy, slots),
        call.input(access, call.weight, weights),
        Bind::Read(call.slot_rows),
        Bind::Read(to.tail_rows),
        Bind::Update(&to.dx.view),
    ];
    rec.dispatch(&call.variant(access, GROUPED_DX), &binds, move |values| {
        let (slots, tails) = (slots.at(values), values.tail_rows);
        let launch = Launch::new(Params { slots, tails, ..params }, grid_of(slots.div_ceil(SLOTS) + tails));
        launch.flops(flops * f64::from(slots))
    })
}

fn grouped_dw(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    call: &Compress,
    dy: &Matrix,
    dweight: &Matrix,
) -> Result<()> {
    let (slots, params, flops) = (call.slots, call.params(dy.pitch()), call.flops(1));
    let binds = [
        call.input(access, call.x, call.rows),
        call.input(access, dy, slots),
        Bind::Read(call.slot_rows),
        Bind::Write(&call.workspace.view),
    ];
    let (width, taps, c) = (call.group_width() as u32, call.factor as u32, call.c() as u32);
    let (lanes, channels) = if call.is_aligned() { (c / 8, width.div_ceil(8)) } else { (c, width) };
    let group = call.access(access).group();
    rec.dispatch(&call.variant(access, GROUPED_DW), &binds, move |values| {
        let slots = slots.at(values);
        let grid = [lanes.div_ceil(group), taps * channels, slots.div_ceil(BLOCK as u32)];
        Launch::new(Params { slots, ..params }, grid).flops(flops * f64::from(slots))
    })?;
    // The partial dW of a block is one row of the matrix whose columns are added up.
    let floats = call.weight.rows * call.weight.pitch();
    let blocks = call.workspace.view.words as usize / floats;
    let partial = Matrix::over(call.workspace.view.clone(), blocks, floats);
    let dweight = Matrix::over(dweight.view.clone(), 1, floats);
    let blocks = slots.blocks(BLOCK as u32);
    let access = call.kernels.row_wise(rec.device().caps(), floats, &[&partial]);
    column_sum::add(rec, access, &partial, blocks, &dweight)
}
