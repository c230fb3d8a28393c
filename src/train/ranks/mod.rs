//! The ranks of a run. Each has a device with all weights, and trains on its part of every step's batch. Gradients and losses
//! are added up in the order of the ranks between accumulation and the optimizer step, which all ranks then take alike.
//!
//! Rank 0 belongs to the thread of the engine; it deals out the work, samples and saves. The others are threads of this
//! process or other processes, and do what rank 0 tells them.

mod follower;
mod order;

pub use follower::follow;
pub use order::Setup;
pub(super) use order::{Peer, Step};

use super::saved_kernels::SavedKernels;
use crate::communicator::{Communicator, thread_ranks};
use crate::data::batch::Batch;
use crate::gpu::Device;
use crate::model::{Capacity, StepState, Training};
use crate::ops::layout::{BatchLayout, LayoutCapacity};
use crate::{Error, Result};
use follower::{Failure, flat, take_orders, take_step};
use order::{Order, decoded, encoded};
use std::thread::JoinHandle;

/// The devices of a run, one for each rank.
pub enum Devices<'a> {
    /// Devices of this process.
    Local(&'a [Device]),
    /// The device of this process, which is rank 0, and those of other processes, which call [`follow`].
    Processes(&'a Device, Box<dyn Communicator>),
}

impl<'a, D: AsRef<[Device]> + ?Sized> From<&'a D> for Devices<'a> {
    fn from(devices: &'a D) -> Self {
        Devices::Local(devices.as_ref())
    }
}

impl<'a> Devices<'a> {
    /// The number of ranks.
    pub fn size(&self) -> usize {
        match self {
            Devices::Local(devices) => devices.len(),
            Devices::Processes(_, communicator) => communicator.size(),
        }
    }

    /// The devices of this process.
    pub fn local(&self) -> &'a [Device] {
        match self {
            Devices::Local(devices) => devices,
            Devices::Processes(device, _) => std::slice::from_ref(device),
        }
    }

    /// The connection to other processes.
    pub(super) fn into_communicator(self) -> Option<Box<dyn Communicator>> {
        match self {
            Devices::Local(_) => None,
            Devices::Processes(_, communicator) => Some(communicator),
        }
    }
}

/// What the ranks of other processes are told before a run.
pub(super) struct Start<'a> {
    /// The size of their batches.
    pub capacity: Capacity,
    /// kernels.json of a run that is resumed.
    pub kernels: Option<&'a SavedKernels>,
    /// The key `self_test`.
    pub self_test: bool,
    /// Whether the run writes samples.
    pub writes_samples: bool,
}

/// The ranks of a run.
pub struct Ranks {
    /// The model of rank 0.
    pub(super) training: Training,
    others: Others,
    peers: Vec<Peer>,
    devices: Vec<Device>,
    /// The rank that has failed and its adapter.
    failed: Option<String>,
}

/// The connection of rank 0 to the others.
struct Others {
    /// `None` after a failure.
    communicator: Option<Box<dyn Communicator>>,
    /// `None` once joined.
    threads: Vec<Option<JoinHandle<Result<(), Failure>>>>,
    same_results: bool,
    size: usize,
}

/// Whether all ranks compute the same bits from the same numbers.
fn compute_alike(peers: &[Peer]) -> bool {
    peers.iter().all(|peer| peers[0].computes_alike(peer))
}

impl Ranks {
    /// Ranks over models with the same weights and moments, in this order: one for each, or the first and those of other
    /// processes.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread, [`Error::Value`] without a model, and the errors of other
    /// processes.
    pub(super) fn new(
        models: Vec<Training>,
        processes: Option<Box<dyn Communicator>>,
        start: &Start<'_>,
    ) -> Result<Self> {
        let devices = models.iter().map(|model| model.device().clone()).collect();
        let mut peers = models.iter().map(Peer::new).collect::<Result<Vec<_>>>()?;
        let mut models = models.into_iter();
        let training = models.next().ok_or_else(|| Error::value("devices", 0, "expected 1 or more"))?;
        let others = match processes {
            Some(mut communicator) => {
                peers = Self::start_processes(&training, communicator.as_mut(), start)?;
                Others::new(communicator, compute_alike(&peers))
            }
            None => Others::of_threads(models.collect(), compute_alike(&peers))?,
        };
        Ok(Ranks { training, others, peers, devices, failed: None })
    }

    /// Makes the models of other processes.
    fn start_processes(first: &Training, communicator: &mut dyn Communicator, start: &Start<'_>) -> Result<Vec<Peer>> {
        let Start { capacity, kernels, self_test, writes_samples } = *start;
        let setup = || Setup::new(first, capacity, kernels, self_test, writes_samples);
        let orders = (0..communicator.size()).map(|_| encoded(&Order::Start(Box::new(setup()?))));
        communicator.scatter(orders.collect::<Result<_>>()?)?;
        communicator.broadcast(&mut flat(&first.parameters()?), 0)?;
        if first.progress() != StepState::default() {
            let moments = first.moments()?;
            communicator.broadcast(&mut flat(&moments.first), 0)?;
            communicator.broadcast(&mut flat(&moments.second), 0)?;
        }
        let peers = communicator.gather(encoded(&Peer::new(first)?)?)?;
        let peers = peers.iter().map(|peer| decoded(peer)).collect::<Result<Vec<Peer>>>()?;
        communicator.broadcast(&mut [f32::from(compute_alike(&peers))], 0)?;
        Ok(peers)
    }

    /// The model of rank 0.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// The devices of this process.
    pub(super) fn devices(&self) -> Vec<Device> {
        self.devices.clone()
    }

    /// The contents of kernels.json.
    pub(super) fn kernels(&self) -> Result<SavedKernels> {
        SavedKernels::of(self.peers.iter().map(Peer::kernels).collect::<Result<Vec<_>>>()?)
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    /// The capacity of rank 0 for micro-batches, which all ranks have.
    pub(super) fn capacity(&self) -> LayoutCapacity {
        self.training.batch_capacity()
    }

    /// The ranks' adapters.
    pub(super) fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// The rank that has failed and its adapter, after an error.
    pub(super) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Submits one step: rank 0 takes the layouts, the others the shares. With one rank, it does not wait, unless several steps
    /// are in flight; with more, it waits for the gradients. Returns the seconds that each rank took for them; nothing with one
    /// rank.
    ///
    /// # Errors
    /// The first error of any rank; the ranks have then ended.
    pub(super) fn step(&mut self, own: &[BatchLayout], shares: Vec<Vec<Batch>>, step: &Step) -> Result<Vec<f32>> {
        let Others { communicator, same_results, size, .. } = &mut self.others;
        let done = match communicator.as_deref_mut() {
            Some(communicator) => {
                let order = |share| encoded(&Order::Train(share, step.clone()));
                send(communicator, *size, shares.into_iter().map(order))
                    .and_then(|()| take_step(&mut self.training, communicator, *same_results, own, step))
            }
            None => Err(Failure::Own(Error::Ended("the other ranks".into()))),
        };
        done.map_err(|failure| self.fail(failure))
    }

    /// Calls `each` with every batch and the loss of each of its rows in nats, without dropout; rows without a target have 0.
    /// Each rank evaluates a part of the batches.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity, the first error of any rank, and the errors of `each`.
    pub fn evaluate(
        &mut self,
        batches: impl IntoIterator<Item = Batch>,
        mut each: impl FnMut(&Batch, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut batches = batches.into_iter();
        loop {
            let dealt: Vec<Batch> = batches.by_ref().take(self.size()).collect();
            if dealt.is_empty() {
                return Ok(());
            }
            let losses = self.evaluate_each(&dealt).map_err(|failure| self.fail(failure))?;
            dealt.iter().zip(&losses).try_for_each(|(batch, losses)| each(batch, losses))?;
        }
    }

    /// The losses of a batch for each rank, or of fewer.
    fn evaluate_each(&mut self, batches: &[Batch]) -> Result<Vec<Vec<f32>>, Failure> {
        let Others { communicator, size, .. } = &mut self.others;
        let Some(communicator) = communicator.as_deref_mut() else {
            return Err(Failure::Own(Error::Ended("the other ranks".into())));
        };
        let of_rank = |rank: usize| batches.get(rank).cloned().unwrap_or_default();
        send(communicator, *size, (1..*size).map(|rank| encoded(&Order::Evaluate(of_rank(rank)))))?;
        let own = batches.first().map_or(Ok(Vec::new()), |batch| self.training.evaluate(batch))?;
        if *size == 1 {
            return Ok(vec![own]);
        }
        let all = communicator.gather(encoded(&own)?).map_err(Failure::Other)?;
        Ok(all.iter().map(|losses| decoded(losses)).collect::<Result<_>>()?)
    }

    /// Ends all ranks and returns the error at the beginning.
    fn fail(&mut self, failure: Failure) -> Error {
        let size = self.size();
        let at = |rank: usize| (size > 1).then(|| format!("rank {rank} of {size}, on {}", self.peers[rank].name));
        let reason = match &failure {
            Failure::Own(error) => error.to_string(),
            Failure::Other(_) => String::new(),
        };
        let errors = self.others.end(&reason);
        let (error, failed) = match failure {
            Failure::Own(error) => (error, at(0)),
            Failure::Other(error) => match errors.into_iter().find(|(_, error)| matches!(error, Failure::Own(_))) {
                Some((rank, Failure::Own(error) | Failure::Other(error))) => (error, at(rank)),
                None => (error, None),
            },
        };
        self.failed = failed;
        error
    }

    /// Ends the other ranks and returns the model of rank 0.
    pub(super) fn into_training(self) -> Training {
        self.training
    }
}

/// Sends an order to each rank but rank 0.
fn send(
    communicator: &mut dyn Communicator,
    size: usize,
    orders: impl Iterator<Item = Result<Vec<u8>>>,
) -> Result<(), Failure> {
    if size == 1 {
        return Ok(());
    }
    let orders = std::iter::once(Ok(Vec::new())).chain(orders).collect::<Result<Vec<_>>>()?;
    communicator.scatter(orders).map(drop).map_err(Failure::Other)
}

impl Others {
    fn new(communicator: Box<dyn Communicator>, same_results: bool) -> Self {
        let size = communicator.size();
        Others { communicator: Some(communicator), threads: Vec::new(), same_results, size }
    }

    /// Ranks that are threads, with these models.
    fn of_threads(models: Vec<Training>, same_results: bool) -> Result<Self> {
        let mut ranks = thread_ranks(models.len() + 1);
        let communicators = ranks.split_off(1);
        let first = ranks.pop().ok_or_else(|| Error::value("ranks", 0, "expected 1 or more"))?;
        let mut others = Others::new(Box::new(first), same_results);
        for (i, (mut training, mut communicator)) in models.into_iter().zip(communicators).enumerate() {
            let work = move || take_orders(&mut training, &mut communicator, same_results);
            let thread = std::thread::Builder::new().name(format!("rank {}", i + 1)).spawn(work);
            others.threads.push(Some(thread.map_err(|e| Error::io("thread of a rank", e))?));
        }
        Ok(others)
    }

    /// Ends the ranks, for a reason or at the end of a run, and returns the errors of the threads that have failed.
    fn end(&mut self, reason: &str) -> Vec<(usize, Failure)> {
        if let Some(mut communicator) = self.communicator.take() {
            if reason.is_empty() {
                let end = |_| encoded(&Order::End);
                // Ranks that have ended already need no order.
                let _ = send(communicator.as_mut(), self.size, (1..self.size).map(end));
            } else {
                communicator.leave(reason);
            }
        }
        let mut errors = Vec::new();
        for (i, thread) in self.threads.iter_mut().map(Option::take).enumerate() {
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
        let reason = if std::thread::panicking() { "it has panicked" } else { "" };
        self.end(reason);
    }
}
