//! Dropout whose mask is a function of (key, column, row, sequence, place), never of packing, tiles or ranks.
//!
//! y = x/(1 − rate) where mask_word(key, column, row, sequence, place) ≥ ⌊rate·2³²⌋, else 0. Linear, so the backward pass
//! is the same call on dy. x \[n,c\]; row = position in its sequence, sequence = its number in the whole step, column =
//! channel (for attention the key's position in its sequence). Source: docs/spec.md section 5, [`crate::philox`].

use crate::philox::{mask_word, threshold};

/// Factor of an element: 0 or 1/(1 − rate).
pub fn multiplier(key: [u32; 2], column: u32, row: u32, sequence: u32, place: u32, rate: f32) -> f64 {
    if mask_word(key, column, row, sequence, place) >= threshold(rate) { 1.0 / (1.0 - f64::from(rate)) } else { 0.0 }
}

/// Drops elements of x \[n,c\]; `positions` and `sequences` \[n\] are each row's position and its sequence's number.
pub fn apply(
    x: &[f64],
    c: usize,
    positions: &[u32],
    sequences: &[u32],
    key: [u32; 2],
    place: u32,
    rate: f32,
) -> Vec<f64> {
    let element = |(i, x): (usize, &f64)| {
        let (row, column) = (i / c, (i % c) as u32);
        x * multiplier(key, column, positions[row], sequences[row], place, rate)
    };
    x.iter().enumerate().map(element).collect()
}

/// The sequence number of each packed row: `sequence_numbers` \[B\] spread over the rows of `cu_seqlens` \[B+1\].
pub fn rows_of_sequences(cu_seqlens: &[u32], sequence_numbers: &[u32]) -> Vec<u32> {
    let lengths = cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize);
    lengths.zip(sequence_numbers).flat_map(|(length, &number)| std::iter::repeat_n(number, length)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, dot, normal};
    use super::*;
    use crate::philox::{Site, place, step_key};

    #[test]
    fn drops_its_share_and_scales_the_rest() {
        let (n, c, rate) = (200, 37, 0.3);
        let positions: Vec<u32> = (0..n as u32).collect();
        let y = apply(&vec![1.0; n * c], c, &positions, &vec![5; n], step_key(1, 2), 8, rate);
        let dropped = y.iter().filter(|y| **y == 0.0).count() as f64 / (n * c) as f64;
        assert!((dropped - 0.3).abs() < 0.02, "{dropped} of all dropped");
        assert!(y.iter().all(|y| *y == 0.0 || *y == 1.0 / (1.0 - f64::from(rate))));
        assert_eq!(apply(&vec![1.0; n * c], c, &positions, &vec![5; n], [1, 2], 8, 0.0), vec![1.0; n * c]);
    }

    /// The words of docs/spec.md section 5, computed here without `mask_word`.
    #[test]
    fn the_mask_is_that_of_the_spec() {
        let (key, rate) = (step_key(7, 41), 0.5);
        let where_ = place(3, 2, Site::Attention);
        assert_eq!(where_, 3 * 65536 + 2 * 8 + 1);
        for (column, row, sequence) in [(0, 0, 0), (5, 9, 2), (1023, 511, 63)] {
            let word = crate::philox::philox([column / 4, row, sequence, where_], key)[column as usize % 4];
            let kept = if word >= 1 << 31 { 2.0 } else { 0.0 };
            assert_eq!(multiplier(key, column, row, sequence, where_, rate), kept);
        }
    }

    /// A word equal to the threshold is kept: some words are thresholds of an f32 rate exactly.
    #[test]
    fn the_threshold_itself_is_kept() {
        let found = (0..10_000).filter_map(|column| {
            let word = mask_word([1, 2], column, 3, 4, 5);
            let rate = (f64::from(word) / 4_294_967_296.0) as f32;
            (rate < 1.0 && threshold(rate) == word).then_some((column, rate))
        });
        let found: Vec<_> = found.collect();
        assert!(!found.is_empty());
        assert!(found.into_iter().all(|(column, rate)| multiplier([1, 2], column, 3, 4, 5, rate) > 0.0));
    }

    #[test]
    fn a_mask_follows_its_sequence_not_its_row() {
        let (c, x) = (6, vec![1.0; 30]);
        let packed = rows_of_sequences(&[0, 2, 2, 5], &[4, 9, 7]);
        assert_eq!(packed, [4, 4, 7, 7, 7]);
        let whole = apply(&x, c, &[0, 1, 0, 1, 2], &packed, [3, 4], 2, 0.5);
        let alone = apply(&x[..18], c, &[0, 1, 2], &[7, 7, 7], [3, 4], 2, 0.5);
        assert_eq!(whole[12..], alone);
        assert_ne!(whole[..12], alone[..12]);
    }

    #[test]
    fn gradient() {
        let (x, dy) = (normal(24, 1), normal(24, 2));
        let f = |x: &[f64]| apply(x, 8, &[0, 1, 2], &[1, 1, 1], [1, 2], 3, 0.4);
        check_gradient("dropout", &x, &f(&dy), |x| dot(&dy, &f(x)));
    }
}
