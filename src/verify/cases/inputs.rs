//! Inputs that the cases of several ops share: shapes, matrices, lists of rows.

use crate::gpu::{Device, Matrix, View};
use crate::ops::{RowAccess, Spec};
use crate::philox::{Stream, Words};
use crate::verify::Specs;
use crate::{Result, dims};

/// Sizes of a case of a row-wise kernel.
#[derive(Clone, Copy, Debug)]
pub struct RowSizes {
    /// Rows at capacity.
    pub rows: usize,
    /// Rows of the batch at hand.
    pub live: usize,
    /// Columns.
    pub columns: usize,
}

/// Sizes of small row-wise cases: 1, primes, the group's widths ± 1, one row and many.
pub(super) const ROW_SIZES: [RowSizes; 9] = [
    RowSizes { rows: 1, live: 1, columns: 1 },
    RowSizes { rows: 2, live: 1, columns: 3 },
    RowSizes { rows: 33, live: 33, columns: 31 },
    RowSizes { rows: 65, live: 40, columns: 64 },
    RowSizes { rows: 33, live: 17, columns: 65 },
    RowSizes { rows: 200, live: 131, columns: 130 },
    RowSizes { rows: 65, live: 65, columns: 257 },
    RowSizes { rows: 40, live: 33, columns: 769 },
    RowSizes { rows: 3, live: 2, columns: 1601 },
];

/// Every [`RowAccess`] as a Spec, the chosen one first.
pub(super) fn row_specs(columns: usize) -> Specs {
    Box::new(move |caps| {
        let chosen = RowAccess::choose(caps, columns, &[]);
        let others = RowAccess::all(caps).into_iter().filter(|access| *access != chosen);
        std::iter::once(chosen).chain(others).map(Spec::Row).collect()
    })
}

pub(super) fn row_access(spec: Spec, op: &str) -> Result<RowAccess> {
    match spec {
        Spec::Row(access) => Ok(access),
        other => Err(other.wrong_kernel(op)),
    }
}

/// A matrix whose first rows are `data`; the rows after them are zero.
pub(super) fn filled(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Result<Matrix> {
    let matrix = Matrix::new(device, name, rows, columns)?;
    matrix.write(device, data)?;
    Ok(matrix)
}

/// A matrix whose first rows are `data`; the rows after them are NaN, because no kernel may read them.
pub(super) fn input(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Result<Matrix> {
    let matrix = Matrix::new(device, name, rows, columns)?;
    let mut padded = dims::pad_rows(data, columns);
    padded.resize(dims::floats(rows, columns), f32::NAN);
    matrix.view.write(device, &padded)?;
    Ok(matrix)
}

/// A list of `capacity` words. The first are `words`; the others are numbers of rows that do not exist.
pub(super) fn table(device: &Device, name: &str, capacity: usize, words: &[u32]) -> Result<View> {
    let view = View::new(device, name, capacity)?;
    let mut all = words.to_vec();
    all.resize(capacity.max(1), u32::MAX - 7);
    view.write(device, &all)?;
    Ok(view)
}

/// `count` numbers below `below`.
pub(super) fn indices(seed: u32, count: usize, below: usize) -> Vec<u32> {
    let mut words = Words::new(u64::from(seed), Stream::Order, 0, 0);
    (0..count).map(|_| words.below(below as u32)).collect()
}

/// Positions and sequence numbers of `rows` packed rows: sequences of 1, 2, 7, 31, 64 tokens, at most `longest`.
pub(super) fn ragged(rows: usize, longest: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut positions, mut sequences) = (Vec::new(), Vec::new());
    for (number, length) in [1, 2, 7, 31, 64].iter().cycle().enumerate() {
        if positions.len() >= rows {
            break;
        }
        let length = length.min(&longest).min(&(rows - positions.len())).to_owned();
        positions.extend(0..length as u32);
        // Not in order: a sequence's number in the whole step is anything.
        sequences.extend(std::iter::repeat_n((number as u32 * 7 + 3) % 1000, length));
    }
    (positions, sequences)
}
