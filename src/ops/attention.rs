//! Causal attention in flash form over packed sequences: forward; backward to q; backward to k and v. Full and local
//! attention are the same kernels on other borders, which come from the layout.

use super::layout::{Layout, kind_index};
use super::{Extent, Live};
use crate::config::AttentionKind;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result, philox};

const FORWARD: &str = include_str!("../../shaders/attention/forward.wgsl");
const BACKWARD_Q: &str = include_str!("../../shaders/attention/backward_q.wgsl");
const BACKWARD_KV: &str = include_str!("../../shaders/attention/backward_kv.wgsl");
const FORWARD_IMAGE: &str = include_str!("../../shaders/attention/forward_image.wgsl");
const BACKWARD_Q_IMAGE: &str = include_str!("../../shaders/attention/backward_q_image.wgsl");
const BACKWARD_KV_IMAGE: &str = include_str!("../../shaders/attention/backward_kv_image.wgsl");

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// An invocation a query or key, `keys` of the others at a time in workgroup memory.
    Tiled {
        /// Rows in workgroup memory.
        keys: u32,
    },
    /// Blocks of 64 keys as named values read from images, for CPU adapters: D a multiple of 4 up to 64.
    Image,
}

/// The Spec for N rows of C channels in H heads.
pub fn choose(caps: &Caps, rows: usize, head_dim: usize) -> Spec {
    let fits = rows <= caps.max_texture as usize && head_dim.is_multiple_of(4) && head_dim <= 64;
    if caps.reads_images() && fits { Spec::Image } else { Spec::Tiled { keys: if head_dim <= 64 { 16 } else { 8 } } }
}

/// Every Spec that an adapter can run for this head width.
pub fn specs(caps: &Caps, head_dim: usize) -> Vec<Spec> {
    let mut all = vec![Spec::Tiled { keys: 8 }];
    all.extend((head_dim <= 64).then_some(Spec::Tiled { keys: 16 }));
    all.extend((choose(caps, 1, head_dim) == Spec::Image).then_some(Spec::Image));
    all
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    BackwardQ,
    BackwardKv,
}

fn variant(spec: Spec, pass: Pass, head_dim: u32, dropout: bool) -> Variant {
    let (stem, tiled, image) = match pass {
        Pass::Forward => ("attention_forward", FORWARD, FORWARD_IMAGE),
        Pass::BackwardQ => ("attention_backward_q", BACKWARD_Q, BACKWARD_Q_IMAGE),
        Pass::BackwardKv => ("attention_backward_kv", BACKWARD_KV, BACKWARD_KV_IMAGE),
    };
    let variant = match spec {
        Spec::Tiled { keys } => Variant::new(stem, tiled).constant("D", head_dim).constant("KEYS", keys),
        Spec::Image => {
            let image = super::Io::Image.apply(Variant::new(stem, image));
            image.constant("X", head_dim.div_ceil(32))
        }
    };
    variant.constant("DQ", head_dim.div_ceil(4)).constant("DROPOUT", dropout.into())
}

fn every(caps: &Caps, pass: Pass) -> Vec<Variant> {
    let mut all = Vec::new();
    for head_dim in [1, 7, 32, 64, 65, 128] {
        for spec in specs(caps, head_dim) {
            for dropout in [false, true] {
                all.push(variant(spec, pass, head_dim as u32, dropout));
            }
        }
    }
    all
}

/// Every variant of the forward pass that can come up on an adapter, for some head widths.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    every(caps, Pass::Forward)
}

/// As [`variants`], of both backward kernels.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    let mut all = every(caps, Pass::BackwardQ);
    all.extend(every(caps, Pass::BackwardKv));
    all
}

/// What both directions share.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Full or local.
    pub kind: AttentionKind,
    /// H
    pub heads: usize,
    /// q, k, v side by side [N, 3C].
    pub qkv: &'a Matrix,
    /// [N, C]
    pub y: &'a Matrix,
    /// ℓ, N·H
    pub log_sum_exp: &'a View,
    /// Borders, positions, sequence numbers.
    pub layout: &'a Layout,
    /// Share of probabilities dropped.
    pub rate: f32,
    /// The layer, for dropout's place.
    pub layer: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    heads: u32,
    columns: u32,
    pitch: u32,
    y_pitch: u32,
    key: [u32; 2],
    threshold: u32,
    place: u32,
    keep: f32,
    scale: f32,
    tiles_at: u32,
    positions_at: u32,
    sequences_at: u32,
    pad: [u32; 3],
}

impl Attention<'_> {
    fn head_dim(&self) -> usize {
        self.y.columns / self.heads.max(1)
    }

    fn check(&self) -> Result<()> {
        let (qkv, y) = (self.qkv, self.y);
        let fits = qkv.columns == 3 * y.columns && self.heads * self.head_dim() == y.columns && self.head_dim() > 0;
        let rows = qkv.rows == y.rows && self.log_sum_exp.words as usize >= y.rows * self.heads;
        if fits && rows && self.head_dim() <= 128 {
            return Ok(());
        }
        let message = format!(
            "qkv [{}, {}], y [{}, {}], {} heads: expected [N, 3C], [N, C], C a multiple of H, heads of at most 128",
            qkv.rows, qkv.columns, y.rows, y.columns, self.heads
        );
        Err(Error::Kernel { kernel: "attention".into(), message })
    }

    fn params(&self, queries: bool) -> Params {
        let tiles = self.layout.tiles[kind_index(self.kind)];
        Params {
            heads: self.heads as u32,
            columns: self.y.columns as u32,
            pitch: self.qkv.pitch() as u32,
            y_pitch: self.y.pitch() as u32,
            key: [0; 2],
            threshold: philox::threshold(self.rate),
            place: philox::place(0, self.layer, philox::Site::Attention),
            keep: 1.0 / (1.0 - self.rate),
            scale: (1.0 / (self.head_dim() as f64).sqrt()) as f32,
            tiles_at: if queries { tiles.queries } else { tiles.keys },
            positions_at: self.layout.offsets[0],
            sequences_at: self.layout.offsets[1],
            pad: [0; 3],
        }
    }

    fn record(&self, rec: &mut Recorder<Live>, spec: Spec, pass: Pass, binds: &[Bind<'_, Live>]) -> Result<()> {
        let queries = !matches!(pass, Pass::BackwardKv);
        let params = self.params(queries);
        let (kind, heads) = (kind_index(self.kind), self.heads as u32);
        // Two products forward, three and four backward, over half of the square of each tile's run.
        let products = match pass {
            Pass::Forward => 2.0,
            Pass::BackwardQ => 3.0,
            Pass::BackwardKv => 4.0,
        };
        let work = products * self.y.columns as f64 * 64.0 * 64.0;
        let variant = variant(spec, pass, self.head_dim() as u32, self.rate > 0.0);
        rec.dispatch(&variant, binds, move |live| {
            let tiles = if queries { live.query_tiles[kind] } else { live.key_tiles[kind] };
            let flops = work * f64::from(tiles) * f64::from(live.rows.div_ceil(64)).sqrt();
            Launch::new(Params { key: live.key, ..params }, [tiles, heads, 1]).flops(flops)
        })
    }
}

/// Records y and ℓ.
///
/// # Errors
/// [`Error::Kernel`] when the shapes do not meet.
pub fn forward(recorder: &mut Recorder<Live>, spec: Spec, call: &Attention) -> Result<()> {
    call.check()?;
    let (n, c) = (recorder.capacity().rows, call.y.columns);
    let lists = [(call.log_sum_exp, n as usize * call.heads)];
    super::shapes("attention", &[(call.qkv, n, 3 * c), (call.y, n, c)], &lists)?;
    let rows = || Extent::Rows.rows();
    let (table, y) = (Bind::Read(&call.layout.table), Bind::Write(&call.y.view));
    let lse = Bind::Write(call.log_sum_exp);
    let binds = match spec {
        Spec::Tiled { .. } => vec![Bind::Read(&call.qkv.view), table, y, lse],
        Spec::Image => vec![Bind::Image(call.qkv, &rows), Bind::Image(call.qkv, &rows), table, y, lse],
    };
    call.record(recorder, spec, Pass::Forward, &binds)
}

/// Records dqkv from dy, by way of δ (room for N·H floats).
///
/// # Errors
/// [`Error::Kernel`] when the shapes do not meet.
pub fn backward(
    recorder: &mut Recorder<Live>,
    spec: Spec,
    call: &Attention,
    dy: &Matrix,
    delta: &View,
    dqkv: &Matrix,
) -> Result<()> {
    call.check()?;
    let (n, c) = (recorder.capacity().rows, call.y.columns);
    let lists = [(call.log_sum_exp, n as usize * call.heads), (delta, n as usize * call.heads)];
    let all = [(call.qkv, n, 3 * c), (call.y, n, c), (dy, n, c), (dqkv, n, 3 * c)];
    super::shapes("attention_backward", &all, &lists)?;
    let rows = || Extent::Rows.rows();
    let image = |m| Bind::Image(m, &rows);
    let (table, lse) = (&call.layout.table, call.log_sum_exp);
    let mut binds = match spec {
        Spec::Tiled { .. } => vec![Bind::Read(&call.qkv.view), Bind::Read(&dy.view), Bind::Read(&call.y.view)],
        Spec::Image => vec![image(call.qkv), image(call.qkv), image(dy), image(call.y)],
    };
    binds.extend([Bind::Read(table), Bind::Read(lse), Bind::Write(delta), Bind::Write(&dqkv.view)]);
    call.record(recorder, spec, Pass::BackwardQ, &binds)?;
    let mut binds = match spec {
        Spec::Tiled { .. } => vec![Bind::Read(&call.qkv.view), Bind::Read(&dy.view)],
        Spec::Image => vec![image(call.qkv), image(call.qkv), image(dy)],
    };
    binds.extend([Bind::Read(table), Bind::Read(lse), Bind::Read(delta), Bind::Update(&dqkv.view)]);
    call.record(recorder, spec, Pass::BackwardKv, &binds)
}
