//! Embedding: a row of tokens_embed by id plus a row of positions_embed by position.
//!
//! x\[r\] = tokens_embed[ids\[r\]] + positions_embed[positions\[r\]]; backward: each table row is the sum of dx over the rows
//! that read it, in the order of the rows. tokens_embed \[V,c\], positions_embed \[P,c\], x, dx \[n,c\]. Source: docs/spec.md sections 1 and 5.

/// The gradients of both tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// \[V,c\].
    pub dtokens: Vec<f64>,
    /// \[P,c\].
    pub dpositions: Vec<f64>,
}

/// x \[n,c\].
pub fn forward(ids: &[u32], positions: &[u32], tokens_embed: &[f64], positions_embed: &[f64], c: usize) -> Vec<f64> {
    let mut x = Vec::with_capacity(ids.len() * c);
    for (&id, &position) in ids.iter().zip(positions) {
        let (t, p) = (id as usize * c, position as usize * c);
        x.extend((0..c).map(|i| tokens_embed[t + i] + positions_embed[p + i]));
    }
    x
}

/// The gradients of tables with `vocab` and `n_positions` rows.
pub fn backward(dx: &[f64], ids: &[u32], positions: &[u32], vocab: usize, n_positions: usize, c: usize) -> Backward {
    let mut out = Backward { dtokens: vec![0.0; vocab * c], dpositions: vec![0.0; n_positions * c] };
    for (row, (&id, &position)) in ids.iter().zip(positions).enumerate() {
        for i in 0..c {
            out.dtokens[id as usize * c + i] += dx[row * c + i];
            out.dpositions[position as usize * c + i] += dx[row * c + i];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, normal};
    use super::*;

    #[test]
    fn rows_are_read_and_their_gradients_added() {
        let (tokens, positions) = ([1., 2., 3., 4., 5., 6.], [10., 20., 30., 40.]);
        assert_eq!(forward(&[2, 0, 2], &[0, 1, 0], &tokens, &positions, 2), [15., 26., 31., 42., 15., 26.]);
        let back = backward(&[1., 2., 3., 4., 5., 6.], &[2, 0, 2], &[0, 1, 0], 3, 2, 2);
        assert_eq!(back.dtokens, [3., 4., 0., 0., 6., 8.]);
        assert_eq!(back.dpositions, [6., 8., 3., 4.]);
    }

    #[test]
    fn gradients() {
        let (v, p, c) = (5, 4, 3);
        let (ids, at) = ([1, 4, 1, 0, 1], [0, 1, 2, 0, 1]);
        let (tokens, positions, dy) = (normal(v * c, 1), normal(p * c, 2), normal(ids.len() * c, 3));
        let back = backward(&dy, &ids, &at, v, p, c);
        check_gradient("tokens", &tokens, &back.dtokens, |t| dot(&dy, &forward(&ids, &at, t, &positions, c)));
        check_gradient("positions", &positions, &back.dpositions, |p| dot(&dy, &forward(&ids, &at, &tokens, p, c)));
    }
}
