//! What the ranks of a training exchange in each step: gradients and sums of losses, and weights where adapters differ.

use super::parameters::{ParameterData, packed_bytes};
use super::training::Training;
use crate::Result;
use crate::config::ModelConfig;
use crate::data::batch::LossCounts;
use crate::ops::optimizer::LOSS_SUMS;

/// Bytes of the vector that the ranks add up in each step.
pub fn accumulated_bytes(config: &ModelConfig) -> usize {
    packed_bytes(config) + LOSS_SUMS.len() * 4
}

impl Training {
    /// The gradients and the sums of losses accumulated so far, as floats that are the same ones on every device. Waits.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn accumulated(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.accumulated_async())
    }

    /// As [`Training::accumulated`], as a future: see [`Training::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn accumulated_async(&self) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        let gradients = self.parameters.read_packed_async(&self.device, ParameterData::Gradients);
        let state = self.state.read_async::<f32>(&self.device);
        async move {
            let (mut all, state) = (gradients.await?, state.await?);
            all.extend(LOSS_SUMS.map(|word| state[word]));
            Ok(all)
        }
    }

    /// Takes an optimizer step with `accumulated` in place of what was accumulated here: the sum of
    /// [`Training::accumulated`] over all ranks. `counts` are those of the whole step, over all ranks.
    ///
    /// # Errors
    /// As [`Training::optimizer_step`]; [`Error::Value`](crate::Error::Value) for another number of floats.
    pub fn optimizer_step_with(&mut self, accumulated: &[f32], counts: LossCounts, lr: f64) -> Result<()> {
        let (gradients, losses) = accumulated.split_at(accumulated.len().saturating_sub(LOSS_SUMS.len()));
        self.parameters.write_packed(&self.device, ParameterData::Gradients, gradients)?;
        for (word, sum) in LOSS_SUMS.into_iter().zip(losses) {
            self.state.part(word, 1).write(&self.device, &[*sum])?;
        }
        self.counts = counts;
        self.optimizer_step(lr)
    }

    /// The weights, as floats that are the same ones on every device. Waits.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn packed_weights(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.packed_weights_async())
    }

    /// As [`Training::packed_weights`], as a future: see [`Training::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device).
    pub fn packed_weights_async(&self) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        self.parameters.read_packed_async(&self.device, ParameterData::Weights)
    }

    /// Replaces the weights by what [`Training::packed_weights`] returned, here or on another device.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for another number of floats.
    pub fn set_packed_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.parameters.write_packed(&self.device, ParameterData::Weights, weights)
    }
}
