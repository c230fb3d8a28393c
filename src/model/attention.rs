//! The attention of one layer by itself, forward and backward as separate programs, for benchmarks and for experiments with a
//! single layer.

use super::activations::{Activations, Capacity, layout_capacity};
use super::decoder::Decoder;
use super::learning::Learning;
use super::parameters::Parameters;
use crate::config::ModelConfig;
use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::gpu::{Device, Program, Recorder};
use crate::ops::StepValues;
use crate::ops::kernels::Kernels;
use crate::ops::layout::LayoutBuffer;
use crate::{Error, Result};

/// Attention in a model of one layer, over one sequence of P tokens.
pub struct LayerAttention {
    /// From q, k, v to the output; in an M layer with the compression of keys and values.
    pub forward: Program<StepValues>,
    /// From the output's gradient to those of q, k, v and of the layer's convolutions. Must run after `forward`.
    pub backward: Program<StepValues>,
    /// The values to run both programs with.
    pub values: StepValues,
    device: Device,
    activations: Activations,
}

impl LayerAttention {
    /// Allocates and records. `parameters` are dense, in the order of [`ModelConfig::parameters`]; the model has one layer.
    ///
    /// # Errors
    /// [`Error::Value`] for another number of layers, and for a config or shapes that do not fit; [`Error::Device`] and
    /// [`Error::Kernel`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>]) -> Result<Self> {
        config.validate()?;
        if config.n_layer != 1 {
            return Err(Error::value("n_layer", config.n_layer, "must be 1"));
        }
        let capacity = Capacity { rows: config.n_positions, sequences: 1 };
        let parameters = Parameters::new(device, config, parameters)?;
        let activations = Activations::new(device, config, capacity, false)?;
        let layout = LayoutBuffer::new(device, layout_capacity(config, capacity))?;
        let (kernels, learning) = (Kernels::new(), Learning::all(config));
        let decoder = Decoder::new(config, &parameters, &activations, &layout, &kernels);
        let decoder = Decoder { training: Some(&learning), ..decoder };
        let mut forward = Recorder::new(device, layout.values_at_capacity());
        decoder.compress(&mut forward, 0)?;
        decoder.attend(&mut forward, 0)?;
        let mut backward = Recorder::new(device, layout.values_at_capacity());
        decoder.attend_backward(&mut backward, 0)?;
        let rows = config.n_positions;
        let batch = Batch::from_sequences(&[Sequence { ids: vec![0; rows], targets: vec![IGNORED; rows] }])?;
        let values = layout.upload(device, &batch)?;
        Ok(LayerAttention {
            forward: forward.finish(),
            backward: backward.finish(),
            values,
            device: device.clone(),
            activations,
        })
    }

    /// Sets q, k, v side by side [P, 3C] and the gradient of the output [P, C], dense.
    ///
    /// # Errors
    /// [`Error::Device`] when they are longer.
    pub fn write(&self, qkv: &[f32], dy: &[f32]) -> Result<()> {
        self.activations.blocks[0].qkv.write(&self.device, qkv)?;
        self.activations.dattention.write(&self.device, dy)
    }

    /// The output [P, C], dense. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn output(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.output_async())
    }

    /// As [`LayerAttention::output`], as a future that never blocks: see [`crate::gpu::View::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn output_async(&self) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        self.activations.blocks[0].attention.read_async(&self.device)
    }

    /// The gradients of q, k, v side by side [P, 3C], dense. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn gradients(&self) -> Result<Vec<f32>> {
        self.device.block_on(self.gradients_async())
    }

    /// As [`LayerAttention::gradients`], as a future that never blocks: see [`crate::gpu::View::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn gradients_async(&self) -> impl Future<Output = Result<Vec<f32>>> + Send + use<> {
        self.activations.dqkv.read_async(&self.device)
    }
}
