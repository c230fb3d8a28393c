//! Numbers as rows, and matrices on the device that hold them.

use crate::common::tensors;
use wgpt::gpu::{Device, Matrix};

/// Swaps the middle two of four axes: [B, H, T, D] to [B, T, H, D], and back.
pub fn swap_middle(input: &[f64], [b, x, y]: [usize; 3]) -> Vec<f64> {
    let d = input.len() / (b * x * y);
    let place = |i: usize| {
        let (batch, j, k) = (i / (x * y), i / x % y, i % x);
        ((batch * x + k) * y + j) * d
    };
    (0..b * x * y).flat_map(|i| &input[place(i)..place(i) + d]).copied().collect()
}

/// Rows of several matrices of `c` columns side by side.
pub fn beside(parts: &[&[f64]], c: usize) -> Vec<f64> {
    (0..parts[0].len() / c).flat_map(|r| parts.iter().flat_map(move |p| &p[r * c..(r + 1) * c])).copied().collect()
}

/// Columns `from` to `from + count` of rows of `width`.
pub fn columns(x: &[f64], width: usize, from: usize, count: usize) -> Vec<f64> {
    x.chunks_exact(width).flat_map(|row| &row[from..from + count]).copied().collect()
}

/// The numbers as f32.
pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

/// A matrix that holds these numbers; without any, zeros.
pub fn matrix(device: &Device, rows: usize, columns: usize, data: &[f64]) -> Matrix {
    tensors::matrix(device, "golden", rows.max(1), columns, &narrow(data))
}
