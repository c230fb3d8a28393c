//! The cases, one file an op.

pub mod attention;
pub mod cache;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather_rows;
pub mod kv_compress;
pub mod layer_norm;
pub mod matmul;
pub mod matvec;
pub mod optimizer;
pub mod task_loss;

use super::{Case, Specs};
use crate::gpu::{Device, Matrix, View};
use crate::ops::{RowAccess, Spec};
use crate::philox::{Stream, Words};
use crate::{Result, dims};

/// Every case: small ones and those of the benchmarks.
pub fn all() -> Vec<Case> {
    let mut all = matmul::cases();
    all.extend(matvec::cases());
    all.extend(attention::cases());
    all.extend(cache::cases());
    all.extend(embedding::cases());
    all.extend(kv_compress::cases());
    all.extend(gather_rows::cases());
    all.extend(layer_norm::cases());
    all.extend(column_sum::cases());
    all.extend(dropout::cases());
    all.extend(cross_entropy::cases());
    all.extend(task_loss::cases());
    all.extend(optimizer::cases());
    all
}

/// N, live rows, C of row-wise cases: 1, primes, the group's widths ± 1, one row and many.
const ROW_SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [2, 1, 3],
    [33, 33, 31],
    [65, 40, 64],
    [33, 17, 65],
    [200, 131, 130],
    [65, 65, 257],
    [40, 33, 769],
    [3, 2, 1601],
];

/// Every [`RowAccess`] as a Spec, the chosen one first.
fn row_specs(columns: usize) -> Specs {
    Box::new(move |caps| {
        let chosen = RowAccess::choose(caps, columns, &[]);
        let others = RowAccess::all(caps).into_iter().filter(|access| *access != chosen);
        std::iter::once(chosen).chain(others).map(Spec::Row).collect()
    })
}

fn row_access(spec: Spec, op: &str) -> Result<RowAccess> {
    match spec {
        Spec::Row(access) => Ok(access),
        other => Err(other.wrong_kernel(op)),
    }
}

/// A matrix whose first rows are `data`; the rows after them are zero.
fn filled(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Result<Matrix> {
    let matrix = Matrix::new(device, name, rows, columns)?;
    matrix.write(device, data)?;
    Ok(matrix)
}

/// A matrix whose first rows are `data`; the rows after them are NaN, because no kernel may read them.
fn input(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Result<Matrix> {
    let matrix = Matrix::new(device, name, rows, columns)?;
    let mut padded = dims::pad_rows(data, columns);
    padded.resize(dims::floats(rows, columns), f32::NAN);
    matrix.view.write(device, &padded)?;
    Ok(matrix)
}

/// A list of `capacity` words. The first are `words`; the others are numbers of rows that do not exist.
fn table(device: &Device, name: &str, capacity: usize, words: &[u32]) -> Result<View> {
    let view = View::new(device, name, capacity)?;
    let mut all = words.to_vec();
    all.resize(capacity.max(1), u32::MAX - 7);
    view.write(device, &all)?;
    Ok(view)
}

/// `count` numbers below `below`.
fn indices(seed: u32, count: usize, below: usize) -> Vec<u32> {
    let mut words = Words::new(u64::from(seed), Stream::Order, 0, 0);
    (0..count).map(|_| words.below(below as u32)).collect()
}

/// Positions and sequence numbers of `rows` packed rows: sequences of 1, 2, 7, 31, 64 tokens, at most `longest`.
fn ragged(rows: usize, longest: usize) -> (Vec<u32>, Vec<u32>) {
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
