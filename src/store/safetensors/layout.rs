//! The layout of a parameter's elements in files, where it differs from that of buffers: convolutions.

use crate::config::{ParameterKind, ParameterShape};
use std::borrow::Cow;

/// For each element of a convolution in the layout of buffers, [taps, input channels, output channels], its index in the
/// layout of files, [output channels, input channels, taps].
fn file_indices(shape: &ParameterShape, taps: usize) -> impl Iterator<Item = usize> {
    let (outputs, inputs) = (shape.columns, shape.rows / taps.max(1));
    (0..shape.count()).map(move |i| {
        let (row, output) = (i / outputs, i % outputs);
        (output * inputs + row % inputs) * taps + row / inputs
    })
}

/// A parameter's elements in the layout of files.
pub fn to_file<'a>(shape: &ParameterShape, data: &'a [f32]) -> Cow<'a, [f32]> {
    let ParameterKind::Convolution(taps) = shape.kind else { return data.into() };
    let mut out = vec![0.0; data.len()];
    file_indices(shape, taps).zip(data).for_each(|(i, x)| out[i] = *x);
    out.into()
}

/// A parameter's elements in the layout of buffers: the inverse of [`to_file`].
pub fn from_file(shape: &ParameterShape, data: Vec<f32>) -> Vec<f32> {
    match shape.kind {
        ParameterKind::Convolution(taps) => file_indices(shape, taps).map(|i| data[i]).collect(),
        _ => data,
    }
}
