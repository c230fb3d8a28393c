//! A model for inference on whole batches: weights only, the activations of one block for all blocks, and the same recording of
//! the forward pass as in training.

use super::activations::{Activations, Capacity, chunk_rows, layout_capacity};
use super::decoder::Decoder;
use super::parameters::Parameters;
use crate::config::{Answers, ModelConfig};
use crate::data::batch::{Batch, Example};
use crate::gpu::{Device, Matrix, Program, Recorder, View};
use crate::ops::StepValues;
use crate::ops::kernels::Kernels;
use crate::ops::layout::LayoutBuffer;
use crate::{Error, Result};

/// A model on a device for inference on batches, without dropout.
pub struct Inference {
    device: Device,
    config: ModelConfig,
    activations: Activations,
    layout: LayoutBuffer,
    parameters: Parameters,
    kernels: Kernels,
    losses: Program<StepValues>,
    logits: Option<Logits>,
    answers: Option<Program<StepValues>>,
}

/// A task head's output for an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Cross-entropy in nats, or the squared error of a score; 0 where the answer is not known.
    pub loss: f32,
    /// One for each label, one for each candidate, or the score alone.
    pub logits: Vec<f32>,
}

/// The forward pass, and for each chunk of the head a program with its matrix of logits.
struct Logits {
    forward: Program<StepValues>,
    chunks: Vec<(Program<StepValues>, Matrix)>,
}

impl Inference {
    /// Allocates everything and records the forward pass. `parameters` are dense, in the order of
    /// [`ModelConfig::parameters`]; `capacity` is the largest batch that fits.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for a config or shapes that do not fit, [`crate::Error::Device`] and
    /// [`crate::Error::Kernel`] past limits.
    pub fn new(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>], capacity: Capacity) -> Result<Self> {
        config.validate()?;
        Self::with_parameters(device, config, Parameters::for_inference(device, config, parameters)?, capacity)
    }

    /// As [`Inference::new`], with parameters that are already on the device.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn with_parameters(
        device: &Device,
        config: &ModelConfig,
        parameters: Parameters,
        capacity: Capacity,
    ) -> Result<Self> {
        let activations = Activations::for_inference(device, config, capacity)?;
        let layout = LayoutBuffer::new(device, layout_capacity(config, capacity))?;
        let kernels = Kernels::new();
        let decoder = Decoder::new(config, &parameters, &activations, &layout, &kernels);
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        decoder.forward(&mut rec)?;
        decoder.lm_loss(&mut rec, None)?;
        let losses = rec.finish();
        Ok(Inference {
            device: device.clone(),
            config: config.clone(),
            activations,
            layout,
            parameters,
            kernels,
            losses,
            logits: None,
            answers: None,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The largest batch that fits.
    pub fn capacity(&self) -> Capacity {
        let capacity = self.layout.capacity();
        Capacity { rows: capacity.rows, sequences: capacity.sequences }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.config, &self.parameters, &self.activations, &self.layout, &self.kernels)
    }

    /// The loss of each of the N rows of a batch, in nats; rows without a target have 0. Waits.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for a batch past capacity.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        match self.submit_losses(batch)? {
            Some(losses) => losses.read(&self.device),
            None => Ok(Vec::new()),
        }
    }

    /// As [`Inference::losses`], as a future that never blocks: it completes when the caller polls the device after the batch
    /// has been evaluated.
    ///
    /// # Errors
    /// As [`Inference::losses`].
    pub async fn losses_async(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        match self.submit_losses(batch)? {
            Some(losses) => losses.read_async(&self.device).await,
            None => Ok(Vec::new()),
        }
    }

    /// Submits the losses of a batch and returns where they are stored; `None` for a batch without rows.
    fn submit_losses(&self, batch: &Batch) -> Result<Option<View>> {
        let values = self.layout.upload(&self.device, batch)?;
        if batch.rows() == 0 {
            return Ok(None);
        }
        self.losses.run(&values)?;
        Ok(Some(self.activations.losses.view.part(0, batch.rows())))
    }

    /// The task head's output for each example of a batch. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a model without a task and a batch past capacity.
    pub fn answers(&mut self, batch: &Batch) -> Result<Vec<Prediction>> {
        let Some(task) = &self.config.task else {
            return Err(Error::value("task of the model", "none", "must be a model that was fine-tuned on a task"));
        };
        let values = self.layout.upload(&self.device, batch)?;
        if batch.examples.is_empty() {
            return Ok(Vec::new());
        }
        let program = match self.answers.take() {
            Some(program) => program,
            None => {
                let mut rec = Recorder::new(&self.device, self.layout.values_at_capacity());
                self.decoder().forward(&mut rec)?;
                self.decoder().task_loss(&mut rec, false)?;
                rec.finish()
            }
        };
        program.run(&values)?;
        self.answers = Some(program);
        let acts = &self.activations.task;
        let losses: Vec<f32> = acts.losses.view.part(0, batch.examples.len()).read(&self.device)?;
        let (logits, outputs) = (acts.logits.rows_from(0, batch.sequences()).read(&self.device)?, task.outputs());
        let of = |(example, loss): (&Example, f32)| {
            let first = example.sequences.start * outputs;
            let count = if task.answers == Answers::Candidate { example.sequences.len() } else { outputs };
            Prediction { loss, logits: logits[first..first + count].to_vec() }
        };
        Ok(batch.examples.iter().zip(losses).map(of).collect())
    }

    /// The logits [N, V] of a batch, dense. The device holds one chunk of rows at a time, the host all of them. Waits.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for a batch past capacity.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let values = self.layout.upload(&self.device, batch)?;
        let programs = match self.logits.take() {
            Some(programs) => programs,
            None => self.record_logits()?,
        };
        let mut all = Vec::with_capacity(batch.rows() * self.config.vocab_size);
        programs.forward.run(&values)?;
        for (program, logits) in &programs.chunks {
            let left = batch.rows() - all.len() / self.config.vocab_size;
            if left == 0 {
                break;
            }
            program.run(&values)?;
            all.extend(logits.rows_from(0, left.min(logits.rows)).read(&self.device)?);
        }
        self.logits = Some(programs);
        Ok(all)
    }

    fn record_logits(&self) -> Result<Logits> {
        let recorder = || Recorder::new(&self.device, self.layout.values_at_capacity());
        let mut rec = recorder();
        self.decoder().forward(&mut rec)?;
        let forward = rec.finish();
        let rows = self.activations.embedded.rows;
        let chunk = |skip| {
            let mut rec = recorder();
            let logits = self.decoder().chunk_logits(&mut rec, skip)?;
            Ok((rec.finish(), logits))
        };
        let chunks = (0..rows).step_by(chunk_rows(&self.config, rows)).map(chunk).collect::<Result<_>>()?;
        Ok(Logits { forward, chunks })
    }
}
