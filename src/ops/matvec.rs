//! C = A·B or A·Bᵀ for a few rows, one token or some, where reading B is all that costs: with layer norm of A on the way in,
//! bias, GELU or a residual on the way out, so that a block of the decoder is five kernels.
//!
//! B is constant: on CPU adapters it is an image that is made once ([`weight`]).

use super::form::Form;
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Device, Image, ImageLayout, Launch, Matrix, Recorder, Tensor, Variant, View};
use crate::{Error, Result, dims};

const BUFFER: &str = include_str!("../../shaders/matvec/buffer.wgsl");
const IMAGE: &str = include_str!("../../shaders/matvec/image.wgsl");
const IMAGE_BT: &str = include_str!("../../shaders/matvec/image_bt.wgsl");

/// Rows that share what a group reads of B.
pub const MOST_ROWS: usize = 4;
/// Invocations of a group that reads buffers.
const GROUP: u32 = 256;
/// Groups that a GPU needs to be busy.
const GROUPS: u32 = 128;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// Tensors in buffers: every GPU.
    Buffer,
    /// Tensors in images, a group of one subgroup of eight: CPU adapters.
    Image,
}

/// The Spec for a device: images where they are quick.
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

/// B where a Spec reads it, as it is now.
///
/// # Errors
/// [`Error::Device`] when it does not fit into an image.
pub fn weight(device: &Device, spec: Spec, form: Form, b: Matrix) -> Result<Tensor> {
    let lay = match (spec, form) {
        (Spec::Buffer, _) => return Ok(Tensor::Buffer(b)),
        (Spec::Image, Form::ABt) => Image::layout_of_rows(device.caps().max_texture, b.rows, b.columns),
        (Spec::Image, _) => Some(ImageLayout::Panels),
    };
    let Some(lay) = lay else {
        let (rows, columns) = (b.rows, b.columns);
        return Err(Error::device(format!("`{}` [{rows}, {columns}] is no image on this device", b.view.name)));
    };
    Image::of(device, &b, lay).map(Tensor::Image)
}

/// Layer norm of A's rows.
pub struct Norm<'a> {
    /// [1, K]
    pub gain: &'a Matrix,
    /// [1, K], what is added.
    pub shift: &'a Matrix,
    /// Both, one below the other, for [`Spec::Image`].
    pub image: Option<&'a Image>,
    /// ε
    pub eps: f32,
    /// Out: the normed rows [M, K], where they are needed besides.
    pub keep: Option<&'a Tensor>,
}

/// What happens to a sum on its way out.
pub enum Out<'a> {
    /// C = sum
    Plain,
    /// C = sum + bias [N]
    Bias(&'a View),
    /// C = GELU(sum + bias [N])
    BiasAct(&'a View),
    /// C = sum + bias [N] + residual [M, N]
    BiasResidual(&'a View, &'a Tensor),
}

impl Out<'_> {
    /// The library file, and the tensors that it binds.
    fn file(&self) -> (&'static str, u32) {
        match self {
            Out::Plain => ("epilogue_none", 0),
            Out::Bias(_) => ("epilogue_bias", 1),
            Out::BiasAct(_) => ("epilogue_bias_act", 1),
            Out::BiasResidual(..) => ("epilogue_bias_residual", 2),
        }
    }
}

/// One product of A's live rows, at most [`MOST_ROWS`] at a time.
pub struct Matvec<'a> {
    /// A·B or A·Bᵀ.
    pub form: Form,
    /// [M, K]; a buffer is read through its image copy by [`Spec::Image`].
    pub a: &'a Tensor,
    /// Layer norm of A's rows first.
    pub norm: Option<Norm<'a>>,
    /// [K, N] or [N, K], from [`weight`].
    pub b: &'a Tensor,
    /// What is done to the sum.
    pub out: Out<'a>,
    /// [M, N]: an image of [`Spec::Image`] for A·B, else a buffer.
    pub c: &'a Tensor,
    /// How many rows are live.
    pub rows: RowCount,
}

/// How a group of [`Spec::Buffer`] is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Packs of 8 columns.
    packs: u32,
    rows: u32,
}

impl Tile {
    /// As wide as leaves the device busy and every invocation a slice of K.
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

/// Which parts a variant has.
#[derive(Clone, Copy)]
struct Parts {
    norm: bool,
    keep: bool,
    /// Tensors of the epilogue.
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

/// The variant that serves a product of [`super::matmul`]: no layer norm, any epilogue.
pub(super) fn plain_variant(tile: Tile, form: Form, accumulate: bool, epilogue: &'static str) -> Variant {
    buffer_variant(tile, form, accumulate, epilogue, Parts::PLAIN)
}

/// [`plain_variant`] in every tile.
pub(super) fn plain_variants(form: Form, accumulate: bool, epilogue: &'static str) -> Vec<Variant> {
    tiles(form).map(|tile| plain_variant(tile, form, accumulate, epilogue)).collect()
}

fn tiles(form: Form) -> impl Iterator<Item = Tile> {
    let packs = if form == Form::ABt { &[8][..] } else { &[1, 2, 4, 8] };
    packs.iter().flat_map(|packs| [1, 2, 4].map(|rows| Tile { packs: *packs, rows }))
}

/// Every variant that can come up on an adapter.
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
/// [`Error::Kernel`] when shapes do not meet, or a tensor lies where the Spec does not look.
pub fn matvec(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Matvec) -> Result<()> {
    let m = call.rows.at(recorder.capacity());
    let ([a_rows, k], [b_rows, b_columns], [c_rows, n]) = (call.a.shape(), call.b.shape(), call.c.shape());
    let (b_k, b_n) = if call.form == Form::ABt { (b_columns, b_rows) } else { (b_rows, b_columns) };
    let high_enough = a_rows >= m as usize && c_rows >= m as usize;
    if call.form == Form::AtB || (b_k, b_n) != (k, n) || !high_enough {
        let (a, b, c) = (call.a.name(), call.b.name(), call.c.name());
        return refuse(format!(
            "{:?}, {m} rows: `{a}` [{a_rows}, {k}] · `{b}` [{b_rows}, {b_columns}] = `{c}` [{c_rows}, {n}] do not meet",
            call.form
        ));
    }
    check_operands(call, m, k, n)?;
    let (epilogue, extra) = call.out.file();
    let keep = call.norm.as_ref().and_then(|norm| norm.keep);
    let parts = Parts { norm: call.norm.is_some(), keep: keep.is_some(), extra };
    let eps = call.norm.as_ref().map_or(0.0, |norm| norm.eps);
    let packs = dims::pitch(n) as u32 / 8;
    let flops = move |m: u32| 2.0 * f64::from(m) * n as f64 * k as f64;
    let k32 = k as u32;
    let (row_count, rows) = (call.rows, call.rows);
    match (spec, call.b) {
        (Spec::Buffer, Tensor::Buffer(b)) => {
            let (form, tile) = (call.form, Tile::of(call.form, a_rows, n, k));
            let mut binds = vec![Bind::Read(&buffer(call.a)?.view), Bind::Read(&b.view), write(call.c)?];
            match &call.out {
                Out::Plain => {}
                Out::Bias(bias) | Out::BiasAct(bias) => binds.push(Bind::Read(bias)),
                Out::BiasResidual(bias, residual) => {
                    binds.extend([Bind::Read(bias), Bind::Read(&buffer(residual)?.view)]);
                }
            }
            if let Some(norm) = &call.norm {
                binds.extend([Bind::Read(&norm.gain.view), Bind::Read(&norm.shift.view)]);
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
                (lay, form) => return refuse(format!("{form:?}: `{}` lies in {lay:?}", b.name)),
            };
            let mut binds = vec![read(call.a, rows), Bind::ReadImage(b)];
            binds.push(if call.form == Form::AB { write_image(call.c)? } else { write(call.c)? });
            match &call.out {
                Out::Plain => {}
                Out::Bias(bias) | Out::BiasAct(bias) => binds.push(Bind::Read(bias)),
                Out::BiasResidual(bias, residual) => binds.extend([Bind::Read(bias), read(residual, rows)]),
            }
            if let Some(norm) = &call.norm {
                let Some(image) = norm.image else {
                    return refuse(format!("`{}`: layer norm without its image", call.a.name()));
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
        (spec, b) => refuse(format!("{spec:?}: `{}` lies elsewhere", b.name())),
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::Kernel { kernel: "matvec".into(), message })
}

fn check_operands(call: &Matvec, m: u32, k: usize, n: usize) -> Result<()> {
    let mut matrices = Vec::new();
    let mut lists = Vec::new();
    let tensor = |tensor: &'_ Tensor, columns: usize| -> Result<()> {
        let [rows, own] = tensor.shape();
        if rows >= m as usize && own == columns {
            return Ok(());
        }
        refuse(format!("`{}` is [{rows}, {own}]: expected [{m} at least, {columns}]", tensor.name()))
    };
    if let Some(norm) = &call.norm {
        matrices.extend([(norm.gain, 1, k), (norm.shift, 1, k)]);
        norm.keep.map_or(Ok(()), |keep| tensor(keep, k))?;
    }
    match &call.out {
        Out::Plain => {}
        Out::Bias(bias) | Out::BiasAct(bias) => lists.push((*bias, n)),
        Out::BiasResidual(bias, residual) => {
            lists.push((*bias, n));
            tensor(residual, n)?;
        }
    }
    check_shapes("matvec", &matrices, &lists)
}

fn buffer(tensor: &Tensor) -> Result<&Matrix> {
    match tensor {
        Tensor::Buffer(matrix) => Ok(matrix),
        Tensor::Image(image) => refuse(format!("`{}` is an image: expected a buffer", image.name)),
    }
}

fn write(tensor: &Tensor) -> Result<Bind<'_, BlockCount>> {
    Ok(Bind::Write(&buffer(tensor)?.view))
}

fn write_image(tensor: &Tensor) -> Result<Bind<'_, BlockCount>> {
    match tensor {
        Tensor::Image(image) => Ok(Bind::WriteImage(image)),
        Tensor::Buffer(matrix) => refuse(format!("`{}` is a buffer: expected an image", matrix.view.name)),
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
    fn tiles_leave_a_device_busy() {
        let packs = |n, k| Tile::of(Form::AB, 1, n, k).packs;
        assert_eq!([packs(768, 768), packs(2304, 768), packs(3072, 768), packs(768, 3072)], [2, 2, 2, 1]);
        assert_eq!([packs(128, 128), packs(384, 128)], [8, 8]);
        assert_eq!(Tile::of(Form::ABt, 1, 40478, 768).packs, 8);
        assert_eq!([0, 1, 2, 3, 20].map(rows_a_group), [1, 1, 2, 4, 4]);
    }
}
