//! The cache of keys and values for generation: appending rows to it, and attention of one token a sequence over it.
//!
//! A cache [S, 2C] holds a row k | v for each cached token or slot of each sequence. Which rows a token sees is data
//! ([`Span`]), and which row is written is a rule ([`Append`]), so that full, local and memory-compressed attention use the
//! same kernels.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::{ListNeed, check_shapes, check_tensor};
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Recorder, Tensor, Variant, View};
use crate::{Error, Result, dims};
use std::ops::Range;

const DECODE: &str = include_str!("../../shaders/attention/decode.wgsl");
const DECODE_IMAGE: &str = include_str!("../../shaders/attention/decode_image.wgsl");
const APPEND: &str = include_str!("../../shaders/cache_append.wgsl");
const APPEND_IMAGE: &str = include_str!("../../shaders/cache_append_image.wgsl");

/// Invocations of a group that reads buffers.
const GROUP: u32 = 256;

/// Where q, k, v, the cache and y are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// In buffers: every GPU.
    Buffer,
    /// In images, for CPU adapters. D is a multiple of 4, at most 128.
    Image,
}

/// Chooses the Spec for heads of D channels.
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
    /// The number of rows.
    pub rows: u32,
    /// The row that its own key and value are written to.
    pub own: u32,
    /// Always 0.
    pub pad: u32,
}

impl Span {
    /// Words of a span.
    pub const WORDS: usize = 4;
}

/// Operands of the attention of one token a sequence.
pub struct Decode<'a> {
    /// H
    pub heads: usize,
    /// q, k, v side by side [B, 3C].
    pub qkv: &'a Tensor,
    /// [S, 2C], read; with `own` also written.
    pub cache: &'a Tensor,
    /// A [`Span`] for each sequence.
    pub spans: &'a View,
    /// Whether the token also sees its own key, which is not in the cache yet, and writes it there. If not, and its span has
    /// no row, y is 0.
    pub own: bool,
    /// Factor of the scores.
    pub scale: f32,
    /// Out [B, C].
    pub y: &'a Tensor,
}

/// Operands of an append. The cache is divided into rings of `ring_rows` rows, one for each sequence; what is numbered n is
/// written to row n mod `ring_rows` of its ring.
pub struct Append<'a> {
    /// The tensor whose rows are appended.
    pub input: &'a Tensor,
    /// How many of its rows are live.
    pub rows: RowCount,
    /// Which of its columns are appended.
    pub columns: Range<usize>,
    /// Rows of the input between the first rows of two rings; 0 if all rings receive the same rows.
    pub rows_apart: usize,
    /// [S, ..]
    pub cache: &'a Tensor,
    /// The first of its columns that are written.
    pub first_column: usize,
    /// The number of rings.
    pub rings: usize,
    /// Rows of each ring.
    pub ring_rows: usize,
}

/// Which rows of the input one run appends to each ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedRows {
    /// Rows of the input before the first one for the first ring.
    pub skip: u32,
    /// How many, at most the rows of a ring. With 0 the cache stays as it is.
    pub count: u32,
    /// The number of the first one.
    pub number: u32,
}

impl AppendedRows {
    /// The last rows of `n` rows, numbered from 0, that fit into a ring of `ring_rows` rows.
    pub fn last(n: u32, ring_rows: u32) -> AppendedRows {
        let count = n.min(ring_rows);
        AppendedRows { skip: n - count, count, number: n - count }
    }
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
    x_pitch: u32,
    cache_pitch: u32,
    skip: u32,
    number: u32,
    stretch: u32,
    apart: u32,
    x_at: u32,
    cache_at: u32,
    pad: [u32; 2],
}

fn decode_variant(spec: Spec, head_dim: usize, own: bool) -> Variant {
    let quads = head_dim.div_ceil(4) as u32;
    let variant = match spec {
        Spec::Buffer => RowAccess::Buffer { group: GROUP }
            .apply(Variant::trusted("attention_decode", DECODE))
            .constant("D", head_dim as u32)
            .constant("WHOLE", head_dim.is_multiple_of(4).into()),
        Spec::Image => RowAccess::Image
            .apply(Variant::trusted("attention_decode", DECODE_IMAGE))
            .constant("X", head_dim.div_ceil(32) as u32),
    };
    variant.constant("DQ", quads).constant("OWN", own.into())
}

/// From a buffer to a buffer, or from an image to either.
fn append_variant(from: Spec, to: Spec) -> Variant {
    match from {
        Spec::Buffer => Variant::trusted("cache_append", APPEND),
        Spec::Image => Variant::trusted("cache_append", APPEND_IMAGE)
            .relies_on_robust_access()
            .constant("BUFFER", (to == Spec::Buffer).into()),
    }
}

/// Every variant of attention over a cache that an adapter can run, for some head widths.
pub fn decode_variants(caps: &Caps) -> Vec<Variant> {
    let widths = [1, 7, 32, 64, 65, 128];
    let own = |d, own| specs(caps, d).into_iter().map(move |spec| decode_variant(spec, d, own));
    widths.into_iter().flat_map(|d| own(d, false).chain(own(d, true))).collect()
}

/// As [`decode_variants`], of the append.
pub fn append_variants(caps: &Caps) -> Vec<Variant> {
    specs(caps, 4).into_iter().flat_map(|from| [Spec::Buffer, from].map(|to| append_variant(from, to))).collect()
}

/// Records y for all live rows, one a sequence.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match, or a tensor is a buffer where the Spec reads images, or the reverse.
pub fn decode(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Decode) -> Result<()> {
    let kernel = "attention_decode";
    let (b, c, heads) = (recorder.capacity().rows, call.y.shape()[1], call.heads.max(1));
    let head_dim = c / heads;
    if head_dim * heads != c || !(1..=128).contains(&head_dim) {
        let error = Error::kernel(kernel, format!("C = {c}, H = {heads}")).at(call.y.name());
        return Err(error.expected("expected C a multiple of H, heads of at most 128 channels"));
    }
    check_tensor(kernel, call.y, b as usize, c)?;
    check_tensor(kernel, call.qkv, b as usize, 3 * c)?;
    check_tensor(kernel, call.cache, 1, 2 * c)?;
    check_shapes(kernel, &[], &[ListNeed { list: call.spans, words: Span::WORDS * b as usize }])?;
    let (scale, columns, grid) = (call.scale, c as u32, move |values: &StepValues| [values.rows, heads as u32, 1]);
    let variant = decode_variant(spec, head_dim, call.own);
    let spans = Bind::Read(call.spans);
    match (spec, call.qkv, call.cache, call.y) {
        (Spec::Buffer, Tensor::Buffer(qkv), Tensor::Buffer(cache), Tensor::Buffer(y)) => {
            let binds = [Bind::Read(&qkv.view), spans, Bind::Update(&cache.view), Bind::Write(&y.view)];
            let [pitch, cache_pitch, y_pitch] = [qkv, cache, y].map(|m| m.pitch() as u32);
            recorder.dispatch(&variant, &binds, move |values| {
                let params = DecodeParams { columns, pitch, cache_pitch, y_pitch, scale, pad: [0; 3] };
                Launch::new(params, grid(values))
            })
        }
        (Spec::Image, Tensor::Image(qkv), Tensor::Image(cache), Tensor::Image(y)) => {
            let seen = if call.own { Bind::UpdateImage(cache) } else { Bind::ReadImage(cache) };
            let binds = [Bind::ReadImage(qkv), spans, seen, Bind::WriteImage(y)];
            recorder.dispatch(&variant, &binds, move |values| {
                Launch::new(DecodeImageParams { columns, pad: 0, scale, pad1: 0 }, grid(values))
            })
        }
        (Spec::Buffer, ..) => Err(Error::kernel(kernel, "qkv, cache or y is an image").expected("expected buffers")),
        (Spec::Image, ..) => Err(Error::kernel(kernel, "qkv, cache or y is a buffer").expected("expected images")),
    }
}

/// Records an append of rows to the rings of a cache. `which` computes which rows a run appends; it returns the most rows for
/// the values at capacity. An image is appended to an image or a buffer; a buffer to a buffer, or through its image copy to an
/// image.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn append(
    recorder: &mut Recorder<StepValues>,
    call: &Append,
    which: impl Fn(&StepValues) -> AppendedRows + Send + Sync + 'static,
) -> Result<()> {
    let kernel = "cache_append";
    let (columns, c) = (call.columns.clone(), call.columns.len());
    let ([x_rows, x_columns], [cache_rows, cache_columns]) = (call.input.shape(), call.cache.shape());
    let most = which(recorder.capacity());
    let last = most.skip as usize + most.count as usize + call.rings.saturating_sub(1) * call.rows_apart;
    let fits = call.rings > 0
        && call.ring_rows >= most.count.max(1) as usize
        && call.rings * call.ring_rows <= cache_rows
        && call.first_column + c <= cache_columns
        && columns.end <= x_columns
        && last <= x_rows;
    if !fits {
        let found = format!(
            "{most:?}, columns {columns:?}, of `{}` [{x_rows}, {x_columns}] to column {} of {} rings of {} rows of `{}` \
             [{cache_rows}, {cache_columns}]",
            call.input.name(),
            call.first_column,
            call.rings,
            call.ring_rows,
            call.cache.name()
        );
        return Err(Error::kernel(kernel, found).expected("expected rows and columns that are inside both"));
    }
    let [x_pitch, cache_pitch] = [x_columns, cache_columns].map(|columns| dims::pitch(columns) as u32);
    let [columns, x_at, cache_at] = [c, columns.start, call.first_column].map(|x| x as u32);
    let [stretches, stretch, apart] = [call.rings, call.ring_rows, call.rows_apart].map(|x| x as u32);
    let plan = move |values: &StepValues| {
        let AppendedRows { skip, count: rows, number } = which(values);
        let pad = [0; 2];
        let params =
            AppendParams { rows, columns, x_pitch, cache_pitch, skip, number, stretch, apart, x_at, cache_at, pad };
        let [x, y, _] = grid_of(rows);
        Launch::new(params, [x, y, stretches])
    };
    if let (Tensor::Buffer(x), Tensor::Buffer(cache)) = (call.input, call.cache) {
        let binds = [Bind::Read(&x.view), Bind::Update(&cache.view)];
        return recorder.dispatch(&append_variant(Spec::Buffer, Spec::Buffer), &binds, plan);
    }
    if [columns, x_at, cache_at].iter().any(|x| !x.is_multiple_of(4)) {
        let found = format!("{columns} columns from {x_at} to {cache_at}");
        return Err(Error::kernel(kernel, found).at(call.input.name()).expected("expected multiples of 4 for images"));
    }
    let x = match call.input {
        Tensor::Image(x) => Bind::ReadImage(x),
        Tensor::Buffer(x) => Bind::Image(x, call.rows.into()),
    };
    let (to, cache) = match call.cache {
        Tensor::Image(cache) => (Spec::Image, Bind::WriteImage(cache)),
        Tensor::Buffer(cache) => (Spec::Buffer, Bind::Update(&cache.view)),
    };
    recorder.dispatch(&append_variant(Spec::Image, to), &[x, cache], plan)
}
