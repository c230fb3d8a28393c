//! Which half copies of matrices ([`View::half_copy`]) are up to date at a point of a program. None is when a program begins, so
//! that it does not matter what others wrote.

use super::{Matrix, View};

/// The copies that are up to date at a point of a program.
pub(super) struct CurrentCopies<R>(Vec<Current<R>>);

struct Current<R> {
    source: View,
    copy: View,
    /// Floats between the starts of two rows.
    pitch: usize,
    /// The rows that it has.
    rows: R,
}

impl<R> Default for CurrentCopies<R> {
    fn default() -> Self {
        CurrentCopies(Vec::new())
    }
}

impl<R: PartialEq> CurrentCopies<R> {
    /// Whether a copy has these rows of a matrix as they are at this point.
    pub fn has(&self, matrix: &Matrix, copy: &View, rows: &R) -> bool {
        let is_same = |current: &Current<R>| current.pitch == matrix.pitch() && current.rows == *rows;
        self.0.iter().any(|current| current.copy.same_buffer(copy) && is_same(current))
    }

    /// Notes that a copy is up to date from here on.
    pub fn add(&mut self, matrix: &Matrix, copy: &View, rows: R) {
        self.0.retain(|current| !current.copy.same_buffer(copy));
        self.0.push(Current { source: matrix.view.clone(), copy: copy.clone(), pitch: matrix.pitch(), rows });
    }

    /// Forgets the copies of everything that overlaps `written`.
    pub fn invalidate(&mut self, written: &View) {
        self.0.retain(|current| !current.source.overlaps(written));
    }
}
