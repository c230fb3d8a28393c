//! The ranks of a training over several devices, and the operations that all of them take part in.
//!
//! Every rank calls the same operations in the same order with values of the same length. Sums are added in the order of the
//! ranks, so that their bits depend on the values and on the number of ranks alone.

#[cfg(feature = "mpi")]
mod mpi;
mod threads;

#[cfg(feature = "mpi")]
pub use mpi::{MpiJob, MpiRank};
pub use threads::{ThreadRank, thread_ranks};

use crate::{Error, Result};

/// The error of all operations after a rank has left.
fn ended(rank: usize, size: usize, reason: &str) -> Error {
    Error::Rank { rank, size, reason: (!reason.is_empty()).then(|| reason.to_string()) }
}

/// An error where rank 0 has not one message for each rank.
fn check_messages(messages: &[Vec<u8>], size: usize) -> Result<()> {
    match messages.len() == size {
        true => Ok(()),
        false => Err(Error::value("messages", messages.len(), format!("expected {size}, one for each rank"))),
    }
}

/// One rank's connection to all ranks.
pub trait Communicator {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Replaces the values of every rank by their sums over all ranks: ((rank 0 + rank 1) + rank 2) + …, in f32.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended, and [`Error::Value`] on every rank if
    /// they differ in the number of values.
    fn all_reduce(&mut self, values: &mut [f32]) -> Result<()>;

    /// Replaces the values of every rank by those of the rank `root`.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    fn broadcast(&mut self, values: &mut [f32], root: usize) -> Result<()>;

    /// Sends messages from rank 0, which gives one for each rank; those of other ranks are ignored. Returns the message for
    /// this rank.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended, and [`Error::Value`] on rank 0 for
    /// another number of messages than ranks.
    fn scatter(&mut self, messages: Vec<Vec<u8>>) -> Result<Vec<u8>>;

    /// Sends a message from each rank to rank 0, which receives all of them in the order of the ranks; the others receive none.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn gather(&mut self, message: Vec<u8>) -> Result<Vec<Vec<u8>>>;

    /// Waits until every rank has called it.
    ///
    /// # Errors
    /// [`Error::Rank`] if a rank has ended.
    fn barrier(&mut self) -> Result<()>;

    /// Leaves the other ranks, whose operations then end with an error that gives the reason, instead of waiting.
    fn leave(&mut self, reason: &str);
}
