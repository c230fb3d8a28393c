//! Dropout whose mask is a function of (key, column, row, sequence, place), never of packing, tiles or ranks.
//!
//! y = x/(1 − rate) where mask_word(key, column, row, sequence, place) ≥ ⌊rate·2³²⌋, else 0. Linear, so the backward pass
//! is the same call on dy. x [n,c]; row = position in its sequence, sequence = its number in the whole step, column =
//! channel (for attention the key's position in its sequence). Source: SPEC 5, [`crate::philox`].

use crate::philox::{mask_word, threshold};

/// What an element is multiplied by: 0 or 1/(1 − rate).
pub fn multiplier(key: [u32; 2], column: u32, row: u32, sequence: u32, place: u32, rate: f32) -> f64 {
    if mask_word(key, column, row, sequence, place) >= threshold(rate) { 1.0 / (1.0 - f64::from(rate)) } else { 0.0 }
}

/// Drops elements of x [n,c]; `positions` and `sequences` [n] say of each row its position and its sequence's number.
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

/// The sequence number of each packed row: `sequence_numbers` [B] spread over the rows of `cu_seqlens` [B+1].
pub fn rows_of_sequences(cu_seqlens: &[u32], sequence_numbers: &[u32]) -> Vec<u32> {
    let lengths = cu_seqlens.windows(2).map(|w| (w[1] - w[0]) as usize);
    lengths.zip(sequence_numbers).flat_map(|(length, &number)| std::iter::repeat_n(number, length)).collect()
}
