//! C = A·B or A·Bᵀ for a few rows, one token or some, where reading B takes all the time. A may pass through layer norm
//! first, and the sum through bias, GELU or a residual, so that a block of the decoder is five kernels.
//!
//! B does not change: on CPU adapters it is an image that is made once ([`weight`]).

use super::form::Form;
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::{ListNeed, MatrixNeed, check_shapes, check_tensor};
use super::values::StepValues;
use crate::error::DeviceError;
use crate::gpu::{Bind, Caps, Device, Image, ImageLayout, Launch, Matrix, Recorder, Tensor, Variant, View};
use crate::{Error, Result, dims};
use std::fmt::Display;

const BUFFER: &str = include_str!("../../shaders/matvec/buffer.wgsl");
const IMAGE: &str = include_str!("../../shaders/matvec/image.wgsl");
const IMAGE_BT: &str = include_str!("../../shaders/matvec/image_bt.wgsl");

/// The most rows that a group computes from one read of B.
pub const MOST_ROWS: usize = 4;
/// Invocations of a group that reads buffers.
const GROUP: u32 = 256;
/// Groups that keep a GPU busy.
const GROUPS: u32 = 128;

/// Which shader file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// Tensors in buffers: every GPU.
    Buffer,
    /// Tensors in images, a group of one subgroup of eight: CPU adapters.
    Image,
}

/// Chooses the Spec for an adapter: images where it reads them fast.
pub fn choose(caps: &Caps) -> Spec {
    if caps.reads_images() { Spec::Image } else { Spec::Buffer }
}

/// Every Spec that an adapter can run.
pub fn specs(caps: &Caps) -> Vec<Spec> {
    let mut all = vec![Spec::Buffer];
    all.extend(caps.reads_images().then_some(Spec::Image));
    all
}

/// Whether B can be an image on an adapter.
pub fn fits(caps: &Caps, form: Form, b: &Matrix) -> bool {
    match form {
        Form::ABt => Image::layout_of_rows(caps.max_texture, b.rows, b.columns).is_some(),
        _ => Image::fits_in_panels(caps.max_texture, b.rows, b.columns),
    }
}

/// Copies B, as it is now, to where a Spec reads it.
///
/// # Errors
/// [`Error::Device`] when B does not fit into an image.
pub fn weight(device: &Device, spec: Spec, form: Form, b: Matrix) -> Result<Tensor> {
    let layout = match (spec, form) {
        (Spec::Buffer, _) => return Ok(Tensor::Buffer(b)),
        (Spec::Image, Form::ABt) => Image::layout_of_rows(device.caps().max_texture, b.rows, b.columns),
        (Spec::Image, _) => Some(ImageLayout::Panels),
    };
    let Some(layout) = layout else {
        let what = format!("`{}` [{}, {}] as an image: rows", b.view.name, b.rows, b.columns);
        let (requested, allowed) = (b.rows as u64, u64::from(device.caps().max_texture));
        return Err(Error::Device(DeviceError::Limit { what, requested, allowed }));
    };
    Image::of(device, &b, layout).map(Tensor::Image)
}

/// Layer norm of A's rows.
pub struct Norm<'a> {
    /// [1, K]
    pub gain: &'a Matrix,
    /// [1, K]
    pub bias: &'a Matrix,
    /// Gain and bias in one image, one below the other, for [`Spec::Image`].
    pub image: Option<&'a Image>,
    /// ε
    pub eps: f32,
    /// Out: the normalized rows [M, K], if they are needed too.
    pub keep: Option<&'a Tensor>,
}

/// What the product does to each sum before it is stored.
pub enum Epilogue<'a> {
    /// C = sum
    None,
    /// C = sum + bias `[N]`
    Bias(&'a View),
    /// C = GELU(sum + bias `[N]`)
    BiasGelu(&'a View),
    /// C = sum + bias `[N]` + residual [M, N]
    BiasResidual {
        /// `[N]`
        bias: &'a View,
        /// [M, N]
        residual: &'a Tensor,
    },
}

impl Epilogue<'_> {
    /// The library file, and the number of tensors that it binds.
    fn file(&self) -> (&'static str, u32) {
        match self {
            Epilogue::None => ("epilogue_none", 0),
            Epilogue::Bias(_) => ("epilogue_bias", 1),
            Epilogue::BiasGelu(_) => ("epilogue_bias_act", 1),
            Epilogue::BiasResidual { .. } => ("epilogue_bias_residual", 2),
        }
    }
}

/// Operands of a product of A's live rows, at most [`MOST_ROWS`] of them in a group.
pub struct Matvec<'a> {
    /// A·B or A·Bᵀ.
    pub form: Form,
    /// A [M, K]. [`Spec::Image`] reads a buffer through its image copy.
    pub input: &'a Tensor,
    /// Layer norm of A's rows first.
    pub norm: Option<Norm<'a>>,
    /// B [K, N] or [N, K], from [`weight`].
    pub weight: &'a Tensor,
    /// What is done to each sum.
    pub epilogue: Epilogue<'a>,
    /// C [M, N]: an image for A·B by [`Spec::Image`], else a buffer.
    pub output: &'a Tensor,
    /// How many rows of A are live.
    pub rows: RowCount,
}

/// The tile of C that a group of [`Spec::Buffer`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Packs of 8 columns.
    packs: u32,
    rows: u32,
}

impl Tile {
    /// The widest tile that keeps the device busy and gives every invocation a part of K.
    pub(super) fn of(form: Form, m: usize, n: usize, k: usize) -> Tile {
        let all = dims::pitch(n) as u32 / 8;
        let mut packs = 8;
        while form == Form::AB && packs > 1 && all / packs < GROUPS && 2 * GROUP / packs <= (k as u32).div_ceil(4) {
            packs /= 2;
        }
        Tile { packs, rows: rows_a_group(m) }
    }

    pub(super) fn grid(self) -> impl Fn(u32, u32) -> [u32; 3] + Send + Sync + 'static {
        move |m, packs| [packs / self.packs, m.div_ceil(self.rows), 1]
    }
}

fn rows_a_group(m: usize) -> u32 {
    m.clamp(1, MOST_ROWS).next_power_of_two() as u32
}

/// The optional parts that a variant has.
#[derive(Clone, Copy)]
struct Parts {
    norm: bool,
    keep: bool,
    /// The number of tensors of the epilogue.
    extra: u32,
}

impl Parts {
    const PLAIN: Parts = Parts { norm: false, keep: false, extra: 0 };

    fn apply(self, variant: Variant, epilogue: &'static str) -> Variant {
        variant
            .constant("NORM", self.norm.into())
            .constant("KEEP", self.keep.into())
            .constant("EXTRA", self.extra)
            .import("epilogue", epilogue)
    }
}

fn buffer_variant(tile: Tile, form: Form, accumulate: bool, epilogue: &'static str, parts: Parts) -> Variant {
    let variant = RowAccess::Buffer { group: GROUP }
        .apply(Variant::trusted("matvec", BUFFER))
        .constant("PACKS", tile.packs)
        .constant("ROWS", tile.rows)
        .constant("B_TRANSPOSED", (form == Form::ABt).into())
        .constant("ACCUMULATE", accumulate.into());
    parts.apply(variant, epilogue)
}

fn image_variant(form: Form, rows: u32, epilogue: &'static str, parts: Parts) -> Variant {
    let (stem, text) = if form == Form::ABt { ("matvec_bt", IMAGE_BT) } else { ("matvec", IMAGE) };
    parts.apply(RowAccess::Image.apply(Variant::trusted(stem, text)).constant("ROWS", rows), epilogue)
}

/// The variant for a product of [`super::matmul`]: no layer norm, any epilogue.
pub(super) fn plain_variant(tile: Tile, form: Form, accumulate: bool, epilogue: &'static str) -> Variant {
    buffer_variant(tile, form, accumulate, epilogue, Parts::PLAIN)
}

/// [`plain_variant`] for every tile.
pub(super) fn plain_variants(form: Form, accumulate: bool, epilogue: &'static str) -> Vec<Variant> {
    tiles(form).map(|tile| plain_variant(tile, form, accumulate, epilogue)).collect()
}

fn tiles(form: Form) -> impl Iterator<Item = Tile> {
    let packs = if form == Form::ABt { &[8][..] } else { &[1, 2, 4, 8] };
    packs.iter().flat_map(|packs| [1, 2, 4].map(|rows| Tile { packs: *packs, rows }))
}

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let mut all = Vec::new();
    for form in [Form::AB, Form::ABt] {
        for (epilogue, extra) in
            [("epilogue_none", 0), ("epilogue_bias", 1), ("epilogue_bias_act", 1), ("epilogue_bias_residual", 2)]
        {
            for (norm, keep) in [(false, false), (true, false), (true, true)] {
                let parts = Parts { norm, keep, extra };
                all.extend(tiles(form).map(|tile| buffer_variant(tile, form, false, epilogue, parts)));
                if caps.reads_images() {
                    all.extend([1, 2, 4].map(|rows| image_variant(form, rows, epilogue, parts)));
                }
            }
        }
    }
    all
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct BufferParams {
    m: u32,
    k: u32,
    packs: u32,
    a_quads: u32,
    b_quads: u32,
    b_rows: u32,
    eps: f32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ImageParams {
    m: u32,
    k: u32,
    packs: u32,
    high: u32,
    eps: f32,
    pad: [u32; 3],
}

/// Records a product.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match, or a tensor is a buffer where the Spec reads images, or the reverse.
pub fn matvec(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Matvec) -> Result<()> {
    let m = call.rows.at(recorder.capacity());
    let ([a_rows, k], [b_rows, b_columns], [c_rows, n]) =
        (call.input.shape(), call.weight.shape(), call.output.shape());
    let (b_k, b_n) = if call.form == Form::ABt { (b_columns, b_rows) } else { (b_rows, b_columns) };
    let high_enough = a_rows >= m as usize && c_rows >= m as usize;
    if call.form == Form::AtB || (b_k, b_n) != (k, n) || !high_enough {
        let (a, b, c) = (call.input.name(), call.weight.name(), call.output.name());
        let found = format!("`{a}` [{a_rows}, {k}] · `{b}` [{b_rows}, {b_columns}] = `{c}` [{c_rows}, {n}]");
        let expected =
            format!("expected matching shapes in the form AB or ABt, for {m} rows; the form is {:?}", call.form);
        return Err(Error::kernel("matvec", found).expected(expected));
    }
    check_operands(call, m, k, n)?;
    let (epilogue, extra) = call.epilogue.file();
    let keep = call.norm.as_ref().and_then(|norm| norm.keep);
    let parts = Parts { norm: call.norm.is_some(), keep: keep.is_some(), extra };
    let eps = call.norm.as_ref().map_or(0.0, |norm| norm.eps);
    let packs = dims::pitch(n) as u32 / 8;
    let flops = move |m: u32| 2.0 * f64::from(m) * n as f64 * k as f64;
    let k32 = k as u32;
    let (row_count, rows) = (call.rows, call.rows);
    match (spec, call.weight) {
        (Spec::Buffer, Tensor::Buffer(b)) => {
            let (form, tile) = (call.form, Tile::of(call.form, a_rows, n, k));
            let mut binds = vec![Bind::Read(&buffer(call.input)?.view), Bind::Read(&b.view), write(call.output)?];
            match &call.epilogue {
                Epilogue::None => {}
                Epilogue::Bias(bias) | Epilogue::BiasGelu(bias) => binds.push(Bind::Read(bias)),
                Epilogue::BiasResidual { bias, residual } => {
                    binds.extend([Bind::Read(bias), Bind::Read(&buffer(residual)?.view)]);
                }
            }
            if let Some(norm) = &call.norm {
                binds.extend([Bind::Read(&norm.gain.view), Bind::Read(&norm.bias.view)]);
            }
            if let Some(keep) = keep {
                binds.push(write(keep)?);
            }
            let (a_quads, b_quads) = (dims::pitch(k) as u32 / 4, b.pitch() as u32 / 4);
            let (b_rows, grid) = (b.rows as u32, tile.grid());
            recorder.dispatch(&buffer_variant(tile, form, false, epilogue, parts), &binds, move |values| {
                let m = row_count.at(values);
                let params = BufferParams { m, k: k32, packs, a_quads, b_quads, b_rows, eps, pad: 0 };
                Launch::new(params, grid(m, packs)).flops(flops(m))
            })
        }
        (Spec::Image, Tensor::Image(b)) => {
            let high = match (b.layout, call.form) {
                (ImageLayout::Panels, Form::AB) => 0,
                (ImageLayout::Layers { rows }, Form::ABt) => rows,
                (layout, form) => {
                    let found = format!("image layout {layout:?} in the form {form:?}");
                    return refuse(&b.name, found, "expected Panels for AB, or Layers for ABt");
                }
            };
            let mut binds = vec![read(call.input, rows), Bind::ReadImage(b)];
            binds.push(if call.form == Form::AB { write_image(call.output)? } else { write(call.output)? });
            match &call.epilogue {
                Epilogue::None => {}
                Epilogue::Bias(bias) | Epilogue::BiasGelu(bias) => binds.push(Bind::Read(bias)),
                Epilogue::BiasResidual { bias, residual } => binds.extend([Bind::Read(bias), read(residual, rows)]),
            }
            if let Some(norm) = &call.norm {
                let Some(image) = norm.image else {
                    return refuse(call.input.name(), "layer norm without an image", "expected gain and bias in one");
                };
                binds.push(Bind::ReadImage(image));
            }
            if let Some(keep) = keep {
                binds.push(write_image(keep)?);
            }
            let rows_a_group = rows_a_group(a_rows);
            recorder.dispatch(&image_variant(call.form, rows_a_group, epilogue, parts), &binds, move |values| {
                let m = row_count.at(values);
                let params = ImageParams { m, k: k32, packs, high, eps, pad: [0; 3] };
                Launch::new(params, [packs / 8, m.div_ceil(rows_a_group), 1]).flops(flops(m))
            })
        }
        (Spec::Buffer, b) => refuse(b.name(), "an image", "expected a buffer"),
        (Spec::Image, b) => refuse(b.name(), "a buffer", "expected an image"),
    }
}

fn refuse<T>(operand: &str, found: impl Display, expected: &str) -> Result<T> {
    Err(Error::kernel("matvec", found).at(operand).expected(expected))
}

fn check_operands(call: &Matvec, m: u32, k: usize, n: usize) -> Result<()> {
    let mut matrices = Vec::new();
    let mut lists = Vec::new();
    let tensor = |tensor: &Tensor, columns| check_tensor("matvec", tensor, m as usize, columns);
    if let Some(norm) = &call.norm {
        matrices.extend([norm.gain, norm.bias].map(|matrix| MatrixNeed { matrix, rows: 1, columns: k }));
        norm.keep.map_or(Ok(()), |keep| tensor(keep, k))?;
    }
    match &call.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) | Epilogue::BiasGelu(bias) => lists.push(ListNeed { list: bias, words: n }),
        Epilogue::BiasResidual { bias, residual } => {
            lists.push(ListNeed { list: bias, words: n });
            tensor(residual, n)?;
        }
    }
    check_shapes("matvec", &matrices, &lists)
}

fn buffer(tensor: &Tensor) -> Result<&Matrix> {
    match tensor {
        Tensor::Buffer(matrix) => Ok(matrix),
        Tensor::Image(image) => refuse(&image.name, "an image", "expected a buffer"),
    }
}

fn write(tensor: &Tensor) -> Result<Bind<'_, BlockCount>> {
    Ok(Bind::Write(&buffer(tensor)?.view))
}

fn write_image(tensor: &Tensor) -> Result<Bind<'_, BlockCount>> {
    match tensor {
        Tensor::Image(image) => Ok(Bind::WriteImage(image)),
        Tensor::Buffer(matrix) => refuse(&matrix.view.name, "a buffer", "expected an image"),
    }
}

fn read(tensor: &Tensor, rows: RowCount) -> Bind<'_, BlockCount> {
    match tensor {
        Tensor::Image(image) => Bind::ReadImage(image),
        Tensor::Buffer(matrix) => Bind::Image(matrix, rows.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_keep_a_device_busy() {
        let packs = |n, k| Tile::of(Form::AB, 1, n, k).packs;
        assert_eq!([packs(768, 768), packs(2304, 768), packs(3072, 768), packs(768, 3072)], [2, 2, 2, 1]);
        assert_eq!([packs(128, 128), packs(384, 128)], [8, 8]);
        assert_eq!(Tile::of(Form::ABt, 1, 40478, 768).packs, 8);
        assert_eq!([0, 1, 2, 3, 20].map(rows_a_group), [1, 1, 2, 4, 4]);
    }
}
