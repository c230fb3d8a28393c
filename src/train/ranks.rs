//! The ranks of a run. Each has a device with all weights, and trains on its part of every step's batch. Gradients and losses
//! are added up in the order of the ranks between accumulation and the optimizer step, which all ranks then take alike.
//!
//! Rank 0 belongs to the thread of the engine; it also evaluates, samples and saves. Every other rank has a thread of its own.

use super::prefetch::Share;
use crate::communicator::{Communicator, thread_ranks};
use crate::data::batch::LossCounts;
use crate::gpu::Caps;
use crate::model::{Learning, Training};
use crate::ops::layout::LayoutCapacity;
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// What all ranks know of a step.
#[derive(Clone)]
pub(super) struct Step {
    /// Targets and examples over all ranks.
    pub counts: LossCounts,
    /// The dropout key.
    pub dropout_key: [u32; 2],
    /// The learning rate.
    pub lr: f64,
    /// What learns from this step on, if that changes.
    pub learning: Option<Learning>,
}

/// The ranks of a run.
pub(super) struct Ranks {
    /// The model of rank 0.
    pub training: Training,
    others: Others,
    capacities: Vec<LayoutCapacity>,
}

/// The connection of rank 0 to the others.
struct Others {
    /// `None` after a failure.
    communicator: Option<Box<dyn Communicator>>,
    followers: Vec<Follower>,
    same_results: bool,
}

/// A rank other than 0.
struct Follower {
    /// Dropped to end the thread.
    orders: Option<Sender<(Share, Step)>>,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<(), Failure>>>,
    caps: Caps,
}

/// Why a rank cannot go on.
enum Failure {
    /// An error of its own.
    Own(Error),
    /// Another rank has failed.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Own(error)
    }
}

/// An error of a step, and where it occurred.
pub(super) struct RankError {
    pub error: Error,
    /// The rank and its adapter, where there are several ranks.
    pub rank: Option<String>,
}

/// Whether two devices compute the same optimizer step from the same numbers, to the last bit.
fn computes_alike(a: &Caps, b: &Caps) -> bool {
    (&a.name, &a.backend, &a.driver) == (&b.name, &b.backend, &b.driver)
}

impl Ranks {
    /// Ranks over models with the same weights and moments, in this order.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread, and [`Error::Value`] without a model.
    pub fn new(models: Vec<Training>) -> Result<Self> {
        let capacities = models.iter().map(Training::batch_capacity).collect();
        let caps: Vec<Caps> = models.iter().map(|model| model.device().caps().clone()).collect();
        let same_results = caps.iter().all(|other| computes_alike(&caps[0], other));
        let mut ranks = models.into_iter().zip(thread_ranks(caps.len()));
        let (training, communicator) = ranks.next().ok_or_else(|| Error::value("devices", 0, "expected 1 or more"))?;
        let mut others = Others { communicator: Some(Box::new(communicator)), followers: Vec::new(), same_results };
        for ((training, communicator), caps) in ranks.zip(caps.into_iter().skip(1)) {
            let (orders, received) = channel();
            let work = move || follow(training, Box::new(communicator), same_results, &received);
            let thread = std::thread::Builder::new().name(format!("rank {}", others.followers.len() + 1)).spawn(work);
            let thread = Some(thread.map_err(|e| Error::io("thread of a rank", e))?);
            others.followers.push(Follower { orders: Some(orders), thread, caps });
        }
        Ok(Ranks { training, others, capacities })
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.capacities.len()
    }

    /// The capacity of each rank for micro-batches.
    pub fn capacities(&self) -> Vec<LayoutCapacity> {
        self.capacities.clone()
    }

    /// Submits one step. With one rank, it does not wait, unless several steps are in flight; with more, it waits for the
    /// gradients. Returns the seconds that each rank took for them; nothing with one rank.
    ///
    /// # Errors
    /// The first error of any rank; the ranks have then ended.
    pub fn step(&mut self, shares: Vec<Share>, step: &Step) -> Result<Vec<f32>, Box<RankError>> {
        let mut shares = shares.into_iter();
        let own = shares.next().unwrap_or_default();
        for (follower, share) in self.others.followers.iter().zip(shares) {
            // A rank that has ended is noticed below.
            let _ = follower.orders.as_ref().map(|orders| orders.send((share, step.clone())));
        }
        let Others { communicator, same_results, .. } = &mut self.others;
        let done = match communicator {
            Some(communicator) => take_step(&mut self.training, communicator.as_mut(), *same_results, &own, step),
            None => Err(Failure::Own(Error::Ended("the other ranks".into()))),
        };
        done.map_err(|failure| Box::new(self.failed(failure)))
    }

    /// Ends all ranks and returns the error at the beginning.
    fn failed(&mut self, failure: Failure) -> RankError {
        let size = self.size();
        let at = |rank: usize, caps: &Caps| (size > 1).then(|| format!("rank {rank} of {size}, on {}", caps.name));
        let errors = self.others.end();
        let own = at(0, self.training.device().caps());
        match failure {
            Failure::Own(error) => RankError { error, rank: own },
            Failure::Other(error) => {
                let first = errors.into_iter().find(|(_, error)| matches!(error, Failure::Own(_)));
                match first {
                    Some((rank, Failure::Own(error) | Failure::Other(error))) => {
                        RankError { error, rank: at(rank, &self.others.followers[rank - 1].caps) }
                    }
                    None => RankError { error, rank: None },
                }
            }
        }
    }

    /// Ends the other ranks and returns the model of rank 0.
    pub fn into_training(self) -> Training {
        self.training
    }
}

impl Others {
    /// Ends the threads, and returns the errors of those that have failed.
    fn end(&mut self) -> Vec<(usize, Failure)> {
        self.communicator = None;
        self.followers.iter_mut().for_each(|follower| follower.orders = None);
        let mut errors = Vec::new();
        for (i, thread) in self.followers.iter_mut().map(|follower| follower.thread.take()).enumerate() {
            match thread.map(JoinHandle::join) {
                Some(Ok(Err(failure))) => errors.push((i + 1, failure)),
                Some(Err(panic)) if !std::thread::panicking() => std::panic::resume_unwind(panic),
                _ => {}
            }
        }
        errors
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread of a rank other than 0.
fn follow(
    mut training: Training,
    mut communicator: Box<dyn Communicator>,
    same_results: bool,
    orders: &Receiver<(Share, Step)>,
) -> Result<(), Failure> {
    while let Ok((share, step)) = orders.recv() {
        take_step(&mut training, communicator.as_mut(), same_results, &share, &step)?;
        // They are those of rank 0.
        while training.next_result()?.is_some() {}
    }
    Ok(())
}

/// A step of one rank.
fn take_step(
    training: &mut Training,
    communicator: &mut dyn Communicator,
    same_results: bool,
    share: &Share,
    step: &Step,
) -> Result<Vec<f32>, Failure> {
    let Step { counts, dropout_key, lr, ref learning } = *step;
    if let Some(learning) = learning {
        training.set_learning(learning.clone())?;
    }
    let (rank, size) = (communicator.rank(), communicator.size());
    if let ([layout], 1) = (share.layouts.as_slice(), size) {
        training.step_of(layout, counts, dropout_key, lr)?;
        return Ok(Vec::new());
    }
    let start = Instant::now();
    for layout in &share.layouts {
        training.accumulate_gradients_of(layout, counts, dropout_key)?;
    }
    if size == 1 {
        training.optimizer_step(lr)?;
        return Ok(Vec::new());
    }
    let mut values = training.accumulated()?;
    let own = values.len();
    // Each rank adds its time to zeros.
    values.resize(own + size, 0.0);
    values[own + rank] = start.elapsed().as_secs_f32();
    communicator.all_reduce(&mut values).map_err(Failure::Other)?;
    let seconds = values.split_off(own);
    training.optimizer_step_with(&values, counts, lr)?;
    if !same_results {
        // The last bits of the step may differ between adapters, and weights must not drift apart.
        let mut weights = training.packed_weights()?;
        communicator.broadcast(&mut weights, 0).map_err(Failure::Other)?;
        training.set_packed_weights(&weights)?;
    }
    Ok(seconds)
}
