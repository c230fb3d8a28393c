//! An immutable slice with shared ownership, in memory or in a mapped file.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Token ids of a text. If memory is too small for them, they are in a mapped file.
pub type Tokens = SharedSlice<u32>;

/// A slice, or a part of one, that keeps its owner alive. Cloning copies no items.
pub struct SharedSlice<T: 'static> {
    owner: Arc<dyn AsRef<[T]> + Send + Sync>,
    range: Range<usize>,
}

impl<T> SharedSlice<T> {
    /// All items of `owner`.
    pub fn new(owner: impl AsRef<[T]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        SharedSlice { owner: Arc::new(owner), range }
    }

    /// The items in `range`; the part of `range` past the end is ignored.
    pub fn part(&self, range: Range<usize>) -> Self {
        let at = |i: usize| self.range.start + i.min(self.len());
        let start = at(range.start);
        SharedSlice { owner: Arc::clone(&self.owner), range: start..at(range.end).max(start) }
    }
}

impl<T> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl<T: Send + Sync> From<Vec<T>> for SharedSlice<T> {
    fn from(all: Vec<T>) -> Self {
        SharedSlice::new(all)
    }
}

impl<T> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        SharedSlice { owner: Arc::clone(&self.owner), range: self.range.clone() }
    }
}

impl<T> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSlice({} items)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_part_counts_from_that_part() {
        let all = Tokens::from((0..10).collect::<Vec<u32>>());
        let part = all.part(2..8);
        assert_eq!(*part, [2, 3, 4, 5, 6, 7]);
        assert_eq!(*part.part(1..3), [3, 4]);
        assert_eq!((part.part(4..100).len(), part.part(7..9).len()), (2, 0));
        drop(all);
        std::thread::spawn(move || assert_eq!(part.len(), 6)).join().expect("shared between threads");
    }
}
