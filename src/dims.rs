//! The letters of shapes, and the row pitch of matrices.
//!
//! B sequences, T tokens in a sequence, C model width, H heads, D = C/H, L layers, V vocabulary, P positions,
//! N rows (tokens) of a packed batch, W local block. A matrix in a buffer has rows of [`pitch`] floats:
//! its padding is zero and stays zero, so every kernel may read whole vectors, odd C and D too, and a copy to an image
//! has rows of multiples of 256 bytes. Files and oracles have no padding.

/// Floats in a pitch: 256 bytes, which buffer-to-texture copies require.
pub const PITCH: usize = 64;

/// Groups in the x dimension of a grid whose groups continue in y: below the 65,535 groups a dimension that every adapter
/// allows. Shaders compute a group's number as `group.y * GRID_WIDTH + group.x`.
pub const GRID_WIDTH: u32 = 32_768;

/// The row pitch, in floats, of a matrix with `columns` columns: rounded up to [`PITCH`].
pub const fn pitch(columns: usize) -> usize {
    columns.div_ceil(PITCH) * PITCH
}

/// Floats of a matrix of `rows` × `columns` in a buffer.
pub const fn floats(rows: usize, columns: usize) -> usize {
    rows * pitch(columns)
}

/// Copies a dense row-major matrix into rows of [`pitch`] floats, padding zero.
pub fn pad_rows(dense: &[f32], columns: usize) -> Vec<f32> {
    let p = pitch(columns);
    let rows = dense.len().checked_div(columns).unwrap_or(0);
    let mut out = vec![0.0; rows * p];
    for r in 0..rows {
        out[r * p..r * p + columns].copy_from_slice(&dense[r * columns..(r + 1) * columns]);
    }
    out
}

/// The inverse of [`pad_rows`].
pub fn unpad_rows(padded: &[f32], columns: usize) -> Vec<f32> {
    padded.chunks_exact(pitch(columns).max(1)).flat_map(|row| row[..columns].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_in_and_out() {
        let dense: Vec<f32> = (0..3 * 65).map(|i| i as f32).collect();
        let padded = pad_rows(&dense, 65);
        assert_eq!(padded.len(), 3 * 128);
        assert_eq!(padded[128], 65.0);
        assert_eq!(padded[65..128], [0.0; 63]);
        assert_eq!(unpad_rows(&padded, 65), dense);
    }
}
