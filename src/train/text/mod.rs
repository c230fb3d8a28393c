//! A pretraining run: a [`Prepared`] one on a device. The loop encodes and goes on; losses come back a few steps late and
//! are waited for only where something is looked at or saved.

pub mod evaluate;
pub mod prepare;
pub mod tokens;

use crate::data::baseline::Baseline;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::gpu::Device;
use crate::model::{StepResult, Training, TrainingOptions, initial_parameters};
use crate::ops::optimizer::{AdamW, Arithmetic};
use crate::philox;
use crate::report::{Curve, Reference};
use crate::store::Model;
use crate::store::token_cache::TokenCache;
use crate::store::{checksums, optimizer};
use crate::train::clock::Clock;
use crate::train::metrics::{EpochLine, EvaluationLine, Line, Metrics, StepLine, TaskStepLine, TestLine};
use crate::train::prefetch::{Prefetch, Ready};
use crate::train::resume::Stopped;
use crate::train::run_folder::{First, RunFolder, SavedKernels};
use crate::train::sample::{Sampling, SamplingLimits, sample};
use crate::train::schedule::Schedule;
use crate::train::settings::Settings;
use crate::train::settings::value::Optimizer;
use crate::train::state::{Identity, RunState, Stand};
use crate::train::task::prepare::PreparedTask;
use crate::train::text::evaluate::{Evaluation, Losses};
use crate::train::text::prepare::Prepared;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who watches a run. Nothing here can change its numbers.
pub trait Observer {
    /// The model is on the device; nothing is trained yet.
    fn began(&mut self, _run: &Prepared) {}
    /// The run goes on behind so many steps, from a checkpoint.
    fn resumed(&mut self, _step: u32, _checkpoint: &Path) {}
    /// Something that a user should hear.
    fn warned(&mut self, _warning: &str) {}
    /// An update's numbers came back.
    fn step(&mut self, _line: &StepLine) {}
    /// The text held out was evaluated.
    fn evaluated(&mut self, _line: &EvaluationLine) {}
    /// The model wrote a text.
    fn sampled(&mut self, _step: u32, _text: &str) {}
    /// A run on a task: the model is on the device; nothing is trained yet.
    fn task_began(&mut self, _run: &PreparedTask) {}
    /// An update's numbers of a run on a task came back.
    fn task_step(&mut self, _line: &TaskStepLine) {}
    /// An epoch of a run on a task is done.
    fn epoch(&mut self, _line: &EpochLine) {}
    /// The test examples were looked at.
    fn tested(&mut self, _line: &TestLine) {}
    /// A checkpoint is on the disk.
    fn saved(&mut self, _checkpoint: &Path) {}
    /// Asked before every step: whether the run is to stop there. It saves a checkpoint and can be resumed.
    fn stop(&self) -> bool {
        false
    }
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its last checkpoint.
    pub checkpoint: PathBuf,
    /// Steps done.
    pub steps: u32,
    /// Whether these are all, or the run was stopped.
    pub finished: bool,
    /// The last evaluation.
    pub evaluation: EvaluationLine,
    /// What counting reaches on the same tokens.
    pub baseline: Baseline,
    /// Seconds in all.
    pub elapsed_s: f64,
    /// What loss.svg shows.
    pub curve: Curve,
}

/// A run that is done or was stopped: its summary, and the model as it stands on the device.
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
    run(device, Prepared::new(settings, None, out, &TokenCache::new(None))?, observer)
}

/// Trains a prepared run to its end, or to where the observer stops it.
///
/// # Errors
/// [`Error::Device`] and [`Error::Kernel`] for what the device refuses, [`Error::Io`] for the run's folder,
/// [`Error::NotFinite`] with the step where loss or gradient stopped being numbers.
pub fn run(device: &Device, mut prepared: Prepared, observer: &mut dyn Observer) -> Result<Trained> {
    let weights = prepared.weights.take();
    let settings = &prepared.settings;
    let parameters = weights.unwrap_or_else(|| initial_parameters(&settings.model, settings.seed));
    let training =
        Training::new(device, &settings.model, &parameters, prepared.capacity(), optimizer_options(settings))?;
    drop(parameters);
    observer.began(&prepared);
    let mut run = Run::begin(prepared, training, observer)?;
    run.train(observer)?;
    run.end()
}

/// Goes on with a run that was stopped, as if it had never been; `prepared` is what [`Stopped::prepare`] gave.
///
/// # Errors
/// As [`run`]; [`Error::Value`] for a metrics.jsonl that cannot be read.
pub fn resume(device: &Device, stopped: Stopped, prepared: Prepared, observer: &mut dyn Observer) -> Result<Trained> {
    let (capacity, options) = (prepared.capacity(), optimizer_options(&prepared.settings));
    let training = stopped.training(device, capacity, options, observer)?;
    observer.began(&prepared);
    observer.resumed(stopped.step(), &stopped.checkpoint_path());
    let mut run = Run::go_on(prepared, training, stopped)?;
    run.train(observer)?;
    run.end()
}

/// The optimizer as the settings have it.
pub fn optimizer_options(settings: &Settings) -> TrainingOptions {
    let arithmetic = match settings.optimizer {
        Optimizer::AdamW => Arithmetic::Torch,
        Optimizer::Hf2018 => Arithmetic::Hf2018,
    };
    TrainingOptions {
        adam: AdamW { beta1: settings.beta1, beta2: settings.beta2, eps: settings.eps, arithmetic },
        weight_decay: settings.weight_decay,
        decay_all: false,
        clip: settings.clip,
        lm_coef: 1.0,
    }
}

/// Tokens of a text for samples.txt, its beginning included.
const SAMPLE_TOKENS: usize = 128;
const SAMPLE_TEMPERATURE: f64 = 0.8;

struct Run {
    prepared: Prepared,
    training: Training,
    data: Identity,
    /// Windows done.
    cursor: Cursor,
    schedule: Schedule,
    folder: RunFolder,
    /// What kernels.json holds.
    kernels: SavedKernels,
    metrics: Metrics,
    curve: Curve,
    evaluation: EvaluationLine,
    /// The last step with a checkpoint.
    saved: u32,
    clock: Clock,
}

impl Run {
    /// Evaluates the model as it is and makes the folder.
    fn begin(prepared: Prepared, mut training: Training, observer: &mut dyn Observer) -> Result<Self> {
        let clock = Clock::new(Duration::ZERO);
        let evaluation = evaluate(&mut training, &prepared, 0)?;
        observer.evaluated(&evaluation);
        let curve = Curve { validation: vec![(0, evaluation.valid_loss)], ..empty_curve(&prepared) };
        let kernels = SavedKernels::new(training.device().caps(), training.kernels().chosen());
        let data = Identity::of(&prepared);
        let cursor = Cursor::default();
        let first = First {
            settings: &prepared.settings,
            evaluation: Some(&evaluation),
            curve: &curve,
            kernels: &kernels,
            files: &prepared.files,
        };
        let state = RunState {
            step: 0,
            updates: 0,
            steps: prepared.steps,
            cursor,
            data: data.clone(),
            elapsed_ms: clock.elapsed().as_millis() as u64,
            sampled: 0,
        };
        let checkpoint = |folder: &Path| write_checkpoint(folder, &prepared, &training, &state);
        let folder = RunFolder::create(&prepared.out, &first, checkpoint)?;
        observer.saved(&folder.checkpoint_path(0));
        Ok(Run {
            schedule: prepared.settings.schedule(prepared.steps),
            metrics: folder.metrics()?,
            saved: 0,
            cursor,
            data,
            training,
            folder,
            kernels,
            curve,
            evaluation,
            clock,
            prepared,
        })
    }

    /// Cuts the folder back to the checkpoint and takes up its thread.
    fn go_on(prepared: Prepared, training: Training, stopped: Stopped) -> Result<Self> {
        let Stopped { folder, state, .. } = stopped;
        let lines = folder.cut(state.step, state.sampled)?;
        let mut curve = empty_curve(&prepared);
        let mut evaluation = None;
        for line in &lines {
            match line {
                Line::Step(line) => {
                    curve.training.push((line.step, f64::from(line.loss)));
                    curve.rate.push((line.step, line.lr));
                }
                Line::Evaluation(line) => {
                    curve.validation.push((line.step, line.valid_loss));
                    evaluation = Some(*line);
                }
                Line::TaskStep(_) | Line::Epoch(_) | Line::Test(_) => {}
            }
        }
        let none = || Error::file(folder.path(), "metrics.jsonl has no evaluation: that of step 0 must be there");
        let evaluation = evaluation.ok_or_else(none)?;
        let kernels = SavedKernels::new(training.device().caps(), training.kernels().chosen());
        folder.write_settings(&prepared.settings)?;
        folder.write_kernels(&kernels)?;
        Ok(Run {
            schedule: prepared.settings.schedule(prepared.steps),
            metrics: folder.metrics()?,
            saved: state.step,
            cursor: state.cursor,
            data: state.data,
            clock: Clock::new(Duration::from_millis(state.elapsed_ms)),
            training,
            folder,
            kernels,
            curve,
            evaluation,
            prepared,
        })
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Settings { eval_every, checkpoint_every, sample_every, .. } = self.prepared.settings;
        let batches = self.batches()?;
        self.clock.resume();
        while !self.is_finished() {
            if observer.stop() {
                return self.stop(observer);
            }
            self.update(batches.next()?)?;
            let (step, last) = (self.training.progress().step, self.is_finished());
            let due = |every: u32| last || (every > 0 && step.is_multiple_of(every));
            let (look, write, save) = (due(eval_every), due(sample_every), due(checkpoint_every));
            if !look && !write && !save {
                while let Some(result) = self.training.next_result()? {
                    self.came_back(&result, observer)?;
                }
                continue;
            }
            self.drain(observer)?;
            if look {
                self.look(step, observer)?;
            }
            if write {
                self.write(step, observer)?;
            }
            if save {
                self.save(observer)?;
            }
            self.clock.resume();
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.training.progress().step >= self.prepared.steps
    }

    /// The thread of the batches from the cursor on.
    fn batches(&self) -> Result<Prefetch> {
        let (mut order, room) = (self.prepared.order()?, self.training.batch_capacity());
        order.seek(self.cursor)?;
        Prefetch::new(move || {
            let batch = order.next_batch()?;
            let (targets, cursor) = (batch.target_count, order.cursor());
            let parts = order.micro_batches(batch).iter().map(|part| room.lay_out(part)).collect::<Result<_>>()?;
            Ok(Ready { parts, targets, cursor })
        })
    }

    /// One update, encoded; nothing is waited for.
    fn update(&mut self, batch: Ready) -> Result<()> {
        let done = self.training.progress().step;
        let key = philox::step_key(self.prepared.settings.seed, done);
        for part in &batch.parts {
            self.training.accumulate_gradients_of(part, batch.targets, key)?;
        }
        let lr = self.schedule.rate(done);
        self.training.optimizer_step(lr)?;
        self.cursor = batch.cursor;
        Ok(())
    }

    fn drain(&mut self, observer: &mut dyn Observer) -> Result<()> {
        for result in self.training.wait_for_results()? {
            self.came_back(&result, observer)?;
        }
        Ok(())
    }

    fn came_back(&mut self, result: &StepResult, observer: &mut dyn Observer) -> Result<()> {
        let StepResult { step, grad_norm, targets, lr, halted, .. } = *result;
        let loss = result.loss as f32;
        if halted.is_some() || !loss.is_finite() || !grad_norm.is_finite() {
            // What was known before is shown in the picture, too.
            self.folder.draw(&self.curve)?;
            let (step, good) = (halted.unwrap_or(step), self.folder.checkpoint_path(self.saved));
            return Err(diverged(step, &good, "init"));
        }
        let tokens = u64::from(targets);
        let (elapsed_s, tokens_per_second) = self.clock.finished(tokens);
        let line = StepLine { step, loss, lr, grad_norm, tokens, tokens_per_second, elapsed_s };
        self.metrics.step(&line)?;
        self.curve.training.push((step, f64::from(loss)));
        self.curve.rate.push((step, lr));
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

    /// A text from the model as it is, to samples.txt.
    fn write(&mut self, step: u32, observer: &mut dyn Observer) -> Result<()> {
        let Prepared { settings, tokenizer, held_out, .. } = &self.prepared;
        // A new line to begin with, or what the tokenizer has in its place.
        let mut prompt = tokenizer.encode("\n")?;
        if prompt.is_empty() {
            prompt.extend(held_out.tokens().first());
        }
        prompt.truncate(1);
        let positions = settings.model.n_positions.min(SAMPLE_TOKENS);
        let limits = SamplingLimits { max_length: positions, vocab_size: tokenizer.vocab_size() };
        let sampling = Sampling { temperature: SAMPLE_TEMPERATURE, seed: settings.seed, ..Sampling::default() };
        let ids = sample(&self.training, &prompt, limits, sampling)?;
        let text = tokenizer.decode(&ids)?;
        self.folder.sample(step, text.trim_end_matches('\n'))?;
        observer.sampled(step, &text);
        Ok(())
    }

    /// A checkpoint of all steps done; what was logged before lies on the disk before it.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.metrics.sync()?;
        let kernels = SavedKernels::new(self.training.device().caps(), self.training.kernels().chosen());
        if kernels != self.kernels {
            self.folder.write_kernels(&kernels)?;
            self.kernels = kernels;
        }
        let done = self.training.progress();
        let state = RunState {
            step: done.step,
            updates: done.updates,
            steps: self.prepared.steps,
            cursor: self.cursor,
            data: self.data.clone(),
            elapsed_ms: self.clock.elapsed().as_millis() as u64,
            sampled: self.folder.sampled()?,
        };
        let checkpoint = |folder: &Path| write_checkpoint(folder, &self.prepared, &self.training, &state);
        let path = self.folder.save(done.step, checkpoint)?;
        self.saved = done.step;
        observer.saved(&path);
        Ok(())
    }

    /// Leaves the run so that it can be resumed.
    fn stop(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.drain(observer)?;
        self.folder.draw(&self.curve)?;
        match self.saved == self.training.progress().step {
            true => Ok(()),
            false => self.save(observer),
        }
    }

    fn end(self) -> Result<Trained> {
        let summary = Summary {
            folder: self.folder.path().to_path_buf(),
            checkpoint: self.folder.checkpoint_path(self.saved),
            steps: self.training.progress().step,
            finished: self.is_finished(),
            evaluation: self.evaluation,
            baseline: self.prepared.baseline,
            elapsed_s: self.clock.elapsed().as_secs_f64(),
            curve: self.curve,
        };
        Ok(Trained { summary, training: self.training, tokenizer: self.prepared.tokenizer })
    }
}

/// The error of a step whose numbers are none; `key` names the option that begins from the checkpoint before it.
pub(in crate::train) fn diverged(step: u32, good: &Path, key: &str) -> Error {
    let good = good.display();
    Error::NotFinite(format!(
        "step {step}: the loss or the gradient's norm is not finite; the last good checkpoint is {good}; a smaller lr or a \
         longer warmup may be right, from the beginning or with --{key} {good}"
    ))
}

/// The picture before its first point.
fn empty_curve(prepared: &Prepared) -> Curve {
    let model = &prepared.settings.model;
    let mark = |label: &str, value| Reference { label: label.into(), value };
    Curve {
        title: prepared.title(),
        subtitle: format!(
            "{:.1} M parameters · {} layers, width {} · V {}",
            model.parameter_count() as f64 / 1e6,
            model.n_layer,
            model.n_embd,
            model.vocab_size
        ),
        steps: prepared.steps,
        references: vec![mark("bigram", prepared.baseline.bigram)],
        ..Curve::default()
    }
}

/// The files of a checkpoint, one after the other, so that no more than one of them is in memory.
fn write_checkpoint(folder: &Path, prepared: &Prepared, training: &Training, state: &RunState) -> Result<()> {
    let config = &prepared.settings.model;
    let (parameters, tokenizer) = (training.parameters()?, Some(prepared.tokenizer.clone()));
    Model::from_parts(config.clone(), parameters, tokenizer).write_files(folder)?;
    optimizer::save(&folder.join(optimizer::OPTIMIZER), config, &training.moments()?)?;
    checksums::write(folder, &state.to_keys()?)
}

/// The text held out, under the model as it is.
fn evaluate(training: &mut Training, run: &Prepared, step: u32) -> Result<EvaluationLine> {
    let mut losses = Losses::default();
    for batch in run.evaluation() {
        let of_rows = training.evaluate(&batch)?;
        losses.add(&batch, &of_rows, |_, _| Ok(())).map_err(|error| match error {
            Error::NotFinite(message) => Error::NotFinite(format!("step {step}: in the text held out {message}")),
            error => error,
        })?;
    }
    let Evaluation { loss, perplexity, bits_per_byte, .. } = losses.evaluation(run.held_out_bytes);
    Ok(EvaluationLine { step, valid_loss: loss, valid_perplexity: perplexity, valid_bits_per_byte: bits_per_byte })
}
