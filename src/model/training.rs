//! Training on a device: gradients are accumulated over micro-batches, then the optimizer takes a step.
//!
//! A step is two recorded programs: forward and backward of one micro-batch, and the optimizer step (global norm, clipping,
//! AdamW). Without accumulation, they are submitted together. A third one, forward only, evaluates.

use super::activations::{Activations, Capacity, layout_capacity};
use super::decoder::Decoder;
use super::generate::Generator;
use super::inference::Inference;
use super::learning::Learning;
use super::parameters::{ParameterData, Parameters};
use crate::config::ModelConfig;
use crate::data::batch::{Batch, LossCounts};
use crate::gpu::caps::HALF_FRAGMENTS;
use crate::gpu::{Device, Matrix, Program, Recorder, Ring, Timing, View};
use crate::ops::StepValues;
use crate::ops::kernels::{Kernels, Precision};
use crate::ops::layout::{self, BatchLayout, LayoutBuffer};
use crate::ops::optimizer::{self, AdamW, Arithmetic, Losses, STATE_WORDS, State, StepEnd};
use crate::{Error, Result, philox};
use std::collections::VecDeque;

/// What stays the same over the steps of a run, besides the model: the optimizer's constants and the loss.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TrainingOptions {
    /// The optimizer's constants.
    pub adam: AdamW,
    /// Weight decay of tensors with two dimensions.
    pub weight_decay: f64,
    /// Whether tensors with one dimension decay, too.
    pub decay_all: bool,
    /// Largest global norm of the gradients; 0 for no clipping.
    pub clip: f64,
    /// λ of L3 = L2 + λ·L1: the weight of the language model's loss beside a task's. At 0 it is not computed.
    pub lm_coef: f64,
    /// The number types of products. [`Precision::Mixed`] needs an adapter on which [`Caps::multiplies_halves`] holds.
    ///
    /// [`Caps::multiplies_halves`]: crate::gpu::Caps::multiplies_halves
    pub precision: Precision,
    /// Whether the backward pass computes each block's activations again, with the same results, instead of keeping those of
    /// all blocks: about a third more operations, in a fraction of the memory.
    pub recompute: bool,
}

impl Default for TrainingOptions {
    /// The options of pretraining.
    fn default() -> Self {
        let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic: Arithmetic::Torch };
        TrainingOptions {
            adam,
            weight_decay: 0.01,
            decay_all: false,
            clip: 1.0,
            lm_coef: 1.0,
            precision: Precision::F32,
            recompute: false,
        }
    }
}

/// How far a training is. With weights and moments, this is all that the next step depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StepState {
    /// Steps done.
    pub step: u32,
    /// Updates of the weights done: AdamW's t. A step without targets is none.
    pub updates: u32,
}

/// The numbers of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepResult {
    /// The step, counted from 1.
    pub step: u32,
    /// The language model's loss: mean over [`StepResult::tokens`], in nats. 0 without such tokens.
    pub loss: f64,
    /// The task's loss: mean over the step's examples. 0 without examples.
    pub task_loss: f64,
    /// The task's loss: sum over the step's examples.
    pub task_loss_sum: f32,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f32,
    /// Tokens that the language model's loss is a mean over: those with a target.
    pub tokens: u32,
    /// Examples that the task's loss is a mean over.
    pub examples: u32,
    /// The learning rate that the step was taken with.
    pub lr: f64,
    /// The step at which a loss or the norm was not finite. From that step on no weight changes.
    pub halted: Option<u32>,
}

/// How many dispatches the programs of a training have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatches {
    /// Of [`Training::evaluate`]: the forward pass and the losses.
    pub evaluate: usize,
    /// Of [`Training::accumulate_gradients`]: forward and backward of one micro-batch.
    pub accumulate_gradients: usize,
    /// Of [`Training::optimizer_step`].
    pub optimizer_step: usize,
}

/// Adam's two moments, dense, in the order of [`ModelConfig::parameters`].
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// m
    pub first: Vec<Vec<f32>>,
    /// v
    pub second: Vec<Vec<f32>>,
}

/// Steps whose results may be in flight at once.
const IN_FLIGHT: usize = 4;

/// A step that was submitted and whose result is not read yet.
struct Submitted {
    step: u32,
    counts: LossCounts,
    lr: f64,
}

impl Submitted {
    fn result(&self, state: &State) -> StepResult {
        let LossCounts { targets, examples } = self.counts;
        let mean = |sum: f32, count: u32| f64::from(sum) / f64::from(count.max(1));
        StepResult {
            step: self.step,
            loss: mean(state.loss, targets),
            task_loss: mean(state.task_loss, examples),
            task_loss_sum: state.task_loss,
            grad_norm: state.norm,
            tokens: targets,
            examples,
            lr: self.lr,
            halted: state.halted,
        }
    }
}

/// A model in training on a device.
pub struct Training {
    pub(super) device: Device,
    config: ModelConfig,
    kernels: Kernels,
    pub(super) parameters: Parameters,
    activations: Activations,
    layout: LayoutBuffer,
    accumulate: Program<StepValues>,
    optimize: Program<StepValues>,
    learning: Learning,
    options: TrainingOptions,
    evaluate: Program<StepValues>,
    logits: Option<(Program<StepValues>, Matrix)>,
    pub(super) state: View,
    readback: Ring,
    submitted: VecDeque<Submitted>,
    results: VecDeque<StepResult>,
    progress: StepState,
    /// Of the gradients accumulated so far.
    pub(super) counts: LossCounts,
}

impl Training {
    /// Allocates everything and records the programs. `parameters` are dense, in the order of [`ModelConfig::parameters`].
    ///
    /// # Errors
    /// [`Error::Value`] for a config or shapes that do not fit, [`Error::Device`] and [`Error::Kernel`] past limits.
    pub fn new(
        device: &Device,
        config: &ModelConfig,
        parameters: &[Vec<f32>],
        capacity: Capacity,
        options: TrainingOptions,
    ) -> Result<Self> {
        Self::with_kernels(device, config, parameters, capacity, options, Kernels::new())
    }

    /// As [`Training::new`], with the kernels' Specs from `kernels`.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn with_kernels(
        device: &Device,
        config: &ModelConfig,
        parameters: &[Vec<f32>],
        capacity: Capacity,
        options: TrainingOptions,
        kernels: Kernels,
    ) -> Result<Self> {
        config.validate()?;
        if options.precision == Precision::Mixed && !device.caps().multiplies_halves() {
            let expected = format!("expected f32: {} has no matrix units for {HALF_FRAGMENTS}", device.caps().name);
            return Err(Error::value("precision", "mixed", expected));
        }
        let kernels = kernels.with_precision(options.precision);
        let parameters = Parameters::new(device, config, parameters)?;
        let activations = Activations::new(device, config, capacity, options.recompute)?;
        let layout = LayoutBuffer::new(device, layout_capacity(config, capacity))?;
        let state = View::new(device, "state", STATE_WORDS)?;
        let learning = Learning::all(config);
        let evaluation = Decoder::new(config, &parameters, &activations, &layout, &kernels);
        let [accumulate, optimize] = record_step(device, &evaluation, &learning, &state, options)?;
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        evaluation.forward(&mut rec)?;
        evaluation.lm_loss(&mut rec, None)?;
        let evaluate = rec.finish();
        let readback = Ring::new(device, STATE_WORDS, IN_FLIGHT);
        Ok(Training {
            device: device.clone(),
            config: config.clone(),
            kernels,
            parameters,
            activations,
            layout,
            accumulate,
            optimize,
            learning,
            options,
            evaluate,
            logits: None,
            state,
            readback,
            submitted: VecDeque::new(),
            results: VecDeque::new(),
            progress: StepState::default(),
            counts: LossCounts::default(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The options.
    pub fn options(&self) -> &TrainingOptions {
        &self.options
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The kernels' Specs that the programs were recorded with.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// The largest batch that fits; [`layout::LayoutCapacity::lay_out`] prepares a batch for it.
    pub fn batch_capacity(&self) -> layout::LayoutCapacity {
        self.layout.capacity()
    }

    /// The steps submitted so far; their results may still be in flight.
    pub fn progress(&self) -> StepState {
        self.progress
    }

    /// Reads Adam's moments. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn moments(&self) -> Result<Moments> {
        self.device.block_on(self.moments_async())
    }

    /// As [`Training::moments`], as a future: see [`Training::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn moments_async(&self) -> impl Future<Output = Result<Moments>> + Send + use<> {
        let [first, second] =
            [ParameterData::FirstMoments, ParameterData::SecondMoments].map(|data| self.read_async(data));
        async move { Ok(Moments { first: first.await?, second: second.await? }) }
    }

    /// Continues another training of the same weights: takes over its progress and moments.
    ///
    /// # Errors
    /// [`Error::Value`] for moments of other shapes.
    pub fn restore(&mut self, progress: StepState, moments: &Moments) -> Result<()> {
        self.parameters.write(&self.device, ParameterData::FirstMoments, &moments.first)?;
        self.parameters.write(&self.device, ParameterData::SecondMoments, &moments.second)?;
        self.progress = progress;
        Ok(())
    }

    /// Sets which parts learn, and at what rates, from the next micro-batch on. Steps submitted before keep theirs.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn set_learning(&mut self, learning: Learning) -> Result<()> {
        if learning == self.learning {
            return Ok(());
        }
        let decoder = self.decoder();
        let [accumulate, optimize] = record_step(&self.device, &decoder, &learning, &self.state, self.options)?;
        (self.accumulate, self.optimize, self.learning) = (accumulate, optimize, learning);
        Ok(())
    }

    /// The decoder for evaluation: without dropout and gradients.
    fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.config, &self.parameters, &self.activations, &self.layout, &self.kernels)
    }

    /// Writes a batch to the device and returns the numbers that a program runs with.
    fn step_values(&self, batch: &BatchLayout, counts: LossCounts, dropout_key: [u32; 2]) -> Result<StepValues> {
        let values = self.layout.write(&self.device, batch)?;
        Ok(StepValues { loss_counts: counts, dropout_key, step: self.progress.step + 1, ..values })
    }

    fn step_values_of(&self, batch: &Batch) -> Result<StepValues> {
        self.step_values(&self.batch_capacity().lay_out(batch)?, batch.loss_counts(), [0; 2])
    }

    /// A whole training step on one batch: [`Training::accumulate_gradients`], then [`Training::optimizer_step`], in one
    /// submission. `seed` is the run's, which dropout depends on. Returns at once, unless four steps are in flight.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn step(&mut self, batch: &Batch, lr: f64, seed: u64) -> Result<()> {
        let dropout_key = philox::step_key(seed, self.progress.step);
        self.step_of(&self.batch_capacity().lay_out(batch)?, batch.loss_counts(), dropout_key, lr)
    }

    /// As [`Training::step`], with a batch that was prepared for [`Training::batch_capacity`] before, perhaps by another
    /// thread, and the dropout key of the step.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch prepared for another capacity.
    pub fn step_of(
        &mut self,
        layout: &BatchLayout,
        counts: impl Into<LossCounts>,
        dropout_key: [u32; 2],
        lr: f64,
    ) -> Result<()> {
        let counts = counts.into();
        self.free_readback()?;
        let accumulate = self.step_values(layout, counts, dropout_key)?;
        let optimize = self.next_update(counts, lr);
        self.counts = LossCounts::default();
        let first = (&self.accumulate, &accumulate);
        self.optimize.run_after_and_read(first, &optimize, &self.state, &mut self.readback)?;
        self.submitted.push_back(Submitted { step: self.progress.step, counts, lr });
        Ok(())
    }

    /// Runs forward and backward on one micro-batch and adds its gradients to those accumulated. Returns at once.
    ///
    /// `counts` are those of the whole step, over all its micro-batches: the losses are means over them (in pretraining, the
    /// number of targets). `dropout_key` comes from [`crate::philox::step_key`].
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn accumulate_gradients(
        &mut self,
        batch: &Batch,
        counts: impl Into<LossCounts>,
        dropout_key: [u32; 2],
    ) -> Result<()> {
        self.accumulate_gradients_of(&self.batch_capacity().lay_out(batch)?, counts, dropout_key)
    }

    /// As [`Training::accumulate_gradients`], with a batch that was prepared for [`Training::batch_capacity`] before, perhaps
    /// by another thread.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch prepared for another capacity.
    pub fn accumulate_gradients_of(
        &mut self,
        layout: &BatchLayout,
        counts: impl Into<LossCounts>,
        dropout_key: [u32; 2],
    ) -> Result<()> {
        let counts = counts.into();
        let values = self.step_values(layout, counts, dropout_key)?;
        self.counts = counts;
        self.accumulate.run(&values)
    }

    /// Takes an optimizer step with the accumulated gradients, and sets them to zero: norm, clipping, AdamW. A step without
    /// targets and examples changes no weight and is not counted as an update.
    ///
    /// Returns at once, unless four steps are in flight.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn optimizer_step(&mut self, lr: f64) -> Result<()> {
        self.free_readback()?;
        let counts = std::mem::take(&mut self.counts);
        let values = self.next_update(counts, lr);
        self.optimize.run_and_read(&values, &self.state, &mut self.readback)?;
        self.submitted.push_back(Submitted { step: self.progress.step, counts, lr });
        Ok(())
    }

    /// Waits for the oldest step if there is no place for the result of another one.
    fn free_readback(&mut self) -> Result<()> {
        if self.readback.is_full() {
            let words = self.readback.wait()?;
            self.receive(words);
        }
        Ok(())
    }

    /// Counts the next step, and returns what the optimizer's program runs with.
    fn next_update(&mut self, counts: LossCounts, lr: f64) -> StepValues {
        self.progress.step += 1;
        self.progress.updates += u32::from(counts != LossCounts::default());
        let StepState { step, updates } = self.progress;
        StepValues { step, adam_step: updates, loss_counts: counts, lr, ..StepValues::default() }
    }

    /// Queues the result of the oldest submitted step, from the words read back; returns whether there was one.
    fn receive(&mut self, words: Option<Vec<u32>>) -> bool {
        let Some(words) = words else { return false };
        let result = self.submitted.pop_front().map(|step| step.result(&State::from_words(&words)));
        self.results.extend(result);
        result.is_some()
    }

    /// Returns the result of the oldest step that has one and was not returned yet. Never waits: `None` while the steps
    /// submitted are still running.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn next_result(&mut self) -> Result<Option<StepResult>> {
        let words = self.readback.take()?;
        self.receive(words);
        Ok(self.results.pop_front())
    }

    /// As [`Training::next_result`], as a future that completes with the oldest step's result, and with `None` if every result
    /// was returned. It never blocks: it completes when the caller polls the device after the step has finished.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn next_result_async(&mut self) -> Result<Option<StepResult>> {
        if self.results.is_empty() {
            let words = self.readback.wait_async().await?;
            self.receive(words);
        }
        Ok(self.results.pop_front())
    }

    /// Waits for all steps submitted and returns the results that were not returned yet, oldest first.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn wait_for_results(&mut self) -> Result<Vec<StepResult>> {
        while let Some(oldest) = self.submitted.front().map(|submitted| submitted.step) {
            let words = self.readback.wait()?;
            if !self.receive(words) {
                return Err(Error::rejected(format!("readback of step {oldest}"), "nothing was read"));
            }
        }
        Ok(self.results.drain(..).collect())
    }

    /// The loss of each row of a batch in nats, without dropout; rows without a target have 0. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        self.device.clone().block_on(self.evaluate_async(batch))
    }

    /// As [`Training::evaluate`], as a future that never blocks: it completes when the caller polls the device after the batch
    /// has been evaluated.
    ///
    /// # Errors
    /// As [`Training::evaluate`].
    pub async fn evaluate_async(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut losses = self.submit_evaluation(batch)?.read_async(&self.device).await?;
        losses.truncate(batch.rows());
        Ok(losses)
    }

    /// Submits the evaluation of a batch and returns where its losses are stored.
    fn submit_evaluation(&self, batch: &Batch) -> Result<View> {
        self.evaluate.run(&self.step_values_of(batch)?)?;
        Ok(self.activations.losses.view.part(0, batch.rows().max(1)))
    }

    /// The logits [N, V] of a batch, dense, without dropout. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        self.device.clone().block_on(self.logits_async(batch))
    }

    /// As [`Training::logits`], as a future that never blocks: see [`Training::evaluate_async`].
    ///
    /// # Errors
    /// As [`Training::logits`].
    pub async fn logits_async(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut logits = self.submit_logits(batch)?.read_async(&self.device).await?;
        logits.truncate(batch.rows() * self.config.vocab_size);
        Ok(logits)
    }

    /// Submits the logits of a batch and returns where they are stored.
    fn submit_logits(&mut self, batch: &Batch) -> Result<Matrix> {
        let (program, logits) = match self.logits.take() {
            Some(recorded) => recorded,
            None => {
                let rows = self.activations.embedded.rows;
                let logits = Matrix::new(&self.device, "all logits", rows, self.config.vocab_size)?;
                let decoder = self.decoder();
                let mut rec = Recorder::new(&self.device, self.layout.values_at_capacity());
                decoder.forward(&mut rec)?;
                decoder.logits(&mut rec, &logits)?;
                (rec.finish(), logits)
            }
        };
        program.run(&self.step_values_of(batch)?)?;
        let rows = logits.rows_from(0, batch.rows().max(1));
        self.logits = Some((program, logits));
        Ok(rows)
    }

    /// Block `i`'s output [`rows`, C] for the last batch, dense; 0 is the summed embedding. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn hidden(&self, i: usize, rows: usize) -> Result<Vec<f32>> {
        self.device.block_on(self.hidden_async(i, rows))
    }

    /// As [`Training::hidden`], as a future that never blocks: see [`Training::evaluate_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub async fn hidden_async(&self, i: usize, rows: usize) -> Result<Vec<f32>> {
        self.block_output(i).rows_from(0, rows).read_async(&self.device).await
    }

    fn block_output(&self, i: usize) -> &Matrix {
        if i == 0 { &self.activations.embedded } else { &self.activations.blocks[i - 1].out }
    }

    /// The weights, dense, in the order of [`ModelConfig::parameters`]. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.read(ParameterData::Weights)
    }

    /// As [`Training::parameters`], as a future: see [`Training::read_async`].
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn parameters_async(&self) -> impl Future<Output = Result<Vec<Vec<f32>>>> + Send + use<> {
        self.read_async(ParameterData::Weights)
    }

    /// Weights, gradients or moments, as [`Training::parameters`]. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self, data: ParameterData) -> Result<Vec<Vec<f32>>> {
        self.device.block_on(self.read_async(data))
    }

    /// As [`Training::read`], as a future that never blocks: it completes when the caller polls the device after the copies
    /// have been made. They are submitted now, so that the values are those after the steps so far, whatever follows.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read_async(&self, data: ParameterData) -> impl Future<Output = Result<Vec<Vec<f32>>>> + Send + use<> {
        self.parameters.read_async(&self.device, data)
    }

    /// The model for inference on batches of up to `capacity`. It shares the weights of the training.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn inference(&self, capacity: Capacity) -> Result<Inference> {
        Inference::with_parameters(&self.device, &self.config, self.parameters.clone(), capacity)
    }

    /// A generator over the weights as they are now.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn generator(&self, samples: usize) -> Result<Generator> {
        Generator::with_parameters(&self.device, &self.config, self.parameters.clone(), samples)
    }

    /// How many dispatches each program has.
    pub fn dispatches(&self) -> Dispatches {
        Dispatches {
            evaluate: self.evaluate.dispatches(),
            accumulate_gradients: self.accumulate.dispatches(),
            optimizer_step: self.optimize.dispatches(),
        }
    }

    /// Times each dispatch of one micro-batch and of an optimizer step with learning rate 0. The moments change.
    ///
    /// # Errors
    /// As [`Training::accumulate_gradients`].
    pub fn profile(&mut self, batch: &Batch) -> Result<Vec<Timing>> {
        let values = self.step_values_of(batch)?;
        let mut timings = self.accumulate.profile(&values)?;
        timings.extend(self.optimize.profile(&values)?);
        Ok(timings)
    }
}

/// The two programs of a training step: [forward and backward of one micro-batch, the optimizer step].
fn record_step(
    device: &Device,
    evaluation: &Decoder,
    learning: &Learning,
    state: &View,
    options: TrainingOptions,
) -> Result<[Program<StepValues>; 2]> {
    let decoder = Decoder { training: Some(learning), ..*evaluation };
    let accumulate = record_accumulate(device, &decoder, state, options)?;
    let optimize = record_optimize(&accumulate, device, &decoder, state, options)?;
    Ok([accumulate, optimize])
}

/// Forward and backward: the language model's head, unless its weight is 0, then the task's head, if the model has one.
fn record_accumulate(
    device: &Device,
    decoder: &Decoder,
    state: &View,
    options: TrainingOptions,
) -> Result<Program<StepValues>> {
    let Decoder { activations, kernels, .. } = *decoder;
    let mut rec = Recorder::new(device, decoder.layout.values_at_capacity());
    let scalars = kernels.scalars(device.caps());
    decoder.forward(&mut rec)?;
    if options.lm_coef > 0.0 {
        decoder.lm_loss(&mut rec, Some(options.lm_coef as f32))?;
        optimizer::loss_sum(&mut rec, scalars, Losses::Tokens, &activations.losses.view, state)?;
    } else {
        rec.clear(&activations.dx.view);
    }
    if decoder.config.task.is_some() {
        decoder.task_loss(&mut rec, true)?;
        optimizer::loss_sum(&mut rec, scalars, Losses::Examples, &activations.task.losses.view, state)?;
    }
    decoder.backward(&mut rec)?;
    Ok(rec.finish())
}

/// Global norm over all slabs, the step's state, then AdamW over what learns. Runs after `accumulate`, often in the same
/// submission.
fn record_optimize(
    accumulate: &Program<StepValues>,
    device: &Device,
    decoder: &Decoder,
    state: &View,
    options: TrainingOptions,
) -> Result<Program<StepValues>> {
    let Decoder { kernels, parameters, .. } = *decoder;
    let groups = decoder.training.map(|learning| learning.parameter_groups(decoder.config)).unwrap_or_default();
    let mut rec = Recorder::after(accumulate, decoder.layout.values_at_capacity());
    let flats: Vec<_> =
        (0..parameters.slabs()).map(|s| ParameterData::ALL.map(|data| parameters.flat(data, s))).collect();
    let counts: Vec<_> = flats.iter().map(|f| optimizer::norm_partials(f[0].view.words as usize)).collect();
    let total: usize = counts.iter().sum();
    // A slab's partial sums start at a multiple of 64 words; the words between stay zero.
    let starts: Vec<usize> =
        counts.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n.next_multiple_of(64)))).collect();
    let words = starts.last().map_or(0, |s| s + counts.last().map_or(0, |n| n.next_multiple_of(64)));
    let partial = View::new(device, "norm partials", words.max(total))?;
    let access = |m: &Matrix| kernels.row_wise(device.caps(), optimizer::FLAT_COLUMNS, &[m]);
    for ((flat, start), count) in flats.iter().zip(&starts).zip(&counts) {
        optimizer::global_norm(&mut rec, access(&flat[1]), &flat[1], &partial.part(*start, *count))?;
    }
    let scalars = kernels.scalars(device.caps());
    optimizer::step_state(
        &mut rec,
        scalars,
        &StepEnd { partial: &partial, partials: words, state, clip: options.clip as f32 },
    )?;
    for (slab, flat) in flats.iter().enumerate() {
        let [values, gradients, first_moments, second_moments] = flat;
        let tensors = optimizer::Slab { values, gradients, first_moments, second_moments };
        for range in parameters.ranges(slab, &groups, options.weight_decay, options.decay_all) {
            optimizer::adamw(&mut rec, access(values), &tensors, state, options.adam, range)?;
        }
    }
    Ok(rec.finish())
}
