//! The ranks other than 0: they do what rank 0 tells them.

use super::order::{Order, Peer, Setup, Step, decoded, encoded, other_version};
use crate::communicator::Communicator;
use crate::gpu::Device;
use crate::model::{Moments, StepState, Training};
use crate::ops::layout::BatchLayout;
use crate::{Error, Result};
use std::time::Instant;

/// Why a rank cannot go on.
pub(super) enum Failure {
    /// An error of its own.
    Own(Error),
    /// Another rank has ended.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Own(error)
    }
}

/// A rank of another process than rank 0: trains in one run after another, until rank 0 leaves. `test` tests the device
/// before a run.
///
/// # Errors
/// An error of this rank, which the others are told. The end of another rank is none: rank 0 reports it.
pub fn follow(
    device: &Device,
    communicator: &mut dyn Communicator,
    mut test: impl FnMut(&Device, &Setup) -> Result<()>,
) -> Result<()> {
    let mut runs = || -> Result<(), Failure> {
        loop {
            let Order::Start(setup) = received(communicator)? else { return Err(out_of_turn()) };
            test(device, &setup)?;
            let mut training = started(device, communicator, &setup)?;
            let peer = encoded(&Peer::new(&training)?)?;
            communicator.gather(peer).map_err(Failure::Other)?;
            let mut same_results = [0.0];
            communicator.broadcast(&mut same_results, 0).map_err(Failure::Other)?;
            take_orders(&mut training, communicator, same_results[0] != 0.0)?;
        }
    };
    match runs() {
        Ok(()) | Err(Failure::Other(_)) => Ok(()),
        Err(Failure::Own(error)) => {
            communicator.leave(&format!("on {}: {error}", device.caps().name));
            Err(error)
        }
    }
}

/// Floats of several tensors, one after another.
pub(super) fn flat(tensors: &[Vec<f32>]) -> Vec<f32> {
    tensors.concat()
}

/// The model of a run, with the weights and moments of rank 0.
fn started(device: &Device, communicator: &mut dyn Communicator, setup: &Setup) -> Result<Training, Failure> {
    let config = setup.config();
    let shapes = config.parameters();
    let mut receive = || -> Result<Vec<Vec<f32>>, Failure> {
        let mut all = vec![0.0; shapes.iter().map(|shape| shape.rows * shape.columns).sum()];
        communicator.broadcast(&mut all, 0).map_err(Failure::Other)?;
        let mut rest = all.as_slice();
        let mut take = |length: usize| {
            let (own, others) = rest.split_at(length);
            rest = others;
            own.to_vec()
        };
        Ok(shapes.iter().map(|shape| take(shape.rows * shape.columns)).collect())
    };
    let weights = receive()?;
    let kernels = setup.kernels(device.caps())?;
    let mut training = Training::with_kernels(device, &config, &weights, setup.capacity, setup.options, kernels)?;
    if setup.progress != StepState::default() {
        training.restore(setup.progress, &Moments { first: receive()?, second: receive()? })?;
    }
    Ok(training)
}

fn received(communicator: &mut dyn Communicator) -> Result<Order, Failure> {
    let message = communicator.scatter(Vec::new()).map_err(Failure::Other)?;
    Ok(decoded(&message)?)
}

fn out_of_turn() -> Failure {
    Failure::Own(other_version("an order out of turn"))
}

/// Does what rank 0 tells until the end of the run.
pub(super) fn take_orders(
    training: &mut Training,
    communicator: &mut dyn Communicator,
    same_results: bool,
) -> Result<(), Failure> {
    let capacity = training.batch_capacity();
    loop {
        match received(communicator)? {
            Order::Train(batches, step) => {
                let layouts = batches.iter().map(|batch| capacity.lay_out(batch)).collect::<Result<Vec<_>>>()?;
                take_step(training, communicator, same_results, &layouts, &step)?;
                // They are those of rank 0.
                while training.next_result()?.is_some() {}
            }
            Order::Evaluate(batch) => {
                // The last batches may be fewer than the ranks.
                let losses = if batch.rows() == 0 { Vec::new() } else { training.evaluate(&batch)? };
                communicator.gather(encoded(&losses)?).map_err(Failure::Other)?;
            }
            Order::End => return Ok(()),
            Order::Start(_) => return Err(out_of_turn()),
        }
    }
}

/// A step of one rank.
pub(super) fn take_step(
    training: &mut Training,
    communicator: &mut dyn Communicator,
    same_results: bool,
    layouts: &[BatchLayout],
    step: &Step,
) -> Result<Vec<f32>, Failure> {
    let Step { counts, dropout_key, lr, ref learning } = *step;
    if let Some(learning) = learning {
        training.set_learning(learning.clone())?;
    }
    let (rank, size) = (communicator.rank(), communicator.size());
    if let ([layout], 1) = (layouts, size) {
        training.step_of(layout, counts, dropout_key, lr)?;
        return Ok(Vec::new());
    }
    let start = Instant::now();
    for layout in layouts {
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
