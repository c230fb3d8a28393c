//! Shape checks of operands, made while a program is recorded: kernels check no bounds.

use crate::gpu::{Matrix, View};
use crate::{Error, Result, dims};

/// Refuses tensors that are smaller than what a kernel touches at capacity. A matrix comes with the rows it must have at
/// least and the columns it must have exactly; a list comes with the words it must have at least.
///
/// # Errors
/// [`Error::Kernel`] with the tensor's name, its shape and the shape expected.
pub(super) fn check_shapes(kernel: &str, matrices: &[(&Matrix, u32, usize)], lists: &[(&View, usize)]) -> Result<()> {
    let error = |message: String| Err(Error::Kernel { kernel: kernel.into(), message });
    for (m, rows, columns) in matrices {
        let name = &m.view.name;
        if m.columns != *columns || m.rows < *rows as usize {
            return error(format!("`{name}` is [{}, {}]: expected [{rows} at least, {columns}]", m.rows, m.columns));
        }
        let words = dims::floats(*rows as usize, *columns);
        if m.view.words < words as u64 {
            return error(format!("`{name}` has {} words: expected {words} at least", m.view.words));
        }
    }
    match lists.iter().find(|(list, words)| list.words < *words as u64) {
        Some((list, words)) => error(format!("`{}` has {} words: expected {words} at least", list.name, list.words)),
        None => Ok(()),
    }
}
