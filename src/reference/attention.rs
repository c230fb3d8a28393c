//! Causal softmax attention inside each packed sequence: full, in local blocks, or over compressed slots; flash form.
//!
//! For query t of a sequence, head h, over the keys j that t sees: score = scale·q·k, ℓ = log Σ exp(score),
//! p = exp(score − ℓ), p̃ = p∘m (m = mask/(1 − rate), 1 without dropout), y = p̃·v.
//! Backward: δ = Σ_d dy·y, dv = p̃ᵀ·dy, ds = p∘(m∘(dy·vᵀ) − δ), dq = scale·ds·k, dk = scale·dsᵀ·q.
//! q, y, dy, dq \[n,c\]; k, v, dk, dv \[m,c\]; head h has columns h·D..; ℓ, δ \[n,h\]. Full and local attention have a key a token
//! (m = n); compressed attention 1 + ⌊T/f⌋ a sequence, the null key first, sequence after sequence.
//! A mask word's row is the query's position, its column the key's index in its sequence, also in local blocks.
//! Source: Dao et al. 2022, 2023; Liu et al. 2018; docs/spec.md sections 4 and 5.

use crate::philox::{Site, place};

use super::dropout::multiplier;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Every earlier token: j ≤ t.
    Full,
    /// Earlier tokens of the same block; a block has this many tokens.
    Local(usize),
    /// The null key, and every slot that ends at t or before; a slot has this many tokens.
    Compressed(usize),
}

impl Seen {
    /// Keys of a sequence of `length` tokens.
    pub fn keys(self, length: usize) -> usize {
        match self {
            Seen::Full | Seen::Local(_) => length,
            Seen::Compressed(factor) => 1 + length / factor,
        }
    }

    /// The keys of query `t`.
    pub fn of(self, t: usize) -> std::ops::Range<usize> {
        match self {
            Seen::Full => 0..t + 1,
            Seen::Local(block) => t / block * block..t + 1,
            Seen::Compressed(factor) => 0..1 + (t + 1) / factor,
        }
    }
}

/// Shapes, borders of sequences, which keys a query sees, and the scale.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// C.
    pub c: usize,
    /// H; divides C.
    pub heads: usize,
    /// Borders of the sequences, \[B+1\], from 0 to n; equal neighbors are an empty sequence.
    pub cu_seqlens: &'a [u32],
    /// The keys of a query.
    pub seen: Seen,
    /// Factor of the scores.
    pub scale: f64,
}

/// Queries, keys and values, or the gradients of these.
#[derive(Clone, Copy, Debug)]
pub struct Qkv<T> {
    /// \[n,c\].
    pub q: T,
    /// \[m,c\].
    pub k: T,
    /// \[m,c\].
    pub v: T,
}

impl<T> Qkv<T> {
    /// The result of `f` for each.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Qkv<U> {
        Qkv { q: f(self.q), k: f(self.k), v: f(self.v) }
    }
}

impl<T> Qkv<Vec<T>> {
    /// Their numbers.
    pub fn as_slices(&self) -> Qkv<&[T]> {
        Qkv { q: &self.q, k: &self.k, v: &self.v }
    }
}

/// Dropout on the probabilities.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// Dropout rate.
    pub rate: f32,
    /// The step key.
    pub key: [u32; 2],
    /// The layer, for the mask's place.
    pub layer: u32,
    /// Each sequence's number in the whole step, \[B\].
    pub sequence_numbers: &'a [u32],
}

/// Results of the forward pass, and what the backward pass needs of it.
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
    /// Its packed row.
    row: usize,
    /// The row of the sequence's first key.
    keys: usize,
    head: usize,
    /// The query's position in its sequence.
    t: usize,
}

/// D^-½, the scale of scores in GPT-1.
pub fn head_scale(c: usize, heads: usize) -> f64 {
    1.0 / ((c / heads) as f64).sqrt()
}

/// q, k and v of qkv \[n,3c\], which holds them side by side.
pub fn split(qkv: &[f64], c: usize) -> Qkv<Vec<f64>> {
    let part = |part: usize| qkv.chunks_exact(3 * c).flat_map(|row| &row[part * c..(part + 1) * c]).copied().collect();
    Qkv { q: part(0), k: part(1), v: part(2) }
}

/// The inverse of [`split`].
pub fn join<T: Copy>(Qkv { q, k, v }: Qkv<&[T]>, c: usize) -> Vec<T> {
    let rows = q.len() / c;
    (0..rows).flat_map(|r| [q, k, v].into_iter().flat_map(move |part| &part[r * c..(r + 1) * c])).copied().collect()
}

impl Rules<'_> {
    fn rows(&self) -> usize {
        self.cu_seqlens.last().map_or(0, |&n| n as usize)
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.cu_seqlens.windows(2).map(|border| (border[1] - border[0]) as usize)
    }

    /// m, keys of all sequences.
    pub fn keys(&self) -> usize {
        self.lengths().map(|length| self.seen.keys(length)).sum()
    }

    fn head_dim(&self) -> usize {
        self.c / self.heads
    }

    /// Every query, sequence by sequence, head by head.
    fn for_each_query(&self, mut f: impl FnMut(Query)) {
        let (mut row, mut keys) = (0, 0);
        for (sequence, length) in self.lengths().enumerate() {
            for head in 0..self.heads {
                for t in 0..length {
                    f(Query { sequence, row: row + t, keys, head, t });
                }
            }
            row += length;
            keys += self.seen.keys(length);
        }
    }

    /// Head `head` of row `row`.
    fn part<'q>(&self, x: &'q [f64], row: usize, head: usize) -> &'q [f64] {
        &x[self.at(row, head)..][..self.head_dim()]
    }

    fn at(&self, row: usize, head: usize) -> usize {
        row * self.c + head * self.head_dim()
    }
}

impl Query {
    /// m of key `j`.
    fn mask(&self, dropout: Option<&Dropout>, j: usize) -> f64 {
        dropout.map_or(1.0, |d| {
            let place = place(self.head as u32, d.layer, Site::Attention);
            multiplier(d.key, j as u32, self.t as u32, d.sequence_numbers[self.sequence], place, d.rate)
        })
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The forward pass.
pub fn forward(x: Qkv<&[f64]>, rules: &Rules, dropout: Option<&Dropout>) -> Forward {
    forward_of(x, rules, dropout, |_| true)
}

/// As [`forward`], of the packed rows that are `wanted` alone: the others stay 0.
pub fn forward_of(
    Qkv { q, k, v }: Qkv<&[f64]>,
    rules: &Rules,
    dropout: Option<&Dropout>,
    wanted: impl Fn(usize) -> bool,
) -> Forward {
    let (n, c, d) = (rules.rows(), rules.c, rules.head_dim());
    assert_eq!(q.len(), n * c, "attention: q holds n·c = {n}·{c} numbers");
    assert!(k.len() == rules.keys() * c && v.len() == k.len(), "attention: k and v hold {}·{c} numbers", rules.keys());
    let mut out = Forward { y: vec![0.0; n * c], log_sum_exp: vec![0.0; n * rules.heads] };
    rules.for_each_query(|query| {
        let (row, h) = (query.row, query.head);
        if !wanted(row) {
            return;
        }
        let part = rules.part(q, row, h);
        let seen = rules.seen.of(query.t);
        let scores: Vec<f64> =
            seen.clone().map(|j| rules.scale * dot(part, rules.part(k, query.keys + j, h))).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
        out.log_sum_exp[row * rules.heads + h] = log_sum_exp;
        let y = &mut out.y[rules.at(row, h)..][..d];
        for (j, score) in seen.zip(scores) {
            let p = (score - log_sum_exp).exp() * query.mask(dropout, j);
            for (y, v) in y.iter_mut().zip(rules.part(v, query.keys + j, h)) {
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

/// The backward pass: dq, dk and dv.
pub fn backward(
    Qkv { q, k, v }: Qkv<&[f64]>,
    kept: &Forward,
    dy: &[f64],
    rules: &Rules,
    dropout: Option<&Dropout>,
) -> Qkv<Vec<f64>> {
    let (d, scale) = (rules.head_dim(), rules.scale);
    let delta = delta(&kept.y, dy, d);
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![0.0; x.len()]);
    rules.for_each_query(|query| {
        let (row, h) = (query.row, query.head);
        let (q, dy) = (rules.part(q, row, h), rules.part(dy, row, h));
        let (log_sum_exp, delta) = (kept.log_sum_exp[row * rules.heads + h], delta[row * rules.heads + h]);
        for j in rules.seen.of(query.t) {
            let (at_q, at_k) = (rules.at(row, h), rules.at(query.keys + j, h));
            let (k, v) = (&k[at_k..][..d], &v[at_k..][..d]);
            let p = (scale * dot(q, k) - log_sum_exp).exp();
            let m = query.mask(dropout, j);
            let ds = scale * p * (m * dot(dy, v) - delta);
            for i in 0..d {
                dq[at_q + i] += ds * k[i];
                dk[at_k + i] += ds * q[i];
                dv[at_k + i] += p * m * dy[i];
            }
        }
    });
    Qkv { q: dq, k: dk, v: dv }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, largest_difference, normal};
    use super::*;

    /// Lengths 4, 0, 1, 9, 0: empty ones in the middle and at the end, a single token.
    const BORDERS: [u32; 6] = [0, 4, 4, 5, 14, 14];
    const N: usize = 14;
    const C: usize = 6;

    fn rules(seen: Seen) -> Rules<'static> {
        Rules { c: C, heads: 2, cu_seqlens: &BORDERS, seen, scale: head_scale(C, 2) }
    }

    fn inputs(rules: &Rules) -> Qkv<Vec<f64>> {
        Qkv { q: normal(N * C, 1), k: normal(rules.keys() * C, 2), v: normal(rules.keys() * C, 3) }
    }

    fn concat(x: &Qkv<Vec<f64>>) -> Vec<f64> {
        [x.q.as_slice(), &x.k, &x.v].concat()
    }

    fn check(seen: Seen, dropout: Option<&Dropout>) {
        let (rules, dy) = (rules(seen), normal(N * C, 4));
        let x = inputs(&rules);
        let gradients = backward(x.as_slices(), &forward(x.as_slices(), &rules, dropout), &dy, &rules, dropout);
        // All three at once: with blocks of one token, q and k alone have no gradient.
        let f = |moved: &[f64]| {
            let (q, kv) = moved.split_at(N * C);
            let (k, v) = kv.split_at(rules.keys() * C);
            dot(&dy, &forward(Qkv { q, k, v }, &rules, dropout).y)
        };
        check_gradient(&format!("{seen:?}"), &concat(&x), &concat(&gradients), f);
    }

    #[test]
    fn gradients_of_every_kind_with_and_without_dropout() {
        let dropout = Dropout { rate: 0.4, key: [5, 6], layer: 3, sequence_numbers: &[8, 1, 0, 2, 3] };
        for seen in [Seen::Full, Seen::Local(1), Seen::Local(3), Seen::Local(100), Seen::Compressed(3)] {
            check(seen, None);
            check(seen, Some(&dropout));
        }
    }

    #[test]
    fn a_query_sees_what_its_kind_says() {
        for (seen, firsts, keys) in [
            (Seen::Full, [0; 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (Seen::Local(3), [0, 0, 0, 3, 3, 3, 6, 6, 6], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (Seen::Compressed(3), [0; 9], [1, 1, 2, 2, 2, 3, 3, 3, 4]),
        ] {
            let rules = rules(seen);
            let x = inputs(&rules);
            let y = forward(x.as_slices(), &rules, None).y;
            let keys_of = |lengths: &[usize]| lengths.iter().map(|n| seen.keys(*n)).sum::<usize>();
            for key in 0..rules.keys() {
                let mut other = x.clone();
                other.k[key * C..(key + 1) * C].iter_mut().for_each(|x| *x += 1.0);
                other.v[key * C..(key + 1) * C].iter_mut().for_each(|x| *x += 1.0);
                let moved = forward(other.as_slices(), &rules, None).y;
                for query in 0..N {
                    let (start, first) = match query {
                        0..4 => (0, 0),
                        4 => (4, keys_of(&[4, 0])),
                        _ => (5, keys_of(&[4, 0, 1])),
                    };
                    let t = query - start;
                    let sees = (first + firsts[t]..first + keys[t]).contains(&key);
                    let changed = y[query * C..(query + 1) * C] != moved[query * C..(query + 1) * C];
                    assert_eq!(changed, sees, "query {query}, key {key}, {seen:?}");
                }
            }
        }
    }

    /// One query, two keys, by hand: scores 0 and ln 3·√D/√D, so p = 1/4, 3/4.
    #[test]
    fn two_keys_by_hand() {
        let ln3 = 3f64.ln();
        let qkv = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 2f64.sqrt(), 0.0, ln3, 0.0, 5.0, 1.0];
        let rules = Rules { c: 2, heads: 1, cu_seqlens: &[0, 2], seen: Seen::Full, scale: head_scale(2, 1) };
        let x = split(&qkv, 2);
        assert_eq!(join(x.as_slices(), 2), qkv);
        let out = forward(x.as_slices(), &rules, None);
        assert!(largest_difference(&out.y, &[1.0, 0.0, 4.0, 0.75]) < 1e-14);
        assert!(largest_difference(&out.log_sum_exp, &[0.0, 4f64.ln()]) < 1e-14);
    }

    #[test]
    fn packing_changes_neither_results_nor_dropout() {
        for seen in [Seen::Local(4), Seen::Compressed(2)] {
            let rules = rules(seen);
            let x = inputs(&rules);
            let dropout = Dropout { rate: 0.4, key: [5, 6], layer: 3, sequence_numbers: &[8, 1, 0, 2, 3] };
            let packed = forward(x.as_slices(), &rules, Some(&dropout));
            let alone = Rules { cu_seqlens: &[0, 9], ..rules };
            let first = seen.keys(4) + seen.keys(0) + seen.keys(1);
            let part = |x: &[f64], first: usize, rows: usize| x[first * C..(first + rows) * C].to_vec();
            let [k, v] = [&x.k, &x.v].map(|x| part(x, first, seen.keys(9)));
            let x = Qkv { q: part(&x.q, 5, 9), k, v };
            let dropout = Dropout { sequence_numbers: &[2], ..dropout };
            assert_eq!(packed.y[5 * C..], forward(x.as_slices(), &alone, Some(&dropout)).y);
            let dropout = Dropout { sequence_numbers: &[4], ..dropout };
            assert_ne!(packed.y[5 * C..], forward(x.as_slices(), &alone, Some(&dropout)).y);
        }
    }

    /// With v = identity columns, y is m itself: the mask of docs/spec.md section 5, by head, layer, query and key.
    #[test]
    fn the_mask_is_that_of_the_spec() {
        let (length, rate) = (2, 0.5);
        let dropout = Dropout { rate, key: [1, 2], layer: 5, sequence_numbers: &[9] };
        let rules = Rules { c: 4, heads: 2, cu_seqlens: &[0, length], seen: Seen::Full, scale: head_scale(4, 2) };
        let mut v = vec![0.0; 2 * 4];
        for (key, head) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            v[key * 4 + head * 2 + key] = 1.0;
        }
        let out = forward(Qkv { q: &[0.0; 8], k: &[0.0; 8], v: &v }, &rules, Some(&dropout));
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
