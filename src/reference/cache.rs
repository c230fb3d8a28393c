//! Attention of one token a sequence over kept keys and values, and what a prompt leaves there.
//!
//! cache \[s,2c\] holds a row k | v for each token kept; qkv \[b,3c\] this token's q, k, v. A span names the rows that a token
//! sees and the row where its own key goes. score = q·k/√D over those rows and, if so wanted, its own key; y = softmax·v.
//! Source: SPEC 1; the cache is what [`super::attention`] would compute again.

/// The rows of one token: the first, how many, and where its own key and value go.
pub type Span = [usize; 3];

/// y \[b,c\]; with `own`, each token sees its own key and leaves it in the cache.
pub fn decode(qkv: &[f64], cache: &mut [f64], spans: &[Span], c: usize, heads: usize, own: bool) -> Vec<f64> {
    let d = c / heads;
    let mut y = vec![0.0; spans.len() * c];
    for (row, [first, count, into]) in spans.iter().enumerate() {
        let token = &qkv[row * 3 * c..(row + 1) * 3 * c];
        for h in 0..heads {
            let (q, at) = (&token[h * d..(h + 1) * d], h * d);
            let kept = (0..*count).map(|i| &cache[(first + i) * 2 * c..(first + i + 1) * 2 * c]);
            let keys: Vec<&[f64]> = kept.chain(own.then_some(&token[c..])).collect();
            let score = |k: &&[f64]| (0..d).map(|i| q[i] * k[at + i]).sum::<f64>() / (d as f64).sqrt();
            let scores: Vec<f64> = keys.iter().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for (k, s) in keys.iter().zip(&scores) {
                (0..d).for_each(|i| y[row * c + at + i] += (s - top).exp() / total * k[c + at + i]);
            }
        }
        if own {
            cache[into * 2 * c..(into + 1) * 2 * c].copy_from_slice(&token[c..]);
        }
    }
    y
}

/// The keys and values of qkv \[n,3c\] to the first rows of each of `copies` stretches of `stretch` rows of the cache.
pub fn append(qkv: &[f64], cache: &mut [f64], c: usize, copies: usize, stretch: usize) {
    for copy in 0..copies {
        for (row, token) in qkv.chunks_exact(3 * c).enumerate() {
            let into = (copy * stretch + row) * 2 * c;
            cache[into..into + 2 * c].copy_from_slice(&token[c..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attention::{Rules, Seen, forward, head_scale};
    use super::super::testing::{largest_difference, normal};
    use super::*;

    /// Token by token, and a prompt at once then token by token, gives what attention over the whole sequence gives.
    #[test]
    fn a_cache_gives_what_attention_gives() {
        let (n, c, heads) = (9, 6, 2);
        let qkv = normal(n * 3 * c, 1);
        for block in [None, Some(4)] {
            let seen = block.map_or(Seen::Full, Seen::Local);
            let rules = Rules { c, heads, cu_seqlens: &[0, n as u32], seen, scale: head_scale(c, heads) };
            let part = |i: usize| qkv.chunks_exact(3 * c).flat_map(|row| row[i * c..(i + 1) * c].to_vec()).collect();
            let parts: [Vec<f64>; 3] = [part(0), part(1), part(2)];
            let expected = forward([&parts[0], &parts[1], &parts[2]], &rules, None).y;
            for prompt in [0, 5] {
                let mut cache = vec![f64::NAN; 2 * n * 2 * c];
                append(&qkv[..prompt * 3 * c], &mut cache, c, 2, n);
                for t in prompt..n {
                    let first = block.map_or(0, |w| t / w * w);
                    let spans = [[first, t - first, t], [n + first, t - first, n + t]];
                    let token = &qkv[t * 3 * c..(t + 1) * 3 * c];
                    let y = decode(&[token, token].concat(), &mut cache, &spans, c, heads, true);
                    assert!(largest_difference(&y[..c], &expected[t * c..(t + 1) * c]) < 1e-14, "{block:?} {t}");
                    assert_eq!(y[..c], y[c..]);
                }
            }
        }
    }
}
