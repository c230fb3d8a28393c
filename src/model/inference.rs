//! A model for inference on whole batches: weights only, the activations of one block for all blocks, and the same recording of
//! the forward pass as in training.

use super::activations::{Activations, Capacity, layout_capacity};
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

/// The forward pass, and the chunks of the head.
struct Logits {
    forward: Program<StepValues>,
    chunks: Vec<LogitsChunk>,
}

/// The logits of the rows from `first_row` on, which all chunks compute into the same memory.
struct LogitsChunk {
    first_row: usize,
    program: Program<StepValues>,
    logits: Matrix,
}

/// Where the task head's output for a batch is stored.
struct SubmittedAnswers {
    losses: View,
    logits: Matrix,
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
        self.device.clone().block_on(self.losses_async(batch))
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
        self.device.clone().block_on(self.answers_async(batch))
    }

    /// As [`Inference::answers`], as a future that never blocks: see [`Inference::losses_async`].
    ///
    /// # Errors
    /// As [`Inference::answers`].
    pub async fn answers_async(&mut self, batch: &Batch) -> Result<Vec<Prediction>> {
        let Some(SubmittedAnswers { losses, logits }) = self.submit_answers(batch)? else { return Ok(Vec::new()) };
        let (losses, logits) = (losses.read_async(&self.device), logits.read_async(&self.device));
        Ok(self.predictions(batch, losses.await?, &logits.await?))
    }

    /// Submits the task head's output for a batch and returns where it is stored; `None` for a batch without examples.
    fn submit_answers(&mut self, batch: &Batch) -> Result<Option<SubmittedAnswers>> {
        if self.config.task.is_none() {
            return Err(Error::value("task of the model", "none", "must be a model that was fine-tuned on a task"));
        }
        let values = self.layout.upload(&self.device, batch)?;
        if batch.examples.is_empty() {
            return Ok(None);
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
        let task = &self.activations.task;
        let losses = task.losses.view.part(0, batch.examples.len());
        Ok(Some(SubmittedAnswers { losses, logits: task.logits.rows_from(0, batch.sequences()) }))
    }

    /// The predictions for a batch's examples from their losses and the logits of all sequences.
    fn predictions(&self, batch: &Batch, losses: Vec<f32>, logits: &[f32]) -> Vec<Prediction> {
        let Some(task) = &self.config.task else { return Vec::new() };
        let outputs = task.outputs();
        let of = |(example, loss): (&Example, f32)| {
            let first = example.sequences.start * outputs;
            let count = if task.answers == Answers::Candidate { example.sequences.len() } else { outputs };
            Prediction { loss, logits: logits[first..first + count].to_vec() }
        };
        batch.examples.iter().zip(losses).map(of).collect()
    }

    /// The logits [N, V] of a batch, dense. The device holds one chunk of rows at a time, the host all of them. Waits.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for a batch past capacity.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        self.device.clone().block_on(self.logits_async(batch))
    }

    /// As [`Inference::logits`], as a future that never blocks: it completes after the caller has polled the device once for
    /// each chunk of rows or more.
    ///
    /// # Errors
    /// As [`Inference::logits`].
    pub async fn logits_async(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let values = self.layout.upload(&self.device, batch)?;
        let device = self.device.clone();
        let mut all = Vec::with_capacity(batch.rows() * self.config.vocab_size);
        for chunk in self.submit_forward(batch, &values)? {
            all.extend(chunk.submit(batch, &values)?.read_async(&device).await?);
        }
        Ok(all)
    }

    /// Submits the forward pass of a batch and returns the chunks of the head that have rows of it.
    fn submit_forward(&mut self, batch: &Batch, values: &StepValues) -> Result<&[LogitsChunk]> {
        let programs = match self.logits.take() {
            Some(programs) => programs,
            None => self.record_logits()?,
        };
        let programs = self.logits.insert(programs);
        programs.forward.run(values)?;
        let with_rows = programs.chunks.partition_point(|chunk| chunk.first_row < batch.rows());
        Ok(&programs.chunks[..with_rows])
    }

    fn record_logits(&self) -> Result<Logits> {
        let recorder = || Recorder::new(&self.device, self.layout.values_at_capacity());
        let mut rec = recorder();
        self.decoder().forward(&mut rec)?;
        let forward = rec.finish();
        let rows = self.activations.embedded.rows;
        let chunk = |first_row| {
            let mut rec = recorder();
            let logits = self.decoder().chunk_logits(&mut rec, first_row)?;
            Ok(LogitsChunk { first_row, program: rec.finish(), logits })
        };
        let chunks = (0..rows).step_by(self.activations.logits.rows).map(chunk).collect::<Result<_>>()?;
        Ok(Logits { forward, chunks })
    }
}

impl LogitsChunk {
    /// Submits the logits of the batch's rows in this chunk and returns where they are stored.
    fn submit(&self, batch: &Batch, values: &StepValues) -> Result<Matrix> {
        self.program.run(values)?;
        Ok(self.logits.rows_from(0, (batch.rows() - self.first_row).min(self.logits.rows)))
    }
}
