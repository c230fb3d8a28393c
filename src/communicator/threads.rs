//! Ranks that are threads of one process.

use super::{Communicator, check_messages, ended};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// A rank among threads of one process. When it is dropped, it leaves the others, whose operations then end with an error
/// instead of waiting for it.
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    meeting: Mutex<Meeting>,
    changed: Condvar,
    /// By rank: the values that it contributes.
    contributions: Vec<RwLock<Vec<f32>>>,
    /// By rank: the sums of the part of the values that this rank adds up.
    sums: Vec<RwLock<Vec<f32>>>,
    /// By rank: the message to it, or from it.
    messages: Vec<Mutex<Vec<u8>>>,
}

/// The barrier.
#[derive(Debug, Default)]
struct Meeting {
    /// Ranks that wait.
    waiting: usize,
    /// How many times all ranks have met.
    met: u64,
    /// The first rank that has ended, and why.
    ended: Option<(usize, String)>,
}

/// Connects `size` ranks. Each belongs to one thread.
pub fn thread_ranks(size: usize) -> Vec<ThreadRank> {
    let empty = || (0..size).map(|_| RwLock::default()).collect();
    let messages = (0..size).map(|_| Mutex::default()).collect();
    let (contributions, sums) = (empty(), empty());
    let shared = Arc::new(Shared { meeting: Mutex::default(), changed: Condvar::new(), contributions, sums, messages });
    (0..size).map(|rank| ThreadRank { rank, shared: shared.clone() }).collect()
}

fn replace(target: &RwLock<Vec<f32>>, values: impl IntoIterator<Item = f32>) {
    let mut target = target.write().unwrap_or_else(PoisonError::into_inner);
    target.clear();
    target.extend(values);
}

fn read(values: &RwLock<Vec<f32>>) -> RwLockReadGuard<'_, Vec<f32>> {
    values.read().unwrap_or_else(PoisonError::into_inner)
}

impl ThreadRank {
    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.shared.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, rank: usize) -> MutexGuard<'_, Vec<u8>> {
        self.shared.messages[rank].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self) -> Result<()> {
        let mut meeting = self.meeting();
        let met = meeting.met;
        meeting.waiting += 1;
        if meeting.waiting == self.size() {
            (meeting.waiting, meeting.met) = (0, met + 1);
            self.shared.changed.notify_all();
        }
        // Ranks that met have met, even if one of them has ended since.
        while meeting.met == met {
            if let Some((rank, reason)) = &meeting.ended {
                return Err(ended(*rank, self.size(), reason));
            }
            meeting = self.shared.changed.wait(meeting).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Makes the values of all ranks visible to all, and checks that `of` have as many as this one.
    fn contribute(&self, values: &[f32]) -> Result<()> {
        replace(&self.shared.contributions[self.rank], values.iter().copied());
        self.meet()?;
        for (rank, other) in self.shared.contributions.iter().enumerate() {
            let found = read(other).len();
            if found != read(&self.shared.contributions[0]).len() {
                let expected = format!("expected {}, as many as rank 0", read(&self.shared.contributions[0]).len());
                return Err(Error::value(format!("values of rank {rank}"), found, expected));
            }
        }
        Ok(())
    }

    /// The part of `length` values that a rank adds up.
    fn part(&self, rank: usize, length: usize) -> Range<usize> {
        let border = |rank: usize| (length as u128 * rank as u128 / self.size() as u128) as usize;
        border(rank)..border(rank + 1)
    }
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.contributions.len()
    }

    fn all_reduce(&mut self, values: &mut [f32]) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        self.contribute(values)?;
        let own = self.part(self.rank, values.len());
        let mut sums = read(&self.shared.contributions[0])[own.clone()].to_vec();
        for other in &self.shared.contributions[1..] {
            sums.iter_mut().zip(&read(other)[own.clone()]).for_each(|(sum, value)| *sum += value);
        }
        replace(&self.shared.sums[self.rank], sums);
        self.meet()?;
        // Nobody overwrites sums before all ranks have come to the next operation, nor contributions before this meeting.
        for (rank, sums) in self.shared.sums.iter().enumerate() {
            let part = self.part(rank, values.len());
            values[part].copy_from_slice(&read(sums));
        }
        Ok(())
    }

    fn broadcast(&mut self, values: &mut [f32], root: usize) -> Result<()> {
        self.contribute(values)?;
        let Some(from) = self.shared.contributions.get(root) else {
            return Err(Error::value("root", root, format!("expected a rank below {}", self.size())));
        };
        values.copy_from_slice(&read(from));
        // The next operation overwrites contributions.
        self.meet()
    }

    fn scatter(&mut self, messages: Vec<Vec<u8>>) -> Result<Vec<u8>> {
        if self.rank == 0 {
            check_messages(&messages, self.size())?;
            messages.into_iter().enumerate().for_each(|(rank, message)| *self.message(rank) = message);
        }
        self.meet()?;
        let own = std::mem::take(&mut *self.message(self.rank));
        // The next operation replaces messages.
        self.meet()?;
        Ok(own)
    }

    fn gather(&mut self, message: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        *self.message(self.rank) = message;
        self.meet()?;
        let ranks = if self.rank == 0 { 0..self.size() } else { 0..0 };
        let all = ranks.map(|rank| std::mem::take(&mut *self.message(rank))).collect();
        self.meet()?;
        Ok(all)
    }

    fn barrier(&mut self) -> Result<()> {
        self.meet()
    }

    fn leave(&mut self, reason: &str) {
        let rank = self.rank;
        self.meeting().ended.get_or_insert_with(|| (rank, reason.to_string()));
        self.shared.changed.notify_all();
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.leave("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs every rank on its own thread and returns what each returned.
    fn on_ranks<T: Send>(size: usize, work: impl Fn(ThreadRank) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = thread_ranks(size).into_iter().map(|rank| scope.spawn(|| work(rank))).collect();
            threads.into_iter().map(|thread| thread.join().expect("rank")).collect()
        })
    }

    /// Values whose sum depends on the order of addition.
    fn values(rank: usize, length: usize) -> Vec<f32> {
        (0..length)
            .map(|i| ((rank * 7919 + i * 104_729) % 1000) as f32 * 10f32.powi((rank + i) as i32 % 9 - 4))
            .collect()
    }

    #[test]
    fn sums_are_those_in_the_order_of_the_ranks() {
        for size in 1..=5 {
            for length in [0, 1, 2, 3, 7, 64, 1001] {
                let mut expected = values(0, length);
                for rank in 1..size {
                    expected.iter_mut().zip(values(rank, length)).for_each(|(sum, value)| *sum += value);
                }
                let all = on_ranks(size, |mut rank| {
                    // Twice without a barrier: the second operation must not disturb the first.
                    let [mut first, mut second] = [values(rank.rank(), length), values(rank.rank(), length)];
                    rank.all_reduce(&mut first).expect("first");
                    rank.all_reduce(&mut second).expect("second");
                    rank.barrier().expect("barrier");
                    [first, second]
                });
                let bits = |sums: &[f32]| sums.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
                for sums in all.iter().flatten() {
                    assert_eq!(bits(sums), bits(&expected), "{size} ranks, {length} values");
                }
            }
        }
    }

    #[test]
    fn every_rank_receives_the_values_of_the_root() {
        for size in 1..=5 {
            for root in 0..size {
                let all = on_ranks(size, |mut rank| {
                    let mut received = values(rank.rank(), 33);
                    rank.broadcast(&mut received, root).expect("broadcast");
                    let mut sums = vec![1.0];
                    rank.all_reduce(&mut sums).expect("sum");
                    (received, sums)
                });
                assert!(all.iter().all(|rank| *rank == (values(root, 33), vec![size as f32])), "{size}, {root}");
            }
        }
        let refused = on_ranks(2, |mut rank| rank.broadcast(&mut [0.0], 2).expect_err("no such rank").to_string());
        assert!(refused.iter().all(|error| error.contains("root = 2: expected a rank below 2")), "{refused:?}");
    }

    #[test]
    fn messages_go_to_each_rank_and_come_back() {
        for size in 1..=5 {
            let all = on_ranks(size, |mut rank| {
                let mut received = Vec::new();
                for turn in 0..3u8 {
                    let messages = (0..size as u8).map(|to| vec![to; usize::from(to * turn)]).collect();
                    let own = rank.scatter(if rank.rank() == 0 { messages } else { Vec::new() }).expect("scatter");
                    received.push(rank.gather(own).expect("gather"));
                }
                received
            });
            for (rank, received) in all.into_iter().enumerate() {
                for (turn, messages) in received.into_iter().enumerate() {
                    let expected: Vec<Vec<u8>> = (0..size).map(|from| vec![from as u8; from * turn]).collect();
                    assert_eq!(messages, if rank == 0 { expected } else { Vec::new() }, "{rank} of {size}, {turn}");
                }
            }
        }
        let refused = on_ranks(1, |mut rank| rank.scatter(Vec::new()).expect_err("no message").to_string());
        assert!(refused[0].contains("messages = 0: expected 1, one for each rank"), "{refused:?}");
    }

    #[test]
    fn a_rank_that_ends_ends_the_operations_of_the_others() {
        for size in 2..=5 {
            let all = on_ranks(size, |mut rank| {
                rank.barrier().expect("all are there");
                match rank.rank() {
                    1 => {
                        rank.leave("for a reason");
                        None
                    }
                    n if n % 2 == 0 => Some(rank.all_reduce(&mut [1.0, 2.0]).expect_err("one has ended").to_string()),
                    _ => Some(rank.barrier().expect_err("one has ended").to_string()),
                }
            });
            for (rank, error) in all.into_iter().enumerate().filter(|(rank, _)| *rank != 1) {
                let error = error.expect("error");
                let expected = format!("rank 1 of {size} has ended: for a reason");
                assert!(error.contains(&expected), "rank {rank} of {size}: {error}");
            }
        }
    }

    #[test]
    fn ranks_with_different_lengths_are_refused_everywhere() {
        let all = on_ranks(3, |mut rank| {
            let mut values = vec![0.0; 4 + rank.rank() / 2];
            rank.all_reduce(&mut values).expect_err("lengths").to_string()
        });
        assert!(all.iter().all(|error| error.contains("values of rank 2 = 5: expected 4")), "{all:?}");
    }
}
