//! Cases of attention, forward and backward: packed sequences of length 0 and 1, borders of tiles, local blocks, compressed
//! slots, odd heads, dropout; a nano step's size and long sequences for the bench.

use super::inputs::filled;
use crate::Error;
use crate::config::AttentionKind;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::Recorder;
use crate::ops::attention::{self, Attention, Gradients, KeyValues, backward, forward};
use crate::ops::layout::{LayoutBuffer, LayoutCapacity, SMALLEST_TILE};
use crate::ops::{Spec, StepValues};
use crate::reference::attention::{self as oracle, Qkv, Seen};
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};

/// The sizes of one case.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lengths of the sequences.
    pub lengths: Vec<usize>,
    /// H
    pub heads: usize,
    /// D
    pub head_dim: usize,
    /// Which keys a query sees.
    pub seen: Seen,
    /// Dropout.
    pub rate: f32,
    /// Scores reach to about this.
    pub size: f32,
}

const KEY: [u32; 2] = [0x1234_5678, 0x9abc_def0];
const LAYER: u32 = 3;
/// What rows that no key has hold before and after.
const UNTOUCHED: f32 = 7.0;

impl Shape {
    fn c(&self) -> usize {
        self.heads * self.head_dim
    }

    fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn kind(&self) -> AttentionKind {
        match self.seen {
            Seen::Full => AttentionKind::Full,
            Seen::Local(_) => AttentionKind::Local,
            Seen::Compressed(_) => AttentionKind::Compressed,
        }
    }

    fn batch(&self) -> Result<Batch, Error> {
        let sequence = |n: &usize| Sequence { ids: vec![0; *n], targets: vec![IGNORED; *n] };
        let mut batch = Batch::from_sequences(&self.lengths.iter().map(sequence).collect::<Vec<_>>())?;
        batch.sequence_numbers.iter_mut().for_each(|n| *n += 5);
        Ok(batch)
    }

    fn capacity(&self) -> LayoutCapacity {
        LayoutCapacity {
            rows: self.rows(),
            sequences: self.lengths.len(),
            vocab: 1,
            positions: self.lengths.iter().copied().max().unwrap_or(1).max(1),
            local_block: if let Seen::Local(block) = self.seen { Some(block) } else { None },
            kv_factor: if let Seen::Compressed(factor) = self.seen { Some(factor) } else { None },
            task: false,
            tile_rows: SMALLEST_TILE,
        }
    }

    /// Keys of the whole batch, those of empty sequences too.
    fn keys(&self) -> usize {
        self.lengths.iter().map(|n| self.seen.keys(*n)).sum()
    }

    /// The matrix row of every compressed key, in the oracle's order; none for the null key of an empty sequence.
    fn slot_rows(&self) -> Vec<Option<usize>> {
        let (mut slot, mut null, mut rows) = (0, self.capacity().slots(), Vec::new());
        for length in &self.lengths {
            rows.push((*length > 0).then_some(null));
            null += usize::from(*length > 0);
            for _ in 1..self.seen.keys(*length) {
                rows.push(Some(slot));
                slot += 1;
            }
        }
        rows
    }

    fn stacked<T: Copy>(&self, [k, v]: [&[T]; 2], untouched: T) -> Vec<T> {
        let (c, rows) = (self.c(), self.capacity().slot_rows());
        let mut all = vec![untouched; 2 * rows * c];
        for (from, to) in self.slot_rows().into_iter().enumerate() {
            let Some(to) = to else { continue };
            for (x, first) in [(k, 0), (v, rows)] {
                all[(first + to) * c..][..c].copy_from_slice(&x[from * c..][..c]);
            }
        }
        all
    }

    /// q, k and v, dense.
    pub(super) fn numbers(&self) -> Qkv<Vec<f32>> {
        let (c, seed) = (self.c(), (self.rows() * 3 + self.c()) as u32);
        let scaled = |seed, rows: usize| numbers(seed, rows * c).into_iter().map(|x| x * self.size).collect();
        Qkv { q: scaled(seed, self.rows()), k: scaled(seed + 1, self.keys()), v: scaled(seed + 2, self.keys()) }
    }

    pub(super) fn dy(&self) -> Vec<f32> {
        numbers((self.rows() * 5 + self.c()) as u32, self.rows() * self.c())
    }

    fn pairs(&self) -> f64 {
        let of = |n: &usize| (0..*n).map(|t| self.seen.of(t).len() as f64).sum::<f64>();
        self.lengths.iter().map(of).sum()
    }

    fn expected(&self, with_backward: bool) -> Result<Vec<Vec<f64>>, Error> {
        let (batch, c, seen) = (self.batch()?, self.c(), self.seen);
        let scale = oracle::head_scale(c, self.heads);
        let rules = oracle::Rules { c, heads: self.heads, cu_seqlens: &batch.cu_seqlens, seen, scale };
        let dropout =
            oracle::Dropout { rate: self.rate, key: KEY, layer: LAYER, sequence_numbers: &batch.sequence_numbers };
        let dropout = (self.rate > 0.0).then_some(&dropout);
        let x = self.numbers().map(|x| wide(&x));
        let kept = oracle::forward(x.as_slices(), &rules, dropout);
        if !with_backward {
            return Ok(vec![kept.y, kept.log_sum_exp]);
        }
        let dy = wide(&self.dy());
        let dx = oracle::backward(x.as_slices(), &kept, &dy, &rules, dropout);
        let delta = oracle::delta(&kept.y, &dy, self.head_dim);
        if self.kind() != AttentionKind::Compressed {
            return Ok(vec![oracle::join(dx.as_slices(), c), delta]);
        }
        let beside = vec![f64::from(UNTOUCHED); dx.q.len()];
        let dkv = self.stacked([&dx.k, &dx.v], f64::from(UNTOUCHED));
        Ok(vec![oracle::join(Qkv { q: &dx.q, k: &beside, v: &beside }, c), delta, dkv])
    }
}

/// A case of the forward pass, or of both.
pub fn case(shape: Shape, with_backward: bool, purpose: Purpose) -> Case {
    let (n, c, heads, head_dim) = (shape.rows(), shape.c(), shape.heads, shape.head_dim);
    let products = if with_backward { 9.0 } else { 2.0 };
    let (built, expected) = (shape.clone(), shape.clone());
    let kind = match shape.seen {
        Seen::Full => "full".to_string(),
        Seen::Local(block) => format!("local {block}"),
        Seen::Compressed(factor) => format!("compressed {factor}"),
    };
    Case {
        op: if with_backward { "attention_backward" } else { "attention" },
        variant: format!("{kind}{}", if shape.rate > 0.0 { " dropout" } else { "" }),
        shape: vec![("N", n), ("B", shape.lengths.len()), ("H", heads), ("D", head_dim)],
        purpose,
        tolerance: 3e-6 * f64::from(shape.size.max(1.0)).powi(2),
        reason: "a score's rounding grows with q·k and passes through exp; sums over T keys",
        flops: products * 2.0 * shape.pairs() * c as f64,
        bytes: 4.0 * (n * c) as f64 * if with_backward { 8.0 } else { 4.0 },
        specs: Box::new(move |caps| {
            let mut all: Vec<_> = attention::specs(caps, head_dim).into_iter().map(Spec::Attention).collect();
            all.reverse();
            all
        }),
        build: Box::new(move |device, spec| {
            let Spec::Attention(spec) = spec else { return Err(spec.wrong_kernel("attention")) };
            let shape = &built;
            let layout = LayoutBuffer::new(device, shape.capacity())?;
            let values = StepValues { dropout_key: KEY, ..layout.upload(device, &shape.batch()?)? };
            let Qkv { q, k, v } = shape.numbers();
            let compressed = shape.kind() == AttentionKind::Compressed;
            // No kernel may read the columns beside the queries of a compressed layer.
            let nothing = vec![f32::NAN; q.len()];
            let [k_beside, v_beside] = if compressed { [&nothing, &nothing] } else { [&k, &v] };
            let queries =
                filled(device, "queries", n, 3 * c, &oracle::join(Qkv { q: &q, k: k_beside, v: v_beside }, c))?;
            let slot_rows = 2 * layout.capacity().slot_rows();
            let stacked = if compressed { shape.stacked([&k, &v], 0.0) } else { Vec::new() };
            let slots = filled(device, "slots", if compressed { slot_rows } else { 1 }, c, &stacked)?;
            let y = Output::poisoned(device, "y", n, c)?;
            let lse_rows = Output::plain(device, "log_sum_exp", [n, heads], None, float)?;
            let mut rec = Recorder::new(device, StepValues { dropout_key: KEY, ..layout.values_at_capacity() });
            let call = Attention {
                kind: shape.kind(),
                heads,
                queries: &queries,
                kv: if compressed { KeyValues::stacked(&slots) } else { KeyValues::beside(&queries) },
                y: &y.matrix,
                log_sum_exp: &lse_rows.matrix.view,
                layout: &layout,
                scale: attention::head_scale(c, heads),
                rate: shape.rate,
                layer: LAYER,
            };
            forward(&mut rec, spec, &call)?;
            if !with_backward {
                return Ok(Run { program: rec.finish(), values, outputs: vec![y, lse_rows] });
            }
            let dy = filled(device, "dy", n, c, &shape.dy())?;
            let delta = Output::plain(device, "delta", [n, heads], None, float)?;
            let mut outputs = if compressed {
                let before = |rows: usize| vec![UNTOUCHED; rows * c];
                let dslots = Output::starting(device, "dslots", slot_rows, c, before(slot_rows))?;
                vec![Output::starting(device, "dq", n, 3 * c, before(3 * n))?, dslots]
            } else {
                vec![Output::poisoned(device, "dqkv", n, 3 * c)?]
            };
            let dkv = outputs.last().map_or(&queries, |o| &o.matrix);
            let to = Gradients { dy: &dy, delta: &delta.matrix.view, dq: &outputs[0].matrix, dkv };
            backward(&mut rec, spec, &call, &to)?;
            outputs.insert(1, delta);
            Ok(Run { program: rec.finish(), values, outputs })
        }),
        oracle: Box::new(move || expected.expected(with_backward).unwrap_or_default()),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let base = Shape { lengths: vec![70, 0, 1, 33], heads: 2, head_dim: 8, seen: Seen::Full, rate: 0.0, size: 1.0 };
    let with = |f: &dyn Fn(&mut Shape)| {
        let mut shape = base.clone();
        f(&mut shape);
        shape
    };
    let small = [
        base.clone(),
        with(&|s| s.lengths = vec![1]),
        with(&|s| s.lengths = vec![64, 65, 130]),
        with(&|s| (s.heads, s.head_dim) = (1, 32)),
        with(&|s| (s.heads, s.head_dim) = (3, 5)),
        with(&|s| (s.heads, s.head_dim) = (1, 1)),
        with(&|s| (s.heads, s.head_dim, s.lengths) = (1, 64, vec![67])),
        with(&|s| (s.heads, s.head_dim, s.lengths) = (2, 40, vec![70, 3])),
        with(&|s| (s.heads, s.head_dim, s.lengths) = (1, 127, vec![66])),
        with(&|s| s.seen = Seen::Local(16)),
        with(&|s| s.seen = Seen::Local(1)),
        with(&|s| s.seen = Seen::Local(67)),
        with(&|s| s.rate = 0.3),
        with(&|s| (s.rate, s.seen) = (0.3, Seen::Local(7))),
        with(&|s| (s.rate, s.heads, s.head_dim) = (0.1, 2, 32)),
        with(&|s| s.size = 12.0),
        with(&|s| s.seen = Seen::Compressed(3)),
        with(&|s| s.seen = Seen::Compressed(1)),
        with(&|s| (s.seen, s.lengths) = (Seen::Compressed(2), vec![0, 1, 2, 3, 300])),
        with(&|s| (s.seen, s.lengths) = (Seen::Compressed(4), vec![3, 257, 0, 4, 63])),
        with(&|s| (s.seen, s.lengths) = (Seen::Compressed(100), vec![3, 99])),
        with(&|s| (s.seen, s.heads, s.head_dim) = (Seen::Compressed(3), 3, 5)),
        with(&|s| (s.seen, s.heads, s.head_dim, s.lengths) = (Seen::Compressed(3), 1, 40, vec![200, 3])),
        with(&|s| (s.seen, s.rate, s.lengths) = (Seen::Compressed(3), 0.3, vec![5, 200])),
    ];
    let mut all = Vec::new();
    for shape in small {
        all.push(case(shape.clone(), false, Purpose::Small));
        all.push(case(shape, true, Purpose::Small));
    }
    let nano = with(&|s| (s.lengths, s.heads, s.head_dim) = (vec![128; 8], 4, 32));
    let long = |seen| with(&|s| (s.lengths, s.heads, s.head_dim, s.seen) = (vec![1024], 4, 32, seen));
    for shape in [nano, long(Seen::Full), long(Seen::Local(256)), long(Seen::Compressed(3))] {
        all.push(case(shape.clone(), false, Purpose::Bench));
        all.push(case(shape, true, Purpose::Bench));
    }
    all
}
