//! The ranks of a training over several devices, and the operations that all of them take part in.
//!
//! Every rank calls the same operations in the same order with values of the same length. Sums are added in the order of the
//! ranks, so that their bits depend on the values and on the number of ranks alone.

mod threads;

pub use threads::{ThreadRank, thread_ranks};

use crate::Result;

/// One rank's connection to all ranks.
pub trait Communicator: Send {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Replaces the values of every rank by their sums over all ranks: ((rank 0 + rank 1) + rank 2) + …, in f32.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if a rank has ended, and [`Error::Value`](crate::Error::Value) on every rank if
    /// they differ in the number of values.
    fn all_reduce(&mut self, values: &mut [f32]) -> Result<()>;

    /// Replaces the values of every rank by those of the rank `root`.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    fn broadcast(&mut self, values: &mut [f32], root: usize) -> Result<()>;

    /// Waits until every rank has called it.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if a rank has ended.
    fn barrier(&mut self) -> Result<()>;
}
