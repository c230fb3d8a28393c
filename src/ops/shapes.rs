//! Shape checks of operands, made while a program is recorded: kernels check no bounds.

use crate::gpu::{Matrix, Tensor, View};
use crate::{Error, Result, dims};

/// Refuses tensors that are smaller than what a kernel touches at capacity. A matrix comes with the rows it must have at
/// least and the columns it must have exactly; a list comes with the words it must have at least.
///
/// # Errors
/// [`Error::Kernel`] with the tensor's name, its shape and the shape expected.
pub(super) fn check_shapes(kernel: &str, matrices: &[(&Matrix, u32, usize)], lists: &[(&View, usize)]) -> Result<()> {
    for (matrix, rows, columns) in matrices {
        check_shape(kernel, &matrix.view.name, [matrix.rows, matrix.columns], [*rows as usize, *columns])?;
    }
    let words = matrices.iter().map(|(matrix, rows, columns)| (&matrix.view, dims::floats(*rows as usize, *columns)));
    match words.chain(lists.iter().copied()).find(|(view, words)| view.words < *words as u64) {
        Some((view, words)) => {
            let error = Error::kernel(kernel, format!("{} words", view.words)).at(&*view.name);
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
