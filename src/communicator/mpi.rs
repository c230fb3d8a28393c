//! Ranks that are processes of an MPI job.

use super::{Communicator, check_messages, ended};
use crate::{Error, Result};
use mpi::collective::{CommunicatorCollectives, Root};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::request;
use mpi::topology::{Communicator as _, SimpleCommunicator};
use mpi::{Count, Threading};
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// The most floats of one exchange: MPI counts in 32 bits.
const CHUNK: usize = 1 << 28;
/// How often an operation looks whether all ranks have come, and how often without a pause before.
const PAUSE: Duration = Duration::from_micros(50);
const TURNS_WITHOUT_PAUSE: u32 = 100;
/// In the place of the length of a reason: the rank has not left.
const STAYS: u64 = u64::MAX;

/// Variables that MPI's launchers set for each process.
const LAUNCHED: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"];

/// This process as a rank of an MPI job. When it is dropped, it leaves the others, and MPI ends.
pub struct MpiJob {
    shared: Rc<RefCell<Shared>>,
    local_rank: usize,
    /// Dropped last.
    _universe: Universe,
}

/// A rank of an MPI job, for the thread that started it.
#[derive(Clone)]
pub struct MpiRank {
    rank: usize,
    size: usize,
    shared: Rc<RefCell<Shared>>,
}

struct Shared {
    world: SimpleCommunicator,
    /// The first rank that has left, and why.
    ended: Option<(usize, String)>,
}

/// The operations, by which ranks notice that they call different ones.
#[derive(Clone, Copy)]
enum Operation {
    AllReduce,
    Broadcast,
    Scatter,
    Gather,
    Barrier,
}

impl MpiJob {
    /// Starts MPI if a launcher such as mpirun has started this process; `None` otherwise.
    ///
    /// # Errors
    /// [`Error::Value`] if MPI was started in this process before.
    pub fn start() -> Result<Option<Self>> {
        if LAUNCHED.iter().all(|name| std::env::var_os(name).is_none()) {
            return Ok(None);
        }
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::missing("MPI", "was started in this process before"))?;
        let world = universe.world();
        let local_rank = world.split_shared(world.rank()).rank();
        let shared = Rc::new(RefCell::new(Shared { world, ended: None }));
        Ok(Some(MpiJob { shared, local_rank: usize::try_from(local_rank).unwrap_or(0), _universe: universe }))
    }

    /// The number of this rank among those of the same machine, from 0.
    pub fn local_rank(&self) -> usize {
        self.local_rank
    }

    /// This rank.
    pub fn rank(&self) -> MpiRank {
        let shared = self.shared.borrow();
        let [rank, size] = [shared.world.rank(), shared.world.size()].map(|n| usize::try_from(n).unwrap_or(0));
        MpiRank { rank, size, shared: self.shared.clone() }
    }
}

impl Drop for MpiJob {
    fn drop(&mut self) {
        self.rank().leave(if std::thread::panicking() { "it has panicked" } else { "" });
    }
}

/// An error of the exchange itself.
fn between(what: String) -> Error {
    Error::io("exchange between ranks", std::io::Error::other(what))
}

/// A count of MPI.
fn count(length: usize) -> Result<Count> {
    let expected = format!("expected at most {} bytes", Count::MAX);
    Count::try_from(length).map_err(|_| Error::value("message to a rank", length, expected))
}

/// The counts of parts that follow one another, and where they begin.
fn parts(lengths: &[usize]) -> Result<(Vec<Count>, Vec<Count>)> {
    let (mut counts, mut starts, mut next) = (Vec::new(), Vec::new(), 0);
    for length in lengths {
        counts.push(count(*length)?);
        starts.push(count(next)?);
        next += length;
    }
    count(next)?;
    Ok((counts, starts))
}

impl MpiRank {
    /// Waits for all ranks, and returns the lengths that they give. `leaving` is the reason of a rank that leaves.
    fn meet(&mut self, operation: Operation, length: usize, leaving: Option<&str>) -> Result<Vec<usize>> {
        let mut shared = self.shared.borrow_mut();
        if let Some((rank, reason)) = &shared.ended {
            return Err(ended(*rank, self.size, reason));
        }
        let own = [operation as u64, length as u64, leaving.map_or(STAYS, |reason| reason.len() as u64)];
        let mut all = vec![0u64; own.len() * self.size];
        request::scope(|scope| {
            let mut request = shared.world.immediate_all_gather_into(scope, &own[..], &mut all[..]);
            for turn in 0u32.. {
                match request.test() {
                    Ok(_) => break,
                    Err(waiting) => request = waiting,
                }
                // MPI's own waiting would take all time of a core.
                if turn < TURNS_WITHOUT_PAUSE { std::thread::yield_now() } else { std::thread::sleep(PAUSE) }
            }
        });
        let (all, _) = all.as_chunks::<3>();
        if let Some((rank, [.., bytes])) = all.iter().enumerate().find(|(_, [.., bytes])| *bytes != STAYS) {
            let mut reason = match leaving {
                Some(reason) if rank == self.rank => reason.as_bytes().to_vec(),
                _ => vec![0; *bytes as usize],
            };
            // Open MPI refuses an empty one.
            if !reason.is_empty() {
                shared.world.process_at_rank(rank as i32).broadcast_into(&mut reason[..]);
            }
            let reason = String::from_utf8_lossy(&reason).into_owned();
            let error = ended(rank, self.size, &reason);
            shared.ended = Some((rank, reason));
            return Err(error);
        }
        if let Some(rank) = all.iter().position(|[other, ..]| *other != own[0]) {
            return Err(between(format!("rank {} and rank {rank} call different operations", self.rank)));
        }
        Ok(all.iter().map(|[_, length, _]| *length as usize).collect())
    }

    /// As [`MpiRank::meet`], for an operation that needs as many values from each rank.
    fn meet_alike(&mut self, operation: Operation, length: usize) -> Result<()> {
        let lengths = self.meet(operation, length, None)?;
        match lengths.iter().position(|length| *length != lengths[0]) {
            Some(rank) => {
                let expected = format!("expected {}, as many as rank 0", lengths[0]);
                Err(Error::value(format!("values of rank {rank}"), lengths[rank], expected))
            }
            None => Ok(()),
        }
    }

    /// The part of `length` values that a rank adds up.
    fn part(&self, rank: usize, length: usize) -> Range<usize> {
        let border = |rank: usize| (length as u128 * rank as u128 / self.size as u128) as usize;
        border(rank)..border(rank + 1)
    }

    /// Adds up a chunk: every rank receives its part from all, adds it up in the order of the ranks, and sends the sums to all.
    fn reduce_chunk(&self, values: &mut [f32]) -> Result<()> {
        let world = &self.shared.borrow().world;
        let lengths: Vec<usize> = (0..self.size).map(|rank| self.part(rank, values.len()).len()).collect();
        let own = lengths[self.rank];
        let (counts, starts) = parts(&lengths)?;
        let (own_counts, own_starts) = parts(&vec![own; self.size])?;
        let mut received = vec![0f32; own * self.size];
        {
            let sent = Partition::new(&*values, &counts[..], &starts[..]);
            let mut received = PartitionMut::new(&mut received[..], own_counts, own_starts);
            world.all_to_all_varcount_into(&sent, &mut received);
        }
        let (sums, others) = received.split_at_mut(own);
        for other in others.chunks_exact(own.max(1)) {
            sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
        let mut all = PartitionMut::new(values, counts, starts);
        world.all_gather_varcount_into(&*sums, &mut all);
        Ok(())
    }
}

impl Communicator for MpiRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce(&mut self, values: &mut [f32]) -> Result<()> {
        self.meet_alike(Operation::AllReduce, values.len())?;
        values.chunks_mut(CHUNK).try_for_each(|chunk| self.reduce_chunk(chunk))
    }

    fn broadcast(&mut self, values: &mut [f32], root: usize) -> Result<()> {
        self.meet_alike(Operation::Broadcast, values.len())?;
        if root >= self.size {
            return Err(Error::value("root", root, format!("expected a rank below {}", self.size)));
        }
        let shared = self.shared.borrow();
        let root = shared.world.process_at_rank(root as i32);
        values.chunks_mut(CHUNK).for_each(|chunk| root.broadcast_into(chunk));
        Ok(())
    }

    fn scatter(&mut self, messages: Vec<Vec<u8>>) -> Result<Vec<u8>> {
        if self.rank == 0 {
            check_messages(&messages, self.size)?;
        }
        let lengths: Vec<usize> = messages.iter().map(Vec::len).collect();
        let (counts, starts) = parts(&lengths)?;
        self.meet(Operation::Scatter, 0, None)?;
        let shared = self.shared.borrow();
        let root = shared.world.process_at_rank(0);
        let mut length: Count = 0;
        if self.rank != 0 {
            root.scatter_into(&mut length);
            let mut own = vec![0; length as usize];
            root.scatter_varcount_into(&mut own[..]);
            return Ok(own);
        }
        root.scatter_into_root(&counts[..], &mut length);
        let mut own = vec![0; length as usize];
        let all = messages.concat();
        root.scatter_varcount_into_root(&Partition::new(&all[..], counts, starts), &mut own[..]);
        Ok(own)
    }

    fn gather(&mut self, message: Vec<u8>) -> Result<Vec<Vec<u8>>> {
        count(message.len())?;
        let lengths = self.meet(Operation::Gather, message.len(), None)?;
        let (counts, starts) = parts(&lengths)?;
        let shared = self.shared.borrow();
        let root = shared.world.process_at_rank(0);
        if self.rank != 0 {
            root.gather_varcount_into(&message[..]);
            return Ok(Vec::new());
        }
        let mut all = vec![0; lengths.iter().sum()];
        root.gather_varcount_into_root(&message[..], &mut PartitionMut::new(&mut all[..], counts, starts));
        let mut rest = all.as_slice();
        let mut take = |length: usize| {
            let (own, others) = rest.split_at(length);
            rest = others;
            own.to_vec()
        };
        Ok(lengths.into_iter().map(&mut take).collect())
    }

    fn barrier(&mut self) -> Result<()> {
        self.meet(Operation::Barrier, 0, None).map(drop)
    }

    fn leave(&mut self, reason: &str) {
        // The error is the end itself.
        let _ = self.meet(Operation::Barrier, 0, Some(reason));
    }
}
