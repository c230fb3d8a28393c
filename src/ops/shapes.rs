//! Shape checks of operands, made while a program is recorded: kernels check no bounds.

use crate::gpu::{Matrix, Tensor, View};
use crate::{Error, Result, dims};

/// What a kernel touches of a matrix at capacity.
#[derive(Clone, Copy)]
pub(super) struct MatrixNeed<'a> {
    pub matrix: &'a Matrix,
    /// The rows that it must have at least.
    pub rows: u32,
    /// The columns that it must have.
    pub columns: usize,
}

/// What a kernel touches of a list at capacity.
#[derive(Clone, Copy)]
pub(super) struct ListNeed<'a> {
    pub list: &'a View,
    /// The words that it must have at least.
    pub words: usize,
}

/// Refuses tensors that are smaller than what a kernel touches at capacity.
///
/// # Errors
/// [`Error::Kernel`] with the tensor's name, its shape and the shape expected.
pub(super) fn check_shapes(kernel: &str, matrices: &[MatrixNeed], lists: &[ListNeed]) -> Result<()> {
    for MatrixNeed { matrix, rows, columns } in matrices {
        check_shape(kernel, &matrix.view.name, [matrix.rows, matrix.columns], [*rows as usize, *columns])?;
    }
    let words = matrices.iter().map(|MatrixNeed { matrix, rows, columns }| {
        let words = dims::floats(*rows as usize, *columns);
        ListNeed { list: &matrix.view, words }
    });
    match words.chain(lists.iter().copied()).find(|need| need.list.words < need.words as u64) {
        Some(ListNeed { list, words }) => {
            let error = Error::kernel(kernel, format!("{} words", list.words)).at(&*list.name);
            Err(error.expected(format!("expected {words} at least")))
        }
        None => Ok(()),
    }
}

/// Refuses a tensor in a buffer or an image that has fewer rows, or other columns.
///
/// # Errors
/// As [`check_shapes`].
pub(super) fn check_tensor(kernel: &str, tensor: &Tensor, rows: usize, columns: usize) -> Result<()> {
    check_shape(kernel, tensor.name(), tensor.shape(), [rows, columns])
}

fn check_shape(kernel: &str, operand: &str, found: [usize; 2], [rows, columns]: [usize; 2]) -> Result<()> {
    if found[0] >= rows && found[1] == columns {
        return Ok(());
    }
    let error = Error::kernel(kernel, format!("shape {found:?}")).at(operand);
    Err(error.expected(format!("expected [{rows} at least, {columns}]")))
}
