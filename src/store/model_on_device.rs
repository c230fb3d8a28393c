//! A model from memory on a device: for generation, inference on batches, or training.

use super::model_folder::Model;
use crate::Result;
use crate::gpu::Device;
use crate::model::{Capacity, Generator, Inference, Training, TrainingOptions};

impl Model {
    /// Uploads the model for generating `samples` texts side by side.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn generator(&self, device: &Device, samples: usize) -> Result<Generator> {
        Generator::new(device, &self.config, &self.parameters, samples)
    }

    /// Uploads the model for inference on batches of up to `capacity`.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn inference(&self, device: &Device, capacity: Capacity) -> Result<Inference> {
        Inference::new(device, &self.config, &self.parameters, capacity)
    }

    /// Uploads the model for training on micro-batches of up to `capacity`. Afterwards [`Training::parameters`] has the trained
    /// weights, for [`Model::from_parts`].
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn training(&self, device: &Device, capacity: Capacity, options: TrainingOptions) -> Result<Training> {
        Training::new(device, &self.config, &self.parameters, capacity, options)
    }
}
