//! Causal softmax attention inside each packed sequence, full or in local blocks, flash form.
//!
//! For query t of a sequence, head h, over the keys s that t sees (s ≤ t, with a block W also ⌊s/W⌋ = ⌊t/W⌋):
//! score = q·k/√D, ℓ = log Σ exp(score), p = exp(score − ℓ), p̃ = p∘m (m = mask/(1 − rate), 1 without dropout), y = p̃·v.
//! Backward: δ = Σ_d dy·y, dv = p̃ᵀ·dy, ds = p∘(m∘(dy·vᵀ) − δ), dq = ds·k/√D, dk = dsᵀ·q/√D.
//! qkv, dqkv \[n,3c\] hold q, k, v side by side, head h in columns h·D.. of each; y, dy \[n,c\]; ℓ, δ \[n,h\].
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
    /// Borders of the sequences, \[B+1\], from 0 to n; equal neighbours are an empty sequence.
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
    /// Each sequence's number in the whole step, \[B\].
    pub sequence_numbers: &'a [u32],
}

/// What the forward pass gives and keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// \[n,c\].
    pub y: Vec<f64>,
    /// ℓ of the scaled scores, \[n,h\].
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

/// δ \[n,h\] = Σ_d dy·y of the dropped y.
pub fn delta(y: &[f64], dy: &[f64], head_dim: usize) -> Vec<f64> {
    y.chunks_exact(head_dim).zip(dy.chunks_exact(head_dim)).map(|(y, dy)| dot(y, dy)).collect()
}

/// The backward pass: dqkv \[n,3c\].
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

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, largest_difference, normal};
    use super::*;

    /// Lengths 4, 0, 1, 9, 0: empty ones in the middle and at the end, a single token.
    const BORDERS: [u32; 6] = [0, 4, 4, 5, 14, 14];
    const N: usize = 14;
    const C: usize = 6;

    fn rules(block: Option<usize>) -> Rules<'static> {
        Rules { c: C, heads: 2, cu_seqlens: &BORDERS, block }
    }

    fn check(block: Option<usize>, dropout: Option<&Dropout>) {
        let (qkv, dy, rules) = (normal(N * 3 * C, 1), normal(N * C, 2), rules(block));
        let dqkv = backward(&qkv, &forward(&qkv, &rules, dropout), &dy, &rules, dropout);
        check_gradient("qkv", &qkv, &dqkv, |qkv| dot(&dy, &forward(qkv, &rules, dropout).y));
    }

    #[test]
    fn gradients_full_and_local_with_and_without_dropout() {
        let dropout = Dropout { rate: 0.4, key: [5, 6], layer: 3, sequence_numbers: &[8, 1, 0, 2, 3] };
        for block in [None, Some(1), Some(3), Some(100)] {
            check(block, None);
            check(block, Some(&dropout));
        }
    }

    #[test]
    fn a_query_sees_its_own_past_and_block_alone() {
        for (block, seen) in [(None, [0, 0, 0, 0, 0, 0, 0, 0, 0]), (Some(3), [0, 0, 0, 3, 3, 3, 6, 6, 6])] {
            let (qkv, rules) = (normal(N * 3 * C, 1), rules(block));
            let y = forward(&qkv, &rules, None).y;
            for key in 0..N {
                let mut other = qkv.clone();
                other[key * 3 * C + C..(key + 1) * 3 * C].iter_mut().for_each(|x| *x += 1.0);
                let moved = forward(&other, &rules, None).y;
                for query in 0..N {
                    let start = match query {
                        0..4 => 0,
                        4 => 4,
                        _ => 5,
                    };
                    let first = start + seen[query - start];
                    let changed = y[query * C..(query + 1) * C] != moved[query * C..(query + 1) * C];
                    assert_eq!(changed, (first..=query).contains(&key), "query {query}, key {key}, block {block:?}");
                }
            }
        }
    }

    /// One query, two keys, by hand: scores 0 and ln 3·√D/√D, so p = 1/4, 3/4.
    #[test]
    fn two_keys_by_hand() {
        let ln3 = 3f64.ln();
        let qkv = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2f64.sqrt(), 0.0, ln3, 0.0, 5.0, 1.0];
        let rules = Rules { c: 2, heads: 1, cu_seqlens: &[0, 2], block: None };
        let out = forward(&qkv, &rules, None);
        assert!(largest_difference(&out.y, &[1.0, 0.0, 4.0, 0.75]) < 1e-14);
        assert!(largest_difference(&out.log_sum_exp, &[0.0, 4f64.ln()]) < 1e-14);
    }

    #[test]
    fn packing_changes_nothing_dropout_included() {
        let qkv = normal(N * 3 * C, 1);
        let dropout = Dropout { rate: 0.4, key: [5, 6], layer: 3, sequence_numbers: &[8, 1, 0, 2, 3] };
        let packed = forward(&qkv, &rules(Some(4)), Some(&dropout));
        let alone = Rules { cu_seqlens: &[0, 9], ..rules(Some(4)) };
        let dropout = Dropout { sequence_numbers: &[2], ..dropout };
        assert_eq!(packed.y[5 * C..], forward(&qkv[5 * 3 * C..], &alone, Some(&dropout)).y);
        let dropout = Dropout { sequence_numbers: &[4], ..dropout };
        assert_ne!(packed.y[5 * C..], forward(&qkv[5 * 3 * C..], &alone, Some(&dropout)).y);
    }

    /// y with v = identity columns shows m itself: the mask of SPEC 5, by head, layer, query and key.
    #[test]
    fn the_mask_stands_where_the_spec_says() {
        let (length, rate) = (2, 0.5);
        let dropout = Dropout { rate, key: [1, 2], layer: 5, sequence_numbers: &[9] };
        let rules = Rules { c: 4, heads: 2, cu_seqlens: &[0, length], block: None };
        let mut qkv = vec![0.0; 2 * 12];
        for (key, head) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            qkv[key * 12 + 8 + head * 2 + key] = 1.0;
        }
        let out = forward(&qkv, &rules, Some(&dropout));
        for (query, head) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            for key in 0..=query {
                let word = crate::philox::philox([0, query, 9, head * 65536 + 5 * 8 + 1], [1, 2])[key as usize];
                let expected = if word < 1 << 31 { 0.0 } else { 2.0 / f64::from(query + 1) };
                let got = out.y[(query * 4 + head * 2 + key) as usize];
                assert!((got - expected).abs() < 1e-15, "query {query} key {key} head {head}: {got}, not {expected}");
            }
        }
    }
}
