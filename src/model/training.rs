//! A step as programs: `micro` (forward, backward, gradients +=) k times, `update` (norm, clip, AdamW) once; `evaluate`.

use crate::config::ModelConfig;
use crate::data::batch::Batch;
use crate::gpu::Device;
use crate::ops::optimizer::{AdamW, State};
use crate::{Error, Result};

/// The largest batch that will come: activations are made for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// N, rows of a micro-batch.
    pub rows: usize,
    /// B, sequences of a micro-batch.
    pub sequences: usize,
}

/// What a run fixes besides the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The optimizer's constants.
    pub adam: AdamW,
    /// Weight decay of tensors with two dimensions.
    pub weight_decay: f64,
    /// Whether vectors decay too (the peers' benchmark does so).
    pub decay_all: bool,
    /// Largest global norm of the gradients; 0 for no clipping.
    pub clip: f64,
}

/// A model in training on a device.
pub struct Training {}

impl Training {
    /// Allocates everything and records the programs. `parameters` are dense, in the order of [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Input`] for a config or shapes that do not fit, [`Error::Device`] and [`Error::Kernel`] past limits.
    pub fn new(_: &Device, _: &ModelConfig, _: &[Vec<f32>], _: Capacity, _: Options) -> Result<Self> {
        Err(Error::Device("not recorded yet".into()))
    }

    /// Forward and backward of one micro-batch; gradients are added up. `targets` are the real targets of the whole step,
    /// `key` is its dropout key ([`crate::philox::step_key`]). Returns at once.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch past capacity.
    pub fn micro(&mut self, _batch: &Batch, _targets: u32, _key: [u32; 2]) -> Result<()> {
        Ok(())
    }

    /// The update from the gradients: norm, clipping, AdamW. Returns at once.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn update(&mut self, _lr: f64) -> Result<()> {
        Ok(())
    }

    /// The oldest update's state that has come back, with its step (counted from 1); `None` when none has yet.
    /// `State::loss` is the sum over the step's real targets.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn finished(&mut self) -> Result<Option<(u32, State)>> {
        Ok(None)
    }

    /// Waits for all updates and returns the states that had not been taken.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn drain(&mut self) -> Result<Vec<(u32, State)>> {
        Ok(Vec::new())
    }

    /// Losses a row of a batch, dropout off, nothing kept; rows without a target have 0. Waits.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch past capacity.
    pub fn evaluate(&mut self, _batch: &Batch) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }

    /// The logits [N, V] of a batch, dense, dropout off. Waits.
    ///
    /// # Errors
    /// [`Error::Input`] for a batch past capacity.
    pub fn logits(&mut self, _batch: &Batch) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }

    /// The weights, dense, in the order of [`ModelConfig::parameters`]. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        Ok(Vec::new())
    }
}

/// Start weights: N(0, initializer_range) by Philox stream 0, biases 0, gains 1; a function of config and seed.
pub fn initial_parameters(_config: &ModelConfig, _seed: u64) -> Vec<Vec<f32>> {
    Vec::new()
}
