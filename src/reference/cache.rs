//! Attention of one token a sequence over cached keys and values, and appending rows to the cache.
//!
//! cache \[s,2c\] has a row k | v for each cached token; qkv \[b,3c\] is this token's q, k, v. A span has the rows that a token
//! sees and the row that its own key is written to. score = q·k·scale over these rows and, with `own`, its own key;
//! y = softmax·v.
//! Source: docs/spec.md section 1; the cache saves what [`super::attention`] would compute again.

/// The rows of the cache that one token uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first row that it sees.
    pub first: usize,
    /// The number of rows that it sees.
    pub rows: usize,
    /// The row that its own key and value are written to.
    pub own: usize,
}

/// Shapes and the scale.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// C.
    pub c: usize,
    /// H.
    pub heads: usize,
    /// Factor of the scores.
    pub scale: f64,
}

/// y \[b,c\]; with `own`, each token also sees its own key, and its key and value are written to the cache.
pub fn decode(qkv: &[f64], cache: &mut [f64], spans: &[Span], shape: Heads, own: bool) -> Vec<f64> {
    let Heads { c, heads, scale } = shape;
    let d = c / heads;
    let mut y = vec![0.0; spans.len() * c];
    for (row, Span { first, rows, own: own_row }) in spans.iter().enumerate() {
        let token = &qkv[row * 3 * c..(row + 1) * 3 * c];
        for h in 0..heads {
            let (q, at) = (&token[h * d..(h + 1) * d], h * d);
            let kept = (0..*rows).map(|i| &cache[(first + i) * 2 * c..(first + i + 1) * 2 * c]);
            let keys: Vec<&[f64]> = kept.chain(own.then_some(&token[c..])).collect();
            let score = |k: &&[f64]| (0..d).map(|i| q[i] * k[at + i]).sum::<f64>() * scale;
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for (k, s) in keys.iter().zip(&scores) {
                (0..d).for_each(|i| y[row * c + at + i] += (s - top).exp() / total * k[c + at + i]);
            }
        }
        if own {
            cache[own_row * 2 * c..(own_row + 1) * 2 * c].copy_from_slice(&token[c..]);
        }
    }
    y
}

/// An append of rows of x to the rings of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    /// Columns of x.
    pub x_columns: usize,
    /// The first column that is appended.
    pub x_at: usize,
    /// The number of columns that are appended.
    pub columns: usize,
    /// Rows of x before the first one for the first ring.
    pub skip: usize,
    /// Rows that are appended to each ring.
    pub count: usize,
    /// The number of the first one.
    pub number: usize,
    /// Rows of x between the first rows of two rings.
    pub rows_apart: usize,
    /// Columns of the cache.
    pub cache_columns: usize,
    /// The first column that is written.
    pub cache_at: usize,
    /// The number of rings.
    pub rings: usize,
    /// Rows of each ring.
    pub ring_rows: usize,
}

/// Copies rows of x to the rings of a cache: number n to row n mod `ring_rows` of its ring.
pub fn append(x: &[f64], cache: &mut [f64], how: &Append) {
    for s in 0..how.rings {
        for r in 0..how.count {
            let row = s * how.ring_rows + (how.number + r) % how.ring_rows;
            let (from, to) = (
                (s * how.rows_apart + how.skip + r) * how.x_columns + how.x_at,
                row * how.cache_columns + how.cache_at,
            );
            cache[to..to + how.columns].copy_from_slice(&x[from..from + how.columns]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attention::{Rules, Seen, forward, head_scale, split};
    use super::super::testing::{largest_difference, normal};
    use super::*;

    /// Token by token, and a prompt at once followed by tokens, equal attention over the whole sequence.
    #[test]
    fn a_cache_equals_attention_over_the_whole_sequence() {
        let (n, c, heads) = (9, 6, 2);
        let qkv = normal(n * 3 * c, 1);
        for block in [None, Some(4)] {
            let seen = block.map_or(Seen::Full, Seen::Local);
            let rules = Rules { c, heads, cu_seqlens: &[0, n as u32], seen, scale: head_scale(c, heads) };
            let expected = forward(split(&qkv, c).as_slices(), &rules, None).y;
            // A local layer keeps one block: rows of the block before are not seen.
            let ring_rows = block.unwrap_or(n);
            for prompt in [0, 5] {
                let mut cache = vec![f64::NAN; 2 * ring_rows * 2 * c];
                let count = ring_rows.min(prompt);
                let how = Append {
                    x_columns: 3 * c,
                    x_at: c,
                    columns: 2 * c,
                    skip: prompt - count,
                    count,
                    number: prompt - count,
                    rows_apart: 0,
                    cache_columns: 2 * c,
                    cache_at: 0,
                    rings: 2,
                    ring_rows,
                };
                append(&qkv, &mut cache, &how);
                for t in prompt..n {
                    let rows = t % ring_rows;
                    let span = |first| Span { first, rows, own: first + rows };
                    let spans = [span(0), span(ring_rows)];
                    let token = &qkv[t * 3 * c..(t + 1) * 3 * c];
                    let shape = Heads { c, heads, scale: head_scale(c, heads) };
                    let y = decode(&[token, token].concat(), &mut cache, &spans, shape, true);
                    assert!(largest_difference(&y[..c], &expected[t * c..(t + 1) * c]) < 1e-14, "{block:?} {t}");
                    assert_eq!(y[..c], y[c..]);
                }
            }
        }
    }
}
