//! Causal attention in flash form over packed sequences: forward; backward to q; backward to k and v. Full, local and
//! memory-compressed attention use the same kernels: queries are read from one matrix, keys and values from the same or
//! another, and the layout's tiles and two integers ([`super::tiles::Rule`]) say which keys a query sees.

use super::layout::{LayoutBuffer, kind_index};
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::tiles::{TILE_WORDS, tiled_turns};
use super::values::StepValues;
use crate::config::AttentionKind;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result, philox};

const FORWARD: &str = include_str!("../../shaders/attention/forward.wgsl");
const BACKWARD_Q: &str = include_str!("../../shaders/attention/backward_q.wgsl");
const BACKWARD_KV: &str = include_str!("../../shaders/attention/backward_kv.wgsl");
const FORWARD_IMAGE: &str = include_str!("../../shaders/attention/forward_image.wgsl");
const BACKWARD_Q_IMAGE: &str = include_str!("../../shaders/attention/backward_q_image.wgsl");
const BACKWARD_KV_IMAGE: &str = include_str!("../../shaders/attention/backward_kv_image.wgsl");

/// Which shader files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// 64 queries or keys a group, products of tiles in workgroup memory.
    Tiled {
        /// Invocations a group: 128, or 256 with half the registers each and more loads from workgroup memory. Runs of older
        /// versions have other numbers here, of kernels that are gone.
        #[serde(alias = "keys")]
        group: u32,
        /// For GPUs whose invocations have few registers: dropout is drawn before the products, and above D 64 the gradients of
        /// keys and of values are dispatches of their own. Groups of 256.
        #[serde(default)]
        few_registers: bool,
    },
    /// Blocks of 64 keys read from images into named values, for CPU adapters. D is a multiple of 4, at most 64.
    Image,
}

/// Chooses the Spec for heads of `head_dim` channels, where queries and keys have `rows` rows at most.
pub fn choose(caps: &Caps, rows: usize, head_dim: usize) -> Spec {
    let fits = rows <= caps.max_texture as usize && head_dim.is_multiple_of(4) && head_dim <= 64;
    if caps.reads_images() && fits {
        return Spec::Image;
    }
    // An invocation has half the registers on Apple's GPUs. FXC compiles these kernels in a third to a half of the time.
    let few_registers = caps.name.contains("Apple") || caps.compiles_with_fxc();
    Spec::Tiled { group: if head_dim > 64 || few_registers { 256 } else { 128 }, few_registers }
}

/// Every Spec that an adapter can run for this head width.
pub fn specs(caps: &Caps, head_dim: usize) -> Vec<Spec> {
    let mut all = [false, true].map(|few_registers| Spec::Tiled { group: 256, few_registers }).to_vec();
    all.extend((head_dim <= 64).then_some(Spec::Tiled { group: 128, few_registers: false }));
    let chosen = choose(caps, 1, head_dim);
    all.extend((chosen == Spec::Image).then_some(Spec::Image));
    // Tests that run one Spec alone take the last.
    all.sort_by_key(|spec| *spec == chosen);
    all
}

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    BackwardQ,
    BackwardKv(Gradient),
}

/// What a dispatch of the gradients of keys and values computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gradient {
    Both,
    Keys,
    Values,
}

/// The dispatches that compute the gradients of keys and values.
fn gradients(spec: Spec, head_dim: usize) -> &'static [Gradient] {
    match spec {
        Spec::Tiled { few_registers: true, .. } if head_dim > 64 => &[Gradient::Keys, Gradient::Values],
        _ => &[Gradient::Both],
    }
}

fn variant(caps: &Caps, spec: Spec, pass: Pass, head_dim: u32, dropout: bool) -> Variant {
    let (stem, tiled, image) = match pass {
        Pass::Forward => ("attention_forward", FORWARD, FORWARD_IMAGE),
        Pass::BackwardQ => ("attention_backward_q", BACKWARD_Q, BACKWARD_Q_IMAGE),
        Pass::BackwardKv(_) => ("attention_backward_kv", BACKWARD_KV, BACKWARD_KV_IMAGE),
    };
    let variant = match spec {
        Spec::Tiled { group, few_registers } => {
            let [read, write] = match head_dim.is_multiple_of(4) {
                true => ["head_read_vec4", "head_write_vec4"],
                false => ["head_read", "head_write"],
            };
            let tiled = Variant::trusted(stem, tiled).import("head_read", read).import("head_write", write);
            let tiled = if caps.int64 && dropout { tiled.import("philox", "philox_u64") } else { tiled };
            let piece = match head_dim {
                0..=64 => 32,
                _ if few_registers => 8,
                _ => 16,
            };
            let tiled = tiled.constant("D", head_dim).constant("LANES", group / 16).constant("KEYS", 64);
            let tiled = tiled.constant("CHUNK", 8).constant("PIECE", piece);
            let tiled = tiled.constant("FEW_REGISTERS", few_registers.into());
            match pass {
                Pass::BackwardKv(gradient) => tiled
                    .constant("WITHOUT_K", (gradient == Gradient::Values).into())
                    .constant("WITHOUT_V", (gradient == Gradient::Keys).into()),
                _ => tiled,
            }
        }
        Spec::Image => {
            let image = RowAccess::Image.apply(Variant::trusted(stem, image)).constant("X", head_dim.div_ceil(32));
            image.constant("BACKWARD", (!matches!(pass, Pass::Forward)).into())
        }
    };
    variant.constant("DQ", head_dim.div_ceil(4)).constant("DROPOUT", dropout.into())
}

fn every(caps: &Caps, passes: impl Fn(Spec, usize) -> Vec<Pass>) -> Vec<Variant> {
    let mut all = Vec::new();
    for head_dim in [1, 7, 32, 64, 65, 128] {
        for spec in specs(caps, head_dim) {
            for pass in passes(spec, head_dim) {
                all.extend([false, true].map(|dropout| variant(caps, spec, pass, head_dim as u32, dropout)));
            }
        }
    }
    all
}

/// Every variant of the forward pass that an adapter can run, for some head widths.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    every(caps, |_, _| vec![Pass::Forward])
}

/// As [`variants`], of both backward kernels.
pub fn backward_variants(caps: &Caps) -> Vec<Variant> {
    let mut all = every(caps, |_, _| vec![Pass::BackwardQ]);
    all.extend(every(caps, |spec, head_dim| gradients(spec, head_dim).iter().copied().map(Pass::BackwardKv).collect()));
    all
}

/// The row and column of a matrix where a part of it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corner {
    /// Its first row.
    pub row: usize,
    /// Its first column.
    pub column: usize,
}

impl Corner {
    fn words(self) -> [u32; 2] {
        [self.row as u32, self.column as u32]
    }
}

/// Where keys and values are stored.
#[derive(Clone, Copy)]
pub struct KeyValues<'a> {
    /// The matrix that holds both.
    pub matrix: &'a Matrix,
    /// Where the first key is.
    pub k: Corner,
    /// Where the first value is.
    pub v: Corner,
    /// Rows of the matrix that are live.
    pub rows: RowCount,
}

impl<'a> KeyValues<'a> {
    /// In the matrix of the queries: q, k, v side by side [N, 3C].
    pub fn beside(qkv: &'a Matrix) -> Self {
        let c = qkv.columns / 3;
        KeyValues {
            matrix: qkv,
            k: Corner { row: 0, column: c },
            v: Corner { row: 0, column: 2 * c },
            rows: RowCount::Rows,
        }
    }

    /// In a matrix of their own [2M, C]: keys in the upper half, values in the lower.
    pub fn stacked(kv: &'a Matrix) -> Self {
        KeyValues {
            matrix: kv,
            k: Corner { row: 0, column: 0 },
            v: Corner { row: kv.rows / 2, column: 0 },
            rows: RowCount::Fixed(kv.rows as u32),
        }
    }

    fn holds(&self, rows: usize, c: usize) -> bool {
        let inside = |Corner { row, column }| row + rows <= self.matrix.rows && column + c <= self.matrix.columns;
        inside(self.k) && inside(self.v) && self.matrix.view.words as usize >= self.matrix.rows * self.matrix.pitch()
    }
}

/// Operands of both directions.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Full, local or compressed.
    pub kind: AttentionKind,
    /// H
    pub heads: usize,
    /// Queries in the first C columns [N, C or more].
    pub queries: &'a Matrix,
    /// Their keys and values.
    pub kv: KeyValues<'a>,
    /// [N, C]
    pub y: &'a Matrix,
    /// ℓ, N·H
    pub log_sum_exp: &'a View,
    /// The tiles of the batch, and which keys a query sees.
    pub layout: &'a LayoutBuffer,
    /// Factor of the scores.
    pub scale: f32,
    /// Dropout rate of the probabilities.
    pub rate: f32,
    /// The layer's number, for the place of its dropout mask.
    pub layer: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    heads: u32,
    q_pitch: u32,
    kv_pitch: u32,
    y_pitch: u32,
    k: [u32; 2],
    v: [u32; 2],
    key: [u32; 2],
    threshold: u32,
    place: u32,
    keep: f32,
    scale: f32,
    tiles_at: u32,
    factor: u32,
    nulls: u32,
    quads: u32,
    pad: [u32; 2],
}

/// D^-½, the scale of scores in GPT-1.
pub fn head_scale(c: usize, heads: usize) -> f32 {
    (1.0 / ((c / heads.max(1)) as f64).sqrt()) as f32
}

impl Attention<'_> {
    fn head_dim(&self) -> usize {
        self.y.columns / self.heads.max(1)
    }

    /// The number of rows of keys that the layout's tiles refer to at most.
    fn key_rows(&self, values: &StepValues) -> usize {
        match self.kind {
            AttentionKind::Full | AttentionKind::Local => self.kv.rows.at(values) as usize,
            AttentionKind::Compressed => self.layout.capacity().slot_rows(),
        }
    }

    fn check(&self, values: &StepValues) -> Result<()> {
        let (queries, y, kv) = (self.queries, self.y, self.kv.matrix);
        let c = y.columns;
        let heads = self.heads * self.head_dim() == c && (1..=128).contains(&self.head_dim());
        let rows = queries.rows == y.rows && self.log_sum_exp.words as usize >= y.rows * self.heads;
        // Kernels read four channels at once where heads are multiples of four.
        let aligned = !self.head_dim().is_multiple_of(4) || (self.kv.k.column + self.kv.v.column).is_multiple_of(4);
        if heads && rows && aligned && queries.columns >= c && self.kv.holds(self.key_rows(values), c) {
            return Ok(());
        }
        let found = format!(
            "queries [{}, {}], keys and values [{}, {}] at {:?} and {:?}, y [{}, {c}], {} heads",
            queries.rows, queries.columns, kv.rows, kv.columns, self.kv.k, self.kv.v, y.rows, self.heads,
        );
        let (rows, heads) = (self.key_rows(values), "C a multiple of H, heads of at most 128");
        Err(Error::kernel("attention", found)
            .expected(format!("expected [N, C], {rows} rows of C each, [N, C], {heads}")))
    }

    fn params(&self, queries: bool) -> Params {
        let tiles = self.layout.tiles[kind_index(self.kind)];
        let rule = self.layout.capacity().rule(self.kind);
        Params {
            heads: self.heads as u32,
            q_pitch: self.queries.pitch() as u32,
            kv_pitch: self.kv.matrix.pitch() as u32,
            y_pitch: self.y.pitch() as u32,
            k: self.kv.k.words(),
            v: self.kv.v.words(),
            key: [0; 2],
            threshold: philox::threshold(self.rate),
            place: philox::place(0, self.layer, philox::Site::Attention),
            keep: 1.0 / (1.0 - self.rate),
            scale: self.scale,
            tiles_at: if queries { tiles.query_start } else { tiles.key_start },
            factor: rule.factor as u32,
            nulls: rule.nulls as u32,
            quads: self.head_dim().div_ceil(4) as u32,
            pad: [0; 2],
        }
    }

    /// Refuses sequences that are so long that the driver would end a kernel's loops early, without an error.
    fn check_turns(&self, caps: &Caps, spec: Spec, pass: Pass) -> Result<()> {
        let (Some(most), Spec::Tiled { .. }) = (caps.loop_turns(), spec) else { return Ok(()) };
        let capacity = self.layout.capacity();
        let (positions, keys) = (capacity.positions, capacity.rule(self.kind).keys(capacity.positions));
        let [positions, keys] = match (self.kind, capacity.local_block) {
            (AttentionKind::Local, Some(block)) => [positions, keys].map(|n| n.min(block)),
            _ => [positions, keys],
        };
        let (others, work) = match pass {
            Pass::Forward => (keys, [1, 1]),
            Pass::BackwardQ => (keys, [2, 1]),
            Pass::BackwardKv(_) => (positions, [2, 2]),
        };
        let turns = tiled_turns(others, self.head_dim(), work);
        if turns < most {
            return Ok(());
        }
        let error = Error::kernel("attention", format!("{positions} positions, which take {turns} turns of its loops"));
        Err(error.expected(format!("the driver of {} ends loops after {most} turns: use shorter sequences", caps.name)))
    }

    fn record(
        &self,
        rec: &mut Recorder<StepValues>,
        spec: Spec,
        pass: Pass,
        binds: &[Bind<'_, BlockCount>],
    ) -> Result<()> {
        let queries = !matches!(pass, Pass::BackwardKv(_));
        self.check_turns(rec.device().caps(), spec, pass)?;
        let params = self.params(queries);
        let (kind, heads) = (kind_index(self.kind), self.heads as u32);
        // Two products forward, three and four backward; two halves have five.
        let products = match pass {
            Pass::Forward => 2.0,
            Pass::BackwardQ => 3.0,
            Pass::BackwardKv(Gradient::Both) => 4.0,
            Pass::BackwardKv(Gradient::Keys) => 3.0,
            Pass::BackwardKv(Gradient::Values) => 2.0,
        };
        let work = 2.0 * products * self.y.columns as f64;
        let variant = variant(rec.device().caps(), spec, pass, self.head_dim() as u32, self.rate > 0.0);
        let parts = if spec == Spec::Image { 1 } else { self.layout.capacity().tile_rows as u32 / 64 };
        // Tiles are in descending order of their keys: at equal lengths, the first half has three quarters of the work.
        let (flops, most) = (work * rec.capacity().pairs[kind], rec.device().caps().max_dispatch_flops);
        let dispatches = if flops > most { (2.0 * flops / most).ceil() as u32 } else { 1 };
        for i in 0..dispatches {
            rec.dispatch(&variant, binds, move |values| {
                let all = if queries { values.query_tiles[kind] } else { values.key_tiles[kind] };
                let (first, end) = (i * all.div_ceil(dispatches), (i + 1) * all.div_ceil(dispatches));
                let (first, end) = (first.min(all), end.min(all));
                let tiles_at = params.tiles_at + TILE_WORDS as u32 * first;
                let params = Params { key: values.dropout_key, tiles_at, ..params };
                Launch::new(params, [end - first, heads, parts])
                    .flops(work * values.pairs[kind] / f64::from(dispatches))
            })?;
        }
        Ok(())
    }
}

/// Records y and ℓ.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn forward(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Attention) -> Result<()> {
    call.check(recorder.capacity())?;
    let (n, c) = (recorder.capacity().rows, call.y.columns);
    let matrices = [
        MatrixNeed { matrix: call.queries, rows: n, columns: call.queries.columns },
        MatrixNeed { matrix: call.y, rows: n, columns: c },
    ];
    check_shapes("attention", &matrices, &[ListNeed { list: call.log_sum_exp, words: n as usize * call.heads }])?;
    let (rows, key_rows) = (RowCount::Rows.into(), call.kv.rows.into());
    let (table, y) = (Bind::Read(&call.layout.table), Bind::Write(&call.y.view));
    let lse = Bind::Write(call.log_sum_exp);
    let binds = match spec {
        Spec::Tiled { .. } => vec![Bind::Read(&call.queries.view), Bind::Read(&call.kv.matrix.view), table, y, lse],
        Spec::Image => {
            vec![Bind::Image(call.queries, rows), Bind::Image(call.kv.matrix, key_rows), table, y, lse]
        }
    };
    call.record(recorder, spec, Pass::Forward, &binds)
}

/// Operands of the backward pass.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    /// [N, C]
    pub dy: &'a Matrix,
    /// Workspace for δ, N·H.
    pub delta: &'a View,
    /// = in the first C columns; of the shape of `queries`.
    pub dq: &'a Matrix,
    /// = where keys and values are; of the shape of their matrix. The same matrix as `dq` where they are beside the queries.
    pub dkv: &'a Matrix,
}

/// Records dq, dk and dv from dy, by way of δ.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn backward(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Attention, to: &Gradients) -> Result<()> {
    call.check(recorder.capacity())?;
    let (n, c) = (recorder.capacity().rows, call.y.columns);
    let (queries, kv) = (call.queries, call.kv.matrix);
    let of_queries = [queries, to.dq].map(|matrix| MatrixNeed { matrix, rows: n, columns: queries.columns });
    let of_outputs = [call.y, to.dy].map(|matrix| MatrixNeed { matrix, rows: n, columns: c });
    let of_keys = [MatrixNeed { matrix: to.dkv, rows: kv.rows as u32, columns: kv.columns }];
    let lists = [call.log_sum_exp, to.delta].map(|list| ListNeed { list, words: n as usize * call.heads });
    check_shapes("attention_backward", &[&of_queries[..], &of_outputs, &of_keys].concat(), &lists)?;
    let (rows, key_rows) = (RowCount::Rows.into(), call.kv.rows.into());
    let image = |m| Bind::Image(m, rows);
    let (table, lse) = (&call.layout.table, call.log_sum_exp);
    let mut binds = match spec {
        Spec::Tiled { .. } => [&queries.view, &kv.view, &to.dy.view, &call.y.view].map(Bind::Read).into(),
        Spec::Image => vec![image(queries), Bind::Image(kv, key_rows), image(to.dy), image(call.y)],
    };
    binds.extend([Bind::Read(table), Bind::Read(lse), Bind::Write(to.delta), Bind::Write(&to.dq.view)]);
    call.record(recorder, spec, Pass::BackwardQ, &binds)?;
    let mut binds = match spec {
        Spec::Tiled { .. } => [&queries.view, &kv.view, &to.dy.view].map(Bind::Read).into(),
        Spec::Image => vec![Bind::Image(kv, key_rows), image(queries), image(to.dy)],
    };
    binds.extend([Bind::Read(table), Bind::Read(lse), Bind::Read(to.delta), Bind::Update(&to.dkv.view)]);
    for gradient in gradients(spec, call.head_dim()) {
        call.record(recorder, spec, Pass::BackwardKv(*gradient), &binds)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_of_older_versions_are_read_and_not_run() {
        let old: Spec = serde_json::from_str(r#"{"tiled":{"keys":16}}"#).expect("a Spec");
        for caps in Caps::table() {
            for head_dim in [32, 64, 128] {
                assert!(!specs(&caps, head_dim).contains(&old));
                assert_eq!(specs(&caps, head_dim).last(), Some(&choose(&caps, 1, head_dim)));
            }
        }
    }
}
