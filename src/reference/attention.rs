//! Causal softmax attention inside each packed sequence, full or in local blocks, flash form.
//!
//! For query t of a sequence, head h, over the keys s that t sees (s ≤ t, with a block W also ⌊s/W⌋ = ⌊t/W⌋):
//! score = q·k/√D, ℓ = log Σ exp(score), p = exp(score − ℓ), p̃ = p∘m (m = mask/(1 − rate), 1 without dropout), y = p̃·v.
//! Backward: δ = Σ_d dy·y, dv = p̃ᵀ·dy, ds = p∘(m∘(dy·vᵀ) − δ), dq = ds·k/√D, dk = dsᵀ·q/√D.
//! qkv, dqkv [n,3c] hold q, k, v side by side, head h in columns h·D.. of each; y, dy [n,c]; ℓ, δ [n,h].
//! A mask word's row is the query's position, its column the key's position in the sequence, also in local blocks.
//! Source: Dao et al. 2022, 2023; SPEC 4 and 5.

use crate::philox::{Site, place};

use super::dropout::multiplier;

/// Who sees whom: shapes, borders, block.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// C.
    pub c: usize,
    /// H; divides C.
    pub heads: usize,
    /// Borders of the sequences, [B+1], from 0 to n; equal neighbours are an empty sequence.
    pub cu_seqlens: &'a [u32],
    /// W for local attention; none for full.
    pub block: Option<usize>,
}

/// Dropout on the probabilities.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// Share that is dropped.
    pub rate: f32,
    /// The step key.
    pub key: [u32; 2],
    /// The layer, for the mask's place.
    pub layer: u32,
    /// Each sequence's number in the whole step, [B].
    pub sequence_numbers: &'a [u32],
}

/// What the forward pass gives and keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// [n,c].
    pub y: Vec<f64>,
    /// ℓ of the scaled scores, [n,h].
    pub log_sum_exp: Vec<f64>,
}

/// One query of one head, and where its keys are.
struct Query {
    /// The query's sequence.
    sequence: usize,
    /// Its first packed row.
    start: usize,
    head: usize,
    /// The query's position in its sequence.
    t: usize,
    /// The first position it sees; the last is t.
    first: usize,
}

impl Rules<'_> {
    fn rows(&self) -> usize {
        self.cu_seqlens.last().map_or(0, |&n| n as usize)
    }

    fn head_dim(&self) -> usize {
        self.c / self.heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.head_dim() as f64).sqrt()
    }

    /// Every query, sequence by sequence, head by head.
    fn for_each_query(&self, mut f: impl FnMut(Query)) {
        for (sequence, border) in self.cu_seqlens.windows(2).enumerate() {
            let (start, length) = (border[0] as usize, (border[1] - border[0]) as usize);
            for head in 0..self.heads {
                for t in 0..length {
                    let first = self.block.map_or(0, |w| t / w * w);
                    f(Query { sequence, start, head, t, first });
                }
            }
        }
    }

    /// Part 0, 1, 2 (q, k, v) of packed row `row`, head `head`.
    fn part<'q>(&self, qkv: &'q [f64], part: usize, row: usize, head: usize) -> &'q [f64] {
        let (d, at) = (self.head_dim(), row * 3 * self.c + part * self.c + head * self.head_dim());
        &qkv[at..at + d]
    }
}

impl Query {
    /// m of key `s`.
    fn mask(&self, dropout: Option<&Dropout>, s: usize) -> f64 {
        dropout.map_or(1.0, |d| {
            let place = place(self.head as u32, d.layer, Site::Attention);
            multiplier(d.key, s as u32, self.t as u32, d.sequence_numbers[self.sequence], place, d.rate)
        })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The forward pass.
pub fn forward(qkv: &[f64], rules: &Rules, dropout: Option<&Dropout>) -> Forward {
    let (n, c, d, scale) = (rules.rows(), rules.c, rules.head_dim(), rules.scale());
    assert_eq!(qkv.len(), n * 3 * c, "attention: qkv holds n·3c = {n}·{} numbers", 3 * c);
    let mut out = Forward { y: vec![0.0; n * c], log_sum_exp: vec![0.0; n * rules.heads] };
    rules.for_each_query(|query| {
        let (row, h) = (query.start + query.t, query.head);
        let q = rules.part(qkv, 0, row, h);
        let score = |s: usize| scale * dot(q, rules.part(qkv, 1, query.start + s, h));
        let scores: Vec<f64> = (query.first..=query.t).map(score).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
        out.log_sum_exp[row * rules.heads + h] = log_sum_exp;
        let y = &mut out.y[row * c + h * d..row * c + (h + 1) * d];
        for (s, score) in (query.first..).zip(scores) {
            let p = (score - log_sum_exp).exp() * query.mask(dropout, s);
            for (y, v) in y.iter_mut().zip(rules.part(qkv, 2, query.start + s, h)) {
                *y += p * v;
            }
        }
    });
    out
}

/// δ [n,h] = Σ_d dy·y of the dropped y.
pub fn delta(y: &[f64], dy: &[f64], head_dim: usize) -> Vec<f64> {
    y.chunks_exact(head_dim).zip(dy.chunks_exact(head_dim)).map(|(y, dy)| dot(y, dy)).collect()
}

/// The backward pass: dqkv [n,3c].
pub fn backward(qkv: &[f64], kept: &Forward, dy: &[f64], rules: &Rules, dropout: Option<&Dropout>) -> Vec<f64> {
    let (c, d, scale) = (rules.c, rules.head_dim(), rules.scale());
    let delta = delta(&kept.y, dy, d);
    let mut dqkv = vec![0.0; qkv.len()];
    rules.for_each_query(|query| {
        let (row, h) = (query.start + query.t, query.head);
        let (q, dy) = (rules.part(qkv, 0, row, h), &dy[row * c + h * d..row * c + (h + 1) * d]);
        let (log_sum_exp, delta) = (kept.log_sum_exp[row * rules.heads + h], delta[row * rules.heads + h]);
        for s in query.first..=query.t {
            let key_row = query.start + s;
            let (k, v) = (rules.part(qkv, 1, key_row, h), rules.part(qkv, 2, key_row, h));
            let p = (scale * dot(q, k) - log_sum_exp).exp();
            let m = query.mask(dropout, s);
            let ds = scale * p * (m * dot(dy, v) - delta);
            let (at_q, at_k) = (row * 3 * c + h * d, key_row * 3 * c + c + h * d);
            for i in 0..d {
                dqkv[at_q + i] += ds * k[i];
                dqkv[at_k + i] += ds * q[i];
                dqkv[at_k + c + i] += p * m * dy[i];
            }
        }
    });
    dqkv
}
