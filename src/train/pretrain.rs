//! A pretraining run: a [`Prepared`] one on a device. The loop encodes and goes on; losses come back a few steps late and
//! are waited for only where something is looked at or saved.

use super::metrics::{EvaluationLine, Metrics, StepLine};
use super::prepared::Prepared;
use super::run_folder::{First, RunFolder};
use super::settings::Settings;
use super::{keys, schedule::Schedule};
use crate::data::baseline::Baseline;
use crate::data::batch::Batch;
use crate::data::order::Order;
use crate::data::tokenizer::Tokenizer;
use crate::gpu::Device;
use crate::model::{Options, Training, initial_parameters};
use crate::ops::optimizer::{AdamW, Arithmetic, State};
use crate::philox;
use crate::report::{Curve, Reference};
use crate::store::folder::Checkpoint;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Who watches a run. Nothing here can change its numbers.
pub trait Observer {
    /// The model is on the device; nothing is trained yet.
    fn began(&mut self, _run: &Prepared) {}
    /// An update's numbers came back.
    fn step(&mut self, _line: &StepLine) {}
    /// The text held out was evaluated.
    fn evaluated(&mut self, _line: &EvaluationLine) {}
    /// A checkpoint is on the disk.
    fn saved(&mut self, _checkpoint: &Path) {}
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Observer for Nobody {}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its last checkpoint.
    pub checkpoint: PathBuf,
    /// Updates done.
    pub steps: u32,
    /// The last evaluation.
    pub evaluation: EvaluationLine,
    /// What counting reaches on the same tokens.
    pub baseline: Baseline,
    /// Seconds in all.
    pub elapsed_s: f64,
    /// What loss.svg shows.
    pub curve: Curve,
}

/// A run that is done: its summary, and the model as it stands on the device.
pub struct Trained {
    /// What it came to.
    pub summary: Summary,
    /// The model.
    pub training: Training,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// Prepares and runs: files of `settings.data` to a folder at `out`. A program that opens its own device may want
/// [`Prepared::new`] first, which needs none.
///
/// # Errors
/// As [`Prepared::new`] and [`run`].
pub fn pretrain(device: &Device, settings: Settings, out: &Path, observer: &mut dyn Observer) -> Result<Trained> {
    run(device, Prepared::new(settings, None, out)?, observer)
}

/// Trains a prepared run to its end.
///
/// # Errors
/// [`Error::Device`] and [`Error::Kernel`] for what the device refuses, [`Error::Io`] for the run's folder,
/// [`Error::NotFinite`] with the step where loss or gradient stopped being numbers.
pub fn run(device: &Device, prepared: Prepared, observer: &mut dyn Observer) -> Result<Trained> {
    let settings = &prepared.settings;
    let parameters = initial_parameters(&settings.model, settings.seed);
    let training = Training::new(device, &settings.model, &parameters, prepared.capacity(), options(settings))?;
    drop(parameters);
    observer.began(&prepared);
    let mut run = Run::begin(prepared, training, observer)?;
    run.train(observer)?;
    Ok(run.end())
}

/// The optimizer as the settings have it.
pub fn options(settings: &Settings) -> Options {
    let arithmetic = match settings.optimizer {
        keys::Optimizer::AdamW => Arithmetic::Torch,
        keys::Optimizer::Hf2018 => Arithmetic::Hf2018,
    };
    Options {
        adam: AdamW { beta1: settings.beta1, beta2: settings.beta2, eps: settings.eps, arithmetic },
        weight_decay: settings.weight_decay,
        decay_all: false,
        clip: settings.clip,
    }
}

/// An update whose state has not come back.
struct Pending {
    step: u32,
    targets: u32,
    lr: f64,
}

struct Run {
    prepared: Prepared,
    training: Training,
    order: Order,
    schedule: Schedule,
    folder: RunFolder,
    metrics: Metrics,
    curve: Curve,
    evaluation: EvaluationLine,
    /// The last step with a checkpoint.
    saved: u32,
    pending: VecDeque<Pending>,
    clock: Clock,
}

impl Run {
    /// Evaluates the model as it is and makes the folder.
    fn begin(prepared: Prepared, mut training: Training, observer: &mut dyn Observer) -> Result<Self> {
        let settings = &prepared.settings;
        let clock = Clock::new();
        let evaluation = evaluate(&mut training, &prepared, 0)?;
        observer.evaluated(&evaluation);
        let model = &settings.model;
        let mark = |label: &str, value| Reference { label: label.into(), value };
        let curve = Curve {
            title: prepared.title(),
            subtitle: format!(
                "{:.1} M parameters · {} layers, width {} · V {}",
                model.parameter_count() as f64 / 1e6,
                model.n_layer,
                model.n_embd,
                model.vocab_size
            ),
            validation: vec![(0, evaluation.valid_loss)],
            steps: prepared.steps,
            references: vec![mark("bigram", prepared.baseline.bigram)],
            ..Curve::default()
        };
        let checkpoint = checkpoint(&prepared, &training)?;
        let folder = RunFolder::create(
            &prepared.out,
            &First {
                settings,
                checkpoint: &checkpoint,
                evaluation: &evaluation,
                curve: &curve,
                files: &prepared.files,
            },
        )?;
        observer.saved(&folder.checkpoint_path(0));
        Ok(Run {
            order: prepared.order()?,
            schedule: settings.schedule(prepared.steps),
            metrics: folder.metrics()?,
            pending: VecDeque::new(),
            saved: 0,
            training,
            folder,
            curve,
            evaluation,
            clock,
            prepared,
        })
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let (every, save_every) = (self.prepared.settings.eval_every, self.prepared.settings.checkpoint_every);
        self.clock.resume();
        for done in 0..self.prepared.steps {
            self.update(done)?;
            let step = done + 1;
            let last = step == self.prepared.steps;
            let (look, save) = (last || step.is_multiple_of(every), last || step.is_multiple_of(save_every));
            if !look && !save {
                while let Some((step, state)) = self.training.finished()? {
                    self.came_back(step, &state, observer)?;
                }
                continue;
            }
            for (step, state) in self.training.drain()? {
                self.came_back(step, &state, observer)?;
            }
            if look {
                self.look(step, observer)?;
            }
            if save {
                let checkpoint = checkpoint(&self.prepared, &self.training)?;
                let path = self.folder.save(step, &checkpoint)?;
                self.saved = step;
                observer.saved(&path);
            }
            self.clock.resume();
        }
        Ok(())
    }

    /// One update, encoded; nothing is waited for.
    fn update(&mut self, done: u32) -> Result<()> {
        let settings = &self.prepared.settings;
        let batch = self.order.next_batch()?;
        let targets = batch.target_count;
        let key = philox::step_key(settings.seed, done);
        for part in self.order.micro_batches(batch) {
            self.training.micro(&part, targets, key)?;
        }
        let lr = self.schedule.rate(done);
        self.training.update(lr)?;
        self.pending.push_back(Pending { step: done + 1, targets, lr });
        Ok(())
    }

    fn came_back(&mut self, step: u32, state: &State, observer: &mut dyn Observer) -> Result<()> {
        let Some(pending) = self.pending.pop_front().filter(|p| p.step == step) else {
            return Err(Error::Device(format!("the state of step {step} came back out of turn")));
        };
        let loss = state.loss / pending.targets.max(1) as f32;
        if state.halted.is_some() || !loss.is_finite() || !state.norm.is_finite() {
            // What was known before is shown in the picture, too.
            self.folder.draw(&self.curve)?;
            return Err(Error::NotFinite(format!(
                "step {}: the loss or the gradient's norm is not finite; the last good checkpoint is {}; a smaller lr or a \
                 longer warmup may be right",
                state.halted.unwrap_or(step),
                self.folder.checkpoint_path(self.saved).display()
            )));
        }
        let tokens = u64::from(pending.targets);
        let (elapsed_s, tokens_per_second) = self.clock.finished(tokens);
        let line = StepLine { step, loss, lr: pending.lr, grad_norm: state.norm, tokens, tokens_per_second, elapsed_s };
        self.metrics.step(&line)?;
        self.curve.training.push((step, f64::from(loss)));
        self.curve.rate.push((step, pending.lr));
        observer.step(&line);
        Ok(())
    }

    fn look(&mut self, step: u32, observer: &mut dyn Observer) -> Result<()> {
        self.evaluation = evaluate(&mut self.training, &self.prepared, step)?;
        self.metrics.evaluation(&self.evaluation)?;
        self.curve.validation.push((step, self.evaluation.valid_loss));
        self.folder.draw(&self.curve)?;
        observer.evaluated(&self.evaluation);
        Ok(())
    }

    fn end(self) -> Trained {
        let summary = Summary {
            folder: self.folder.path().to_path_buf(),
            checkpoint: self.folder.checkpoint_path(self.saved),
            steps: self.prepared.steps,
            evaluation: self.evaluation,
            baseline: self.prepared.baseline,
            elapsed_s: self.clock.start.elapsed().as_secs_f64(),
            curve: self.curve,
        };
        Trained { summary, training: self.training, tokenizer: self.prepared.tokenizer }
    }
}

fn checkpoint(prepared: &Prepared, training: &Training) -> Result<Checkpoint> {
    Ok(Checkpoint {
        config: prepared.settings.model.clone(),
        parameters: training.parameters()?,
        tokenizer: Some(prepared.tokenizer.clone()),
    })
}

/// The text held out: consecutive windows of P targets, each token but the first predicted once, mean over tokens.
fn evaluate(training: &mut Training, run: &Prepared, step: u32) -> Result<EvaluationLine> {
    let (mut nats, mut tokens) = (0.0, 0u64);
    for batch in run.evaluation() {
        nats += sum(&training.evaluate(&batch)?, &batch, step)?;
        tokens += u64::from(batch.target_count);
    }
    let loss = nats / tokens.max(1) as f64;
    Ok(EvaluationLine {
        step,
        valid_loss: loss,
        valid_perplexity: loss.exp(),
        valid_bits_per_byte: nats / std::f64::consts::LN_2 / run.held_out_bytes.max(1) as f64,
    })
}

fn sum(losses: &[f32], batch: &Batch, step: u32) -> Result<f64> {
    if losses.len() != batch.rows() {
        return Err(Error::Device(format!("{} losses came back for {} rows", losses.len(), batch.rows())));
    }
    match losses.iter().find(|loss| !loss.is_finite()) {
        Some(loss) => Err(Error::NotFinite(format!("step {step}: the loss of a token held out is {loss}"))),
        None => Ok(losses.iter().map(|loss| f64::from(*loss)).sum()),
    }
}

/// The run's time, and its speed over the last updates. Updates come back in bunches, and what lies between two bunches
/// belongs to all of them.
struct Clock {
    start: Instant,
    /// When each of the last updates came back, in front the moment before them.
    last: VecDeque<(Instant, u64)>,
}

impl Clock {
    /// Updates that a speed is taken over.
    const REACH: usize = 32;

    fn new() -> Self {
        Clock { start: Instant::now(), last: VecDeque::new() }
    }

    /// After a pause: the speed before it is forgotten.
    fn resume(&mut self) {
        self.last.clear();
        self.last.push_back((Instant::now(), 0));
    }

    /// Seconds since the beginning, tokens a second.
    fn finished(&mut self, tokens: u64) -> (f64, f64) {
        let now = Instant::now();
        self.last.push_back((now, tokens));
        if self.last.len() > Self::REACH {
            self.last.pop_front();
        }
        let from = self.last.front().map_or(self.start, |first| first.0);
        let sum: u64 = self.last.iter().skip(1).map(|(_, tokens)| tokens).sum();
        (now.duration_since(self.start).as_secs_f64(), sum as f64 / now.duration_since(from).as_secs_f64().max(1e-6))
    }
}
