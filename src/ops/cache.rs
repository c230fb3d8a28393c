//! Keys and values kept from token to token: what a prompt leaves, and attention of one token a sequence over them.
//!
//! A cache [S, 2C] holds a row k | v for each position of each sequence; which rows a token sees is data ([`Span`]), so that
//! full and local attention, and slots of another making, are the same kernel.

use super::{Extent, Io, Live};
use crate::gpu::{Bind, Caps, Launch, Recorder, Tensor, Variant, View};
use crate::{Error, Result, dims};

const DECODE: &str = include_str!("../../shaders/attention/decode.wgsl");
const DECODE_IMAGE: &str = include_str!("../../shaders/attention/decode_image.wgsl");
const APPEND: &str = include_str!("../../shaders/cache_append.wgsl");
const APPEND_IMAGE: &str = include_str!("../../shaders/cache_append_image.wgsl");

/// Invocations of a group that reads buffers.
const GROUP: u32 = 256;

/// Where q, k, v, the cache and y lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// In buffers: every GPU.
    Buffer,
    /// In images, for CPU adapters: D a multiple of 4 up to 128.
    Image,
}

/// The Spec for heads of D channels.
pub fn choose(caps: &Caps, head_dim: usize) -> Spec {
    let images = caps.reads_images() && caps.image_update && head_dim.is_multiple_of(4);
    if images { Spec::Image } else { Spec::Buffer }
}

/// Every Spec that an adapter can run for this head width.
pub fn specs(caps: &Caps, head_dim: usize) -> Vec<Spec> {
    let mut all = vec![Spec::Buffer];
    all.extend((choose(caps, head_dim) == Spec::Image).then_some(Spec::Image));
    all
}

/// The rows of a cache that a token sees.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Span {
    /// The first row.
    pub first: u32,
    /// How many.
    pub rows: u32,
    /// The row where its own key and value go.
    pub own: u32,
    /// 0
    pub pad: u32,
}

impl Span {
    /// Words of one.
    pub const WORDS: usize = 4;
}

/// Attention of one token a sequence.
pub struct Decode<'a> {
    /// H
    pub heads: usize,
    /// q, k, v side by side [B, 3C].
    pub qkv: &'a Tensor,
    /// [S, 2C], read and, with `own`, written.
    pub cache: &'a Tensor,
    /// A [`Span`] a sequence.
    pub spans: &'a View,
    /// Whether the token sees its own key, which is not in the cache yet, and leaves it there. Without it a span has a row
    /// at least, else y is 0.
    pub own: bool,
    /// Out [B, C].
    pub y: &'a Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct DecodeParams {
    columns: u32,
    pitch: u32,
    cache_pitch: u32,
    y_pitch: u32,
    scale: f32,
    pad: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct DecodeImageParams {
    columns: u32,
    pad: u32,
    scale: f32,
    pad1: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AppendParams {
    rows: u32,
    columns: u32,
    pitch: u32,
    cache_pitch: u32,
    stretch: u32,
    pad: [u32; 3],
}

fn decode_variant(spec: Spec, head_dim: usize, own: bool) -> Variant {
    let quads = head_dim.div_ceil(4) as u32;
    let variant = match spec {
        Spec::Buffer => Io::Buffer { group: GROUP }
            .apply(Variant::new("attention_decode", DECODE))
            .constant("D", head_dim as u32)
            .constant("WHOLE", head_dim.is_multiple_of(4).into()),
        Spec::Image => {
            Io::Image.apply(Variant::new("attention_decode", DECODE_IMAGE)).constant("X", head_dim.div_ceil(32) as u32)
        }
    };
    variant.constant("DQ", quads).constant("OWN", own.into())
}

fn append_variant(spec: Spec) -> Variant {
    match spec {
        Spec::Buffer => Variant::new("cache_append", APPEND),
        Spec::Image => Io::Image.apply(Variant::new("cache_append", APPEND_IMAGE)),
    }
}

/// Every variant of attention over a cache that can come up on an adapter, for some head widths.
pub fn decode_variants(caps: &Caps) -> Vec<Variant> {
    let widths = [1, 7, 32, 64, 65, 128];
    let own = |d, own| specs(caps, d).into_iter().map(move |spec| decode_variant(spec, d, own));
    widths.into_iter().flat_map(|d| own(d, false).chain(own(d, true))).collect()
}

/// As [`decode_variants`], of the append.
pub fn append_variants(caps: &Caps) -> Vec<Variant> {
    specs(caps, 4).into_iter().map(append_variant).collect()
}

fn refuse<T>(kernel: &str, message: String) -> Result<T> {
    Err(Error::Kernel { kernel: kernel.into(), message })
}

fn expect(kernel: &str, tensor: &Tensor, rows: usize, columns: usize) -> Result<()> {
    let [has_rows, has_columns] = tensor.shape();
    if has_rows >= rows && has_columns == columns {
        return Ok(());
    }
    let name = tensor.name();
    refuse(kernel, format!("`{name}` is [{has_rows}, {has_columns}]: expected [{rows} at least, {columns}]"))
}

/// Records y over all live rows, one a sequence.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not meet, or a tensor lies where the Spec does not look.
pub fn decode(recorder: &mut Recorder<Live>, spec: Spec, call: &Decode) -> Result<()> {
    let kernel = "attention_decode";
    let (b, c, heads) = (recorder.capacity().rows, call.y.shape()[1], call.heads.max(1));
    let head_dim = c / heads;
    if head_dim * heads != c || !(1..=128).contains(&head_dim) {
        return refuse(kernel, format!("C = {c}, {heads} heads: expected a multiple, heads of at most 128"));
    }
    expect(kernel, call.y, b as usize, c)?;
    expect(kernel, call.qkv, b as usize, 3 * c)?;
    expect(kernel, call.cache, 1, 2 * c)?;
    super::shapes(kernel, &[], &[(call.spans, Span::WORDS * b as usize)])?;
    let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
    let (columns, grid) = (c as u32, move |live: &Live| [live.rows, heads as u32, 1]);
    let variant = decode_variant(spec, head_dim, call.own);
    let spans = Bind::Read(call.spans);
    match (spec, call.qkv, call.cache, call.y) {
        (Spec::Buffer, Tensor::Buffer(qkv), Tensor::Buffer(cache), Tensor::Buffer(y)) => {
            let binds = [Bind::Read(&qkv.view), spans, Bind::Update(&cache.view), Bind::Write(&y.view)];
            let [pitch, cache_pitch, y_pitch] = [qkv, cache, y].map(|m| m.pitch() as u32);
            recorder.dispatch(&variant, &binds, move |live| {
                let params = DecodeParams { columns, pitch, cache_pitch, y_pitch, scale, pad: [0; 3] };
                Launch::new(params, grid(live))
            })
        }
        (Spec::Image, Tensor::Image(qkv), Tensor::Image(cache), Tensor::Image(y)) => {
            let seen = if call.own { Bind::UpdateImage(cache) } else { Bind::ReadImage(cache) };
            let binds = [Bind::ReadImage(qkv), spans, seen, Bind::WriteImage(y)];
            recorder.dispatch(&variant, &binds, move |live| {
                Launch::new(DecodeImageParams { columns, pad: 0, scale, pad1: 0 }, grid(live))
            })
        }
        _ => refuse(kernel, format!("{spec:?}: qkv, cache and y lie elsewhere")),
    }
}

/// Records that the keys and values of all live rows of `qkv` [N, 3C] go to the first rows of each of `copies` stretches of
/// `stretch` rows of `cache` [S, 2C].
///
/// # Errors
/// [`Error::Kernel`] when shapes do not meet, or the cache lies where the Spec does not look.
pub fn append(
    recorder: &mut Recorder<Live>,
    spec: Spec,
    qkv: &crate::gpu::Matrix,
    cache: &Tensor,
    [copies, stretch]: [usize; 2],
) -> Result<()> {
    let kernel = "cache_append";
    let n = recorder.capacity().rows as usize;
    let c = qkv.columns / 3;
    super::shapes(kernel, &[(qkv, n as u32, 3 * c)], &[])?;
    expect(kernel, cache, copies * stretch, 2 * c)?;
    if n > stretch || copies == 0 {
        return refuse(kernel, format!("{n} rows for {copies} stretches of {stretch}"));
    }
    let (pitch, cache_pitch) = (qkv.pitch() as u32, dims::pitch(2 * c) as u32);
    let (copies, stretch, columns) = (copies as u32, stretch as u32, c as u32);
    let plan = move |live: &Live| {
        let params = AppendParams { rows: live.rows, columns, pitch, cache_pitch, stretch, pad: [0; 3] };
        let [x, y, _] = super::fold(live.rows);
        Launch::new(params, [x, y, copies])
    };
    let rows = || Extent::Rows.rows();
    match (spec, cache) {
        (Spec::Buffer, Tensor::Buffer(cache)) => {
            let binds = [Bind::Read(&qkv.view), Bind::Update(&cache.view)];
            recorder.dispatch(&append_variant(spec), &binds, plan)
        }
        (Spec::Image, Tensor::Image(cache)) if c.is_multiple_of(4) => {
            let binds = [Bind::Image(qkv, &rows), Bind::WriteImage(cache)];
            recorder.dispatch(&append_variant(spec), &binds, plan)
        }
        _ => refuse(kernel, format!("{spec:?}, C = {c}: `{}` lies elsewhere", cache.name())),
    }
}
