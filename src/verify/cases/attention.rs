//! CASES of attention, forward and backward: packed sequences of length 0 and 1, borders of tiles, local blocks, odd heads,
//! dropout; a nano step's size for the bench.

use crate::Error;
use crate::config::AttentionKind;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::{Matrix, Recorder};
use crate::ops::attention::{self, Attention, backward, forward};
use crate::ops::layout::{Capacity, Layout};
use crate::ops::{Live, Spec};
use crate::reference::attention as oracle;
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};

/// The numbers of one case.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Lengths of the sequences.
    pub lengths: Vec<usize>,
    /// H
    pub heads: usize,
    /// D
    pub head_dim: usize,
    /// W for local attention.
    pub block: Option<usize>,
    /// Dropout.
    pub rate: f32,
    /// Scores reach to about this.
    pub size: f32,
}

const KEY: [u32; 2] = [0x1234_5678, 0x9abc_def0];
const LAYER: u32 = 3;

fn batch(shape: &Shape) -> Result<Batch, Error> {
    let sequence = |n: &usize| Sequence { ids: vec![0; *n], targets: vec![IGNORED; *n] };
    let mut batch = Batch::from_sequences(&shape.lengths.iter().map(sequence).collect::<Vec<_>>())?;
    batch.sequence_numbers.iter_mut().for_each(|n| *n += 5);
    Ok(batch)
}

/// A case of the forward pass, or of both.
pub fn case(shape: Shape, with_backward: bool, purpose: Purpose) -> Case {
    let n: usize = shape.lengths.iter().sum();
    let (heads, head_dim) = (shape.heads, shape.head_dim);
    let c = heads * head_dim;
    let seed = (n * 3 + c) as u32;
    let size = shape.size;
    let qkv_numbers = move || numbers(seed, n * 3 * c).iter().map(|x| x * size).collect::<Vec<_>>();
    let pairs: f64 = shape.lengths.iter().map(|t| (t * (t + 1) / 2) as f64).sum();
    let products = if with_backward { 9.0 } else { 2.0 };
    let (built, told) = (shape.clone(), shape.clone());
    Case {
        op: if with_backward { "attention_backward" } else { "attention" },
        variant: format!(
            "{}{}",
            shape.block.map_or("full".to_string(), |w| format!("local {w}")),
            if shape.rate > 0.0 { " dropout" } else { "" }
        ),
        shape: vec![("N", n), ("B", shape.lengths.len()), ("H", heads), ("D", head_dim)],
        purpose,
        tolerance: 3e-6 * f64::from(size.max(1.0)).powi(2),
        reason: "a score's rounding grows with q·k and passes through exp; sums over T keys",
        flops: products * 2.0 * pairs * c as f64,
        bytes: 4.0 * (n * c) as f64 * if with_backward { 8.0 } else { 4.0 },
        specs: Box::new(move |caps| {
            let mut all: Vec<_> = attention::specs(caps, head_dim).into_iter().map(Spec::Attention).collect();
            all.reverse();
            all
        }),
        build: Box::new(move |device, spec| {
            let Spec::Attention(spec) = spec else { return Err(spec.foreign("attention")) };
            let shape = &built;
            let capacity = Capacity {
                rows: n,
                sequences: shape.lengths.len(),
                vocab: 1,
                positions: shape.lengths.iter().copied().max().unwrap_or(1).max(1),
                local_block: shape.block,
            };
            let layout = Layout::new(device, capacity)?;
            let live = Live { key: KEY, ..layout.upload(device, &batch(shape)?)? };
            let qkv = Matrix::new(device, "qkv", n, 3 * c)?;
            qkv.write(device, &qkv_numbers())?;
            let y = Output::poisoned(device, "y", n, c)?;
            let lse_rows = Output::plain(device, "log_sum_exp", [n, heads], None, float)?;
            let mut rec = Recorder::new(device, Live { key: KEY, ..layout.capacity() });
            let call = Attention {
                kind: if shape.block.is_some() { AttentionKind::Local } else { AttentionKind::Full },
                heads,
                qkv: &qkv,
                y: &y.matrix,
                log_sum_exp: &lse_rows.matrix.view,
                layout: &layout,
                rate: shape.rate,
                layer: LAYER,
            };
            forward(&mut rec, spec, &call)?;
            if !with_backward {
                return Ok(Run { program: rec.finish(), live, outputs: vec![y, lse_rows] });
            }
            let dy = Matrix::new(device, "dy", n, c)?;
            dy.write(device, &numbers(seed + 1, n * c))?;
            let delta = Output::plain(device, "delta", [n, heads], None, float)?;
            let dqkv = Output::poisoned(device, "dqkv", n, 3 * c)?;
            backward(&mut rec, spec, &call, &dy, &delta.matrix.view, &dqkv.matrix)?;
            Ok(Run { program: rec.finish(), live, outputs: vec![dqkv, delta] })
        }),
        oracle: Box::new(move || {
            let shape = &told;
            let Ok(batch) = batch(shape) else { return Vec::new() };
            let rules = oracle::Rules { c, heads, cu_seqlens: &batch.cu_seqlens, block: shape.block };
            let dropout =
                oracle::Dropout { rate: shape.rate, key: KEY, layer: LAYER, sequence_numbers: &batch.sequence_numbers };
            let dropout = (shape.rate > 0.0).then_some(&dropout);
            let qkv = wide(&qkv_numbers());
            let kept = oracle::forward(&qkv, &rules, dropout);
            if !with_backward {
                return vec![kept.y, kept.log_sum_exp];
            }
            let dy = wide(&numbers(seed + 1, n * c));
            vec![oracle::backward(&qkv, &kept, &dy, &rules, dropout), oracle::delta(&kept.y, &dy, head_dim)]
        }),
    }
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let base = Shape { lengths: vec![70, 0, 1, 33], heads: 2, head_dim: 8, block: None, rate: 0.0, size: 1.0 };
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
        with(&|s| s.block = Some(16)),
        with(&|s| s.block = Some(1)),
        with(&|s| s.block = Some(67)),
        with(&|s| s.rate = 0.3),
        with(&|s| (s.rate, s.block) = (0.3, Some(7))),
        with(&|s| (s.rate, s.heads, s.head_dim) = (0.1, 2, 32)),
        with(&|s| s.size = 12.0),
    ];
    let mut all = Vec::new();
    for shape in small {
        all.push(case(shape.clone(), false, Purpose::Small));
        all.push(case(shape, true, Purpose::Small));
    }
    let nano = with(&|s| (s.lengths, s.heads, s.head_dim) = (vec![128; 8], 4, 32));
    all.push(case(nano.clone(), false, Purpose::Bench));
    all.push(case(nano, true, Purpose::Bench));
    all
}
