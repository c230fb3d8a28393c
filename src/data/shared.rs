//! A slice that many hold and nobody changes, wherever it lies: in memory, or in a file that is mapped.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Ids of a text. More of them than memory holds may lie in a mapped file.
pub type Tokens = Shared<u32>;

/// A part of a slice whose owner lives as long as any part of it. Cloning copies nothing.
pub struct Shared<T: 'static> {
    owner: Arc<dyn AsRef<[T]> + Send + Sync>,
    range: Range<usize>,
}

impl<T> Shared<T> {
    /// All of what `owner` holds.
    pub fn new(owner: impl AsRef<[T]> + Send + Sync + 'static) -> Self {
        let range = 0..owner.as_ref().len();
        Shared { owner: Arc::new(owner), range }
    }

    /// A part of this one; what lies past its end is left out.
    pub fn part(&self, range: Range<usize>) -> Self {
        let at = |i: usize| self.range.start + i.min(self.len());
        let start = at(range.start);
        Shared { owner: Arc::clone(&self.owner), range: start..at(range.end).max(start) }
    }
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl<T: Send + Sync> From<Vec<T>> for Shared<T> {
    fn from(all: Vec<T>) -> Self {
        Shared::new(all)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared { owner: Arc::clone(&self.owner), range: self.range.clone() }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} items)", self.range.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_the_part() {
        let all = Tokens::from((0..10).collect::<Vec<u32>>());
        let part = all.part(2..8);
        assert_eq!(*part, [2, 3, 4, 5, 6, 7]);
        assert_eq!(*part.part(1..3), [3, 4]);
        assert_eq!((part.part(4..100).len(), part.part(7..9).len()), (2, 0));
        drop(all);
        std::thread::spawn(move || assert_eq!(part.len(), 6)).join().expect("shared between threads");
    }
}
