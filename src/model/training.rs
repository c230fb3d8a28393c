//! A step as programs: `micro` (forward, backward, gradients +=) k times, `update` (norm, clip, AdamW) once; `evaluate`.

use super::activations::{Activations, Capacity, layout_capacity};
use super::decoder::Decoder;
use super::learning::Learning;
use super::parameters::{Flat, Parameters};
use super::{Generator, Inference};
use crate::config::ModelConfig;
use crate::data::batch::{Batch, LossCounts};
use crate::gpu::program::Timing;
use crate::gpu::{Device, Matrix, Program, Recorder, Ring, View};
use crate::ops::StepValues;
use crate::ops::kernels::Kernels;
use crate::ops::layout::{self, BatchLayout, Layout};
use crate::ops::optimizer::{self, AdamW, Arithmetic, Losses, STATE_WORDS, State};
use crate::{Error, Result};
use std::collections::VecDeque;

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
    /// λ of L3 = L2 + λ·L1: what the language model's loss counts beside a task's. 0: it is not even computed.
    pub lm_coef: f64,
}

/// What counts over the steps of a run; with weights and moments it is all that the next step depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StepState {
    /// Steps done.
    pub step: u32,
    /// Updates done: AdamW's t. A step without targets is none.
    pub updates: u32,
}

/// Adam's two moments, dense, in the order of [`ModelConfig::parameters`].
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// m
    pub first: Vec<Vec<f32>>,
    /// v
    pub second: Vec<Vec<f32>>,
}

impl Default for Options {
    /// Those of pretraining.
    fn default() -> Self {
        let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic: Arithmetic::Torch };
        Options { adam, weight_decay: 0.01, decay_all: false, clip: 1.0, lm_coef: 1.0 }
    }
}

/// Updates whose state may be on its way at once.
const IN_FLIGHT: usize = 4;

/// A model in training on a device.
pub struct Training {
    device: Device,
    config: ModelConfig,
    kernels: Kernels,
    parameters: Parameters,
    activations: Activations,
    layout: Layout,
    micro: Program<StepValues>,
    update: Program<StepValues>,
    learning: Learning,
    options: Options,
    evaluate: Program<StepValues>,
    logits: Option<(Program<StepValues>, Matrix)>,
    state: View,
    ring: Ring,
    flying: VecDeque<u32>,
    back: VecDeque<(u32, State)>,
    done: StepState,
    real: LossCounts,
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
        options: Options,
    ) -> Result<Self> {
        Self::with(device, config, parameters, capacity, options, Kernels::new())
    }

    /// As [`Training::new`], with Specs from `kernels`.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn with(
        device: &Device,
        config: &ModelConfig,
        parameters: &[Vec<f32>],
        capacity: Capacity,
        options: Options,
        kernels: Kernels,
    ) -> Result<Self> {
        config.validate()?;
        let parameters = Parameters::new(device, config, parameters)?;
        let activations = Activations::new(device, config, capacity)?;
        let layout = Layout::new(device, layout_capacity(config, capacity))?;
        let state = View::new(device, "state", STATE_WORDS)?;
        let learning = Learning::all(config);
        let evaluation = Decoder::new(config, &parameters, &activations, &layout, &kernels);
        let [micro, update] = {
            let decoder = Decoder { training: Some(&learning), ..evaluation };
            [record_micro(device, &decoder, &state, options)?, record_update(device, &decoder, &state, options)?]
        };
        let mut rec = Recorder::new(device, layout.capacity());
        evaluation.forward(&mut rec)?;
        evaluation.head(&mut rec, None)?;
        let evaluate = rec.finish();
        let ring = Ring::new(device, STATE_WORDS, IN_FLIGHT);
        Ok(Training {
            device: device.clone(),
            config: config.clone(),
            kernels,
            parameters,
            activations,
            layout,
            micro,
            update,
            learning,
            options,
            evaluate,
            logits: None,
            state,
            ring,
            flying: VecDeque::new(),
            back: VecDeque::new(),
            done: StepState::default(),
            real: LossCounts::default(),
        })
    }

    /// The model's numbers.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The Specs that its programs were recorded with.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// What batches are laid out for.
    pub fn room(&self) -> layout::Capacity {
        self.layout.made_for()
    }

    /// The steps that were asked for so far.
    pub fn done(&self) -> StepState {
        self.done
    }

    /// Adam's moments. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn moments(&self) -> Result<Moments> {
        Ok(Moments { first: self.read(Flat::FirstMoments)?, second: self.read(Flat::SecondMoments)? })
    }

    /// Goes on where another training of the same weights stood.
    ///
    /// # Errors
    /// [`Error::Value`] for moments of other shapes.
    pub fn restore(&mut self, done: StepState, moments: &Moments) -> Result<()> {
        self.parameters.write(&self.device, Flat::FirstMoments, &moments.first)?;
        self.parameters.write(&self.device, Flat::SecondMoments, &moments.second)?;
        self.done = done;
        Ok(())
    }

    /// Goes on with other parts learning, or at other rates. What was asked for before stays done.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub fn learn(&mut self, learning: Learning) -> Result<()> {
        if learning == self.learning {
            return Ok(());
        }
        self.learning = learning;
        let decoder = self.decoder(Some(&self.learning));
        let micro = record_micro(&self.device, &decoder, &self.state, self.options)?;
        let update = record_update(&self.device, &decoder, &self.state, self.options)?;
        (self.micro, self.update) = (micro, update);
        Ok(())
    }

    fn decoder<'a>(&'a self, training: Option<&'a Learning>) -> Decoder<'a> {
        let decoder = Decoder::new(&self.config, &self.parameters, &self.activations, &self.layout, &self.kernels);
        Decoder { training, ..decoder }
    }

    fn live(&self, laid: &BatchLayout, real: LossCounts, key: [u32; 2]) -> Result<StepValues> {
        let live = self.layout.write(&self.device, laid)?;
        Ok(StepValues { real, key, step: self.done.step + 1, ..live })
    }

    fn live_of(&self, batch: &Batch) -> Result<StepValues> {
        self.live(&self.room().lay(batch)?, batch.real(), [0; 2])
    }

    /// Forward and backward of one micro-batch; gradients are added up. `real` is what the whole step has to learn from, in
    /// pretraining the count of its targets; `key` is its dropout key ([`crate::philox::step_key`]). Returns at once.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn micro(&mut self, batch: &Batch, real: impl Into<LossCounts>, key: [u32; 2]) -> Result<()> {
        self.accumulate_batch_layout(&self.room().lay(batch)?, real, key)
    }

    /// As [`Training::micro`], with a batch that was laid out for [`Training::room`] before, perhaps by another thread.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch laid out for another room.
    pub fn accumulate_batch_layout(
        &mut self,
        laid: &BatchLayout,
        real: impl Into<LossCounts>,
        key: [u32; 2],
    ) -> Result<()> {
        let real = real.into();
        let live = self.live(laid, real, key)?;
        self.real = real;
        self.micro.run(&live)
    }

    /// The update from the gradients: norm, clipping, AdamW; a step without targets changes no weight and counts for none.
    /// Returns at once, unless four updates are on their way.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn update(&mut self, lr: f64) -> Result<()> {
        if self.ring.is_full() {
            let words = self.ring.wait()?;
            self.land(words);
        }
        self.done.step += 1;
        self.done.updates += u32::from(self.real != LossCounts::default());
        let (StepState { step, updates }, real) = (self.done, self.real);
        let live = StepValues { step, updates, real, lr, ..StepValues::default() };
        self.update.run_and_read(&live, &self.state, &mut self.ring)?;
        self.flying.push_back(step);
        self.real = LossCounts::default();
        Ok(())
    }

    fn land(&mut self, words: Option<Vec<u32>>) -> bool {
        match (words, self.flying.front()) {
            (Some(words), Some(step)) => {
                self.back.push_back((*step, State::from_words(&words)));
                self.flying.pop_front();
                true
            }
            _ => false,
        }
    }

    /// The oldest update's state that has come back, with its step (counted from 1); `None` when none has yet.
    /// `State::loss` is the sum over the step's real targets.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn finished(&mut self) -> Result<Option<(u32, State)>> {
        let words = self.ring.take()?;
        self.land(words);
        Ok(self.back.pop_front())
    }

    /// Waits for all updates and returns the states that had not been taken.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn drain(&mut self) -> Result<Vec<(u32, State)>> {
        while !self.flying.is_empty() {
            let words = self.ring.wait()?;
            if !self.land(words) {
                return Err(Error::device("a step's state never came back"));
            }
        }
        Ok(self.back.drain(..).collect())
    }

    /// Losses a row of a batch, dropout off, nothing kept; rows without a target have 0. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn evaluate(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let live = self.live_of(batch)?;
        self.evaluate.run(&live)?;
        if batch.rows() == 0 {
            return Ok(Vec::new());
        }
        self.activations.losses.part(0, batch.rows()).read(&self.device)
    }

    /// The logits [N, V] of a batch, dense, dropout off. Waits.
    ///
    /// # Errors
    /// [`Error::Value`] for a batch past capacity.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let (program, logits) = match self.logits.take() {
            Some(made) => made,
            None => {
                let rows = self.activations.embedded.rows;
                let logits = Matrix::new(&self.device, "all logits", rows, self.config.vocab_size)?;
                let decoder = self.decoder(None);
                let mut rec = Recorder::new(&self.device, self.layout.capacity());
                decoder.forward(&mut rec)?;
                decoder.logits(&mut rec, &logits)?;
                (rec.finish(), logits)
            }
        };
        let live = self.live_of(batch)?;
        program.run(&live)?;
        let rows = logits.rows_from(0, batch.rows().max(1)).read(&self.device)?;
        self.logits = Some((program, logits));
        Ok(rows[..batch.rows() * self.config.vocab_size].to_vec())
    }

    /// Block `i`'s output of the last batch, `rows` of it, dense; 0 is the summed embedding. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn hidden(&self, i: usize, rows: usize) -> Result<Vec<f32>> {
        let x = if i == 0 { &self.activations.embedded } else { &self.activations.blocks[i - 1].out };
        x.rows_from(0, rows).read(&self.device)
    }

    /// The weights, dense, in the order of [`ModelConfig::parameters`]. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn parameters(&self) -> Result<Vec<Vec<f32>>> {
        self.parameters.read(&self.device, Flat::Values)
    }

    /// One of the flat tensors, as [`Training::parameters`]. Waits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn read(&self, flat: Flat) -> Result<Vec<Vec<f32>>> {
        self.parameters.read(&self.device, flat)
    }

    /// The model as it is now for inference, with room for batches of this capacity; the weights stay the training's.
    ///
    /// # Errors
    /// As [`Inference::new`].
    pub fn inference(&self, capacity: Capacity) -> Result<Inference> {
        Inference::over(&self.device, &self.config, self.parameters.clone(), capacity)
    }

    /// A generator over the weights as they are now.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn generator(&self, samples: usize) -> Result<Generator> {
        Generator::over(&self.device, &self.config, self.parameters.clone(), samples)
    }

    /// Runs one micro-batch and an update of rate 0 dispatch by dispatch: where a step's time goes. The moments change.
    ///
    /// # Errors
    /// As [`Training::micro`].
    pub fn profile(&mut self, batch: &Batch) -> Result<Vec<Timing>> {
        let live = self.live_of(batch)?;
        let mut timings = self.micro.profile(&live)?;
        timings.extend(self.update.profile(&live)?);
        Ok(timings)
    }
}

/// Forward and backward: the language model's head, unless it counts nothing, then the task's, if there is one.
fn record_micro(device: &Device, decoder: &Decoder, state: &View, options: Options) -> Result<Program<StepValues>> {
    let Decoder { activations, kernels, .. } = *decoder;
    let mut rec = Recorder::new(device, decoder.layout.capacity());
    let scalars = kernels.scalars(device.caps());
    decoder.forward(&mut rec)?;
    if options.lm_coef > 0.0 {
        decoder.head(&mut rec, Some(options.lm_coef as f32))?;
        optimizer::loss_sum(&mut rec, scalars, Losses::Tokens, &activations.losses, state)?;
    } else {
        rec.clear(&activations.dx.view);
    }
    if decoder.config.task.is_some() {
        decoder.task_head(&mut rec, true)?;
        optimizer::loss_sum(&mut rec, scalars, Losses::Examples, &activations.task.losses, state)?;
    }
    decoder.backward(&mut rec)?;
    Ok(rec.finish())
}

fn record_update(device: &Device, decoder: &Decoder, state: &View, options: Options) -> Result<Program<StepValues>> {
    let Decoder { kernels, parameters, .. } = *decoder;
    let pieces = decoder.training.map(|learning| learning.pieces(decoder.config)).unwrap_or_default();
    let mut rec = Recorder::new(device, decoder.layout.capacity());
    let flats: Vec<_> = (0..parameters.slabs())
        .map(|s| {
            [Flat::Values, Flat::Gradients, Flat::FirstMoments, Flat::SecondMoments].map(|f| parameters.flat(f, s))
        })
        .collect();
    let counts: Vec<_> = flats.iter().map(|f| optimizer::norm_partials(f[0].view.words as usize)).collect();
    let total: usize = counts.iter().sum();
    // A slab's partial sums start at a multiple of 64 words; what lies between stays zero.
    let starts: Vec<usize> =
        counts.iter().scan(0, |at, n| Some(std::mem::replace(at, *at + n.next_multiple_of(64)))).collect();
    let words = starts.last().map_or(0, |s| s + counts.last().map_or(0, |n| n.next_multiple_of(64)));
    let partial = View::new(device, "norm partials", words.max(total))?;
    let io = |m: &Matrix| kernels.row_wise(device.caps(), optimizer::FLAT_COLUMNS, &[m]);
    for ((flat, start), count) in flats.iter().zip(&starts).zip(&counts) {
        optimizer::global_norm(&mut rec, io(&flat[1]), &flat[1], &partial.part(*start, *count))?;
    }
    let scalars = kernels.scalars(device.caps());
    optimizer::step_state(&mut rec, scalars, (&partial, words), state, options.clip as f32)?;
    for (slab, flat) in flats.iter().enumerate() {
        let [values, gradients, first_moments, second_moments] = flat;
        let tensors = optimizer::Slab { values, gradients, first_moments, second_moments };
        for range in parameters.ranges(slab, &pieces, options.weight_decay, options.decay_all) {
            optimizer::adamw(&mut rec, io(values), &tensors, state, options.adam, range)?;
        }
    }
    Ok(rec.finish())
}
