//! The training engine: runs any [`Objective`] on one device or several. It encodes a step and continues with the next;
//! losses arrive a few steps late. It waits for them only before an evaluation, a sample or a checkpoint, which a thread then
//! writes while the training goes on.

use super::checkpoint::{Checkpoint, Saving};
use super::clock::Clock;
use super::memory;
use super::metrics::{Line, Metrics};
use super::objective::{Objective, StepTime};
use super::observer::Observer;
use super::options::optimizer_options;
use super::prefetch::{Prefetch, ReadyBatch, dealt};
use super::ranks::{Devices, Ranks, Start, Step};
use super::resume::{SETTINGS, StoppedRun, pinned};
use super::run_folder::{NewRun, RunFolder};
use super::saved_kernels::SavedKernels;
use super::schedule::Schedule;
use super::settings::Bytes;
use super::speed::fastest_sequences;
use super::state::{Position, RunState};
use super::tensorboard::Events;
use super::utilization::Meter;
use crate::data::data_loader::Cursor;
use crate::error::{DeviceError, NotFinite};
use crate::gpu::Device;
use crate::model::{StepResult, Training};
use crate::philox;
use crate::report::Curve;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A run that is complete or was stopped, with the model as it is on the device.
pub struct Trained<O> {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its latest checkpoint.
    pub checkpoint: PathBuf,
    /// Steps done.
    pub steps: u32,
    /// Whether the run is complete; else it was stopped and can be resumed.
    pub finished: bool,
    /// Seconds that the run has taken, evaluations included.
    pub elapsed_s: f64,
    /// Examples per second of training in this process; 0 for an objective without examples.
    pub examples_per_second: f64,
    /// The data of loss.svg.
    pub curve: Curve,
    /// The model.
    pub training: Training,
    /// The objective, with its results.
    pub objective: O,
}

/// Trains to the end of the run, or until the observer stops it. The run's folder appears together with its
/// first checkpoint. Each step's batch is divided among the devices, which hold the same weights; a device may be given twice.
///
/// # Errors
/// [`Error::Device`] and [`Error::Kernel`] when the device refuses a request, [`Error::Io`] for the run's folder,
/// [`Error::NotFinite`] with the step whose loss or gradient norm is NaN or infinite.
pub fn train<'a, O: Objective>(
    devices: impl Into<Devices<'a>>,
    mut objective: O,
    observer: &mut dyn Observer,
) -> Result<Trained<O>> {
    let devices = devices.into();
    set_ranks(&mut objective, devices.size());
    let parameters = objective.take_parameters();
    measure_batch(&devices, &mut objective, &parameters, observer)?;
    let models = allocate(devices.local(), &mut objective, &parameters, observer)?;
    drop(parameters);
    observer.started(&objective.description());
    let ranks = connected(models, devices, &objective, None)?;
    let mut run = Run::start(objective, ranks, observer)?;
    run.train(observer)?;
    run.end(observer)
}

/// Sets the key `ranks` to the number of devices. A run on one device has it only where it was set.
fn set_ranks<O: Objective>(objective: &mut O, devices: usize) {
    if objective.settings().ranks() != devices {
        objective.settings_mut().ranks = Some(devices);
    }
}

/// Replaces `batch = auto` by what the first device needs for its full speed, times the number of devices.
fn measure_batch<O: Objective>(
    devices: &Devices<'_>,
    objective: &mut O,
    parameters: &[Vec<f32>],
    observer: &mut dyn Observer,
) -> Result<()> {
    let settings = objective.settings().clone();
    let (Some(device), true) = (devices.local().first(), settings.measures_batch) else { return Ok(()) };
    observer.noted("batch = auto: measuring steps of more and more sequences");
    let (sequences, speeds) = fastest_sequences(device, &settings, parameters)?;
    let parts = settings.micro_batches() * devices.size();
    let shown = speeds
        .iter()
        .map(|(sequences, speed)| format!("{} with {}", speed.round(), sequences * settings.micro_batches()));
    let speeds = shown.collect::<Vec<_>>().join(", ");
    let on_each = if devices.size() > 1 { " on the first adapter" } else { "" };
    observer.noted(&format!("batch = {}: tokens per second{on_each} by sequences: {speeds}", sequences * parts));
    objective.set_batch(sequences * parts)
}

/// The model on each device. `accumulate` and `recompute`, where they were not given, are chosen to fit the key `memory`, and
/// then so that the run needs less than what the device refuses.
fn allocate<O: Objective>(
    devices: &[Device],
    objective: &mut O,
    parameters: &[Vec<f32>],
    observer: &mut dyn Observer,
) -> Result<Vec<Training>> {
    let given = objective.settings().clone();
    if let Some(Bytes(limit)) = given.memory {
        memory::fit(objective, &given, limit)?.iter().for_each(|note| observer.noted(note));
    }
    loop {
        let options = optimizer_options(objective.settings(), objective.lm_coef());
        let capacity = memory::capacity(objective)?;
        let model = |device| Training::new(device, objective.model(), parameters, capacity, options);
        let refused = match devices.iter().map(model).collect::<Result<Vec<_>>>() {
            // A device that was lost for want of memory makes nothing any more.
            Err(error @ Error::Device(DeviceError::OutOfMemory { .. })) if devices.iter().all(|d| d.wait().is_ok()) => {
                error
            }
            made => return made,
        };
        let bytes = memory::planned_bytes(objective)?;
        let Ok(Some(note)) = memory::fit(objective, &given, bytes.saturating_sub(1)) else { return Err(refused) };
        observer.noted(&format!(
            "the device cannot allocate the {} MiB that the run needs: {note}",
            bytes.div_ceil(1 << 20)
        ));
    }
}

/// Continues a run that was stopped, with the same results as if it had not been. `objective` is the one that
/// [`StoppedRun::objective`] returned. With another number of devices than before, the last digits of the results may differ.
///
/// # Errors
/// As [`train`]; [`Error::File`] for a metrics.jsonl that cannot be read.
pub fn resume<'a, O: Objective>(
    devices: impl Into<Devices<'a>>,
    stopped: StoppedRun<O>,
    mut objective: O,
    observer: &mut dyn Observer,
) -> Result<Trained<O>> {
    let devices = devices.into();
    let ranks = objective.settings().ranks();
    if ranks != devices.size() {
        observer.warned(&format!(
            "the run was started with ranks = {ranks} and continues with {}; the last digits may differ from those of an \
             uninterrupted run",
            devices.size()
        ));
        set_ranks(&mut objective, devices.size());
    }
    let options = optimizer_options(objective.settings(), objective.lm_coef());
    let models = stopped.models(devices.local(), memory::capacity(&objective)?, options, observer)?;
    observer.started(&objective.description());
    observer.resumed(stopped.step(), &stopped.checkpoint_path());
    let ranks = connected(models, devices, &objective, stopped.kernels.as_ref())?;
    let mut run = Run::resume(objective, ranks, stopped)?;
    run.train(observer)?;
    run.end(observer)
}

struct Run<O: Objective> {
    objective: O,
    ranks: Ranks,
    /// Targets of each rank in the steps in flight, with several ranks.
    rank_tokens: VecDeque<Vec<u64>>,
    schedule: Schedule,
    position: Position,
    /// The epoch for which the trainable parts of the model are set.
    learning_epoch: Option<u32>,
    folder: Arc<RunFolder>,
    /// The contents of kernels.json.
    kernels: SavedKernels,
    metrics: Metrics,
    /// The event file of TensorBoard, where the run has one.
    events: Option<Events>,
    curve: Curve,
    /// The step of the latest checkpoint that is complete.
    saved: u32,
    /// The checkpoint that is being written.
    saving: Option<Saving>,
    /// The step that the file `best` names, or will name once the checkpoint is written.
    best: Option<u32>,
    /// Whether the work after the last step is done.
    is_finish_done: bool,
    clock: Clock,
    meter: Meter,
    /// Examples trained in this process.
    examples: u64,
}

impl<O: Objective> Run<O> {
    /// Evaluates the initial model where the objective does so at step 0, and creates the run's folder.
    fn start(mut objective: O, mut ranks: Ranks, observer: &mut dyn Observer) -> Result<Self> {
        let kernels = ranks.kernels()?;
        let clock = Clock::new(Duration::ZERO);
        let data = objective.identity();
        let mut position = Position { step: 0, updates: 0, cursor: Cursor::default(), data, elapsed_ms: 0, sampled: 0 };
        let mut curve = objective.curve();
        let evaluates = objective.due(&position).evaluation;
        let lines = if evaluates { evaluate(&mut objective, &mut ranks, &position, observer)? } else { Vec::new() };
        for line in &lines {
            objective.plot(line, &mut curve);
            observer.recorded(line);
        }
        let kernels = kernels.with_first(&ranks.training);
        let new = NewRun {
            settings: objective.settings(),
            lines: &lines,
            samples: O::WRITES_SAMPLES,
            curve: &curve,
            kernels: &kernels,
            files: objective.files(),
        };
        position.elapsed_ms = clock.elapsed().as_millis() as u64;
        let checkpoint = checkpoint(&objective, position.clone())?;
        let folder = RunFolder::create(objective.out(), &new, |folder| checkpoint.write(folder, &ranks.training))?;
        observer.saved(&folder.checkpoint_path(0));
        Self::new(objective, ranks, position, folder, kernels, curve, clock, &lines)
    }

    /// Truncates the folder's files to the checkpoint and continues from there.
    fn resume(mut objective: O, ranks: Ranks, stopped: StoppedRun<O>) -> Result<Self> {
        let StoppedRun { folder, state, .. } = stopped;
        let position = state.position();
        let lines = folder.truncate(position.step, position.sampled)?;
        objective.restore(&state, &lines, &folder)?;
        let mut curve = objective.curve();
        lines.iter().for_each(|line| objective.plot(line, &mut curve));
        let kernels = ranks.kernels()?;
        folder.write_settings(objective.settings())?;
        folder.write_kernels(&kernels)?;
        // The process may have ended between the checkpoint and the file that names it as the best.
        if let Some(step) = objective.best_step() {
            folder.name_best(step)?;
        }
        let clock = Clock::new(Duration::from_millis(position.elapsed_ms));
        Self::new(objective, ranks, position, folder, kernels, curve, clock, &lines)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a run consists of")]
    fn new(
        objective: O,
        ranks: Ranks,
        position: Position,
        folder: RunFolder,
        kernels: SavedKernels,
        curve: Curve,
        clock: Clock,
        lines: &[Line],
    ) -> Result<Self> {
        let elapsed_s = clock.elapsed().as_secs_f64();
        let events = match objective.settings().tensorboard {
            true => Some(Events::create(folder.path(), lines, elapsed_s)?),
            false => None,
        };
        Ok(Run {
            events,
            schedule: objective.settings().schedule(objective.steps()),
            metrics: folder.metrics()?,
            saved: position.step,
            saving: None,
            best: objective.best_step(),
            is_finish_done: false,
            learning_epoch: None,
            examples: 0,
            meter: Meter::new(
                ranks.training().config(),
                ranks.peers().iter().map(|rank| rank.peak).sum(),
                ranks.devices(),
            ),
            objective,
            ranks,
            rank_tokens: VecDeque::new(),
            position,
            folder: Arc::new(folder),
            kernels,
            curve,
            clock,
        })
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.warn(observer);
        let micro_batches = self.objective.settings().micro_batches() * self.ranks.size();
        let batches = self.objective.batches(self.position.cursor, micro_batches)?;
        let batches = Prefetch::new(dealt(batches, self.ranks.size(), self.ranks.capacity()))?;
        self.clock.resume();
        while !self.objective.is_finished(&self.position) {
            if observer.stop() {
                return self.stop(observer);
            }
            self.step(batches.next()?, observer)?;
            if self.saving.as_ref().is_some_and(Saving::is_finished) {
                self.finish_saving(observer)?;
            }
            let due = self.objective.due(&self.position);
            if !due.evaluation && !due.sample && !due.checkpoint {
                while let Some(result) = self.ranks.training.next_result()? {
                    self.record_result(&result, observer)?;
                }
                continue;
            }
            self.wait_for_results(observer)?;
            self.clock.pause();
            if due.evaluation {
                self.evaluate(observer)?;
            }
            if due.sample {
                self.sample(observer)?;
            }
            if self.objective.is_finished(&self.position) {
                self.finish(observer)?;
            }
            if due.checkpoint {
                self.save(observer)?;
            }
            self.meter.measure_memory();
            self.clock.resume();
        }
        Ok(())
    }

    /// Submits one step. On one device, it does not wait, unless several steps are in flight already.
    fn step(&mut self, batch: ReadyBatch, observer: &mut dyn Observer) -> Result<()> {
        let is_new_epoch = self.learning_epoch.replace(batch.epoch) != Some(batch.epoch);
        let done = self.position.step;
        let step = Step {
            counts: batch.counts,
            dropout_key: philox::step_key(self.objective.settings().seed, done),
            lr: self.schedule.rate(done),
            learning: is_new_epoch.then(|| self.objective.learning(batch.epoch)),
        };
        let seconds = self.ranks.step(&batch.own, batch.others, &step);
        let seconds = seconds.inspect_err(|_| warn_of_failure(&self.ranks, observer))?;
        if !seconds.is_empty() {
            observer.measured(&self.clock.record_ranks(&batch.rank_tokens, &seconds));
            self.rank_tokens.push_back(batch.rank_tokens);
        }
        let progress = self.ranks.training.progress();
        (self.position.step, self.position.updates) = (progress.step, progress.updates);
        self.position.cursor = batch.next;
        Ok(())
    }

    fn wait_for_results(&mut self, observer: &mut dyn Observer) -> Result<()> {
        for result in self.ranks.training.wait_for_results()? {
            self.record_result(&result, observer)?;
        }
        Ok(())
    }

    fn record_result(&mut self, result: &StepResult, observer: &mut dyn Observer) -> Result<()> {
        let is_finite = self.objective.loss(result).is_finite() && result.grad_norm.is_finite();
        if result.halted.is_some() || !is_finite {
            // The curve shows all steps up to this one.
            self.folder.draw(&self.curve)?;
            self.finish_saving(observer)?;
            let checkpoint = self.folder.checkpoint_path(self.saved);
            return Err(diverged(result.halted.unwrap_or(result.step), checkpoint));
        }
        self.examples += u64::from(result.examples);
        let (elapsed_s, tokens_per_second) = self.clock.record_step(u64::from(result.tokens));
        let line = self.objective.step_line(result, StepTime { tokens_per_second, elapsed_s });
        let line = line.with_devices(self.meter.at(tokens_per_second), self.rank_tokens.pop_front());
        self.write(&line)?;
        self.objective.plot(&line, &mut self.curve);
        observer.recorded(&line);
        Ok(())
    }

    /// Writes a line of metrics.jsonl, and its events.
    fn write(&mut self, line: &Line) -> Result<()> {
        self.metrics.write(line)?;
        self.events.as_mut().map_or(Ok(()), |events| events.write(line))
    }

    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<()> {
        for line in evaluate(&mut self.objective, &mut self.ranks, &self.position, observer)? {
            self.write(&line)?;
            self.objective.plot(&line, &mut self.curve);
            self.folder.draw(&self.curve)?;
            observer.recorded(&line);
        }
        Ok(())
    }

    fn sample(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if let Some(text) = self.objective.sample(&self.ranks.training)? {
            self.folder.append_sample(self.position.step, text.trim_end_matches('\n'))?;
            observer.sampled(self.position.step, &text);
        }
        Ok(())
    }

    /// Begins to save a checkpoint of all steps so far, after all earlier lines of metrics.jsonl are on the disk, and after the
    /// checkpoint before it.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.finish_saving(observer)?;
        self.metrics.sync()?;
        let kernels = self.kernels.clone().with_first(&self.ranks.training);
        if kernels != self.kernels {
            self.folder.write_kernels(&kernels)?;
            self.kernels = kernels;
        }
        self.position.elapsed_ms = self.clock.elapsed().as_millis() as u64;
        self.position.sampled = self.folder.sampled_bytes()?;
        let checkpoint = checkpoint(&self.objective, self.position.clone())?;
        let best = self.objective.best_step();
        let newly_best = best.filter(|_| best != self.best);
        self.best = best.or(self.best);
        let name_best = move |folder: &RunFolder| newly_best.map_or(Ok(()), |step| folder.name_best(step));
        self.saving = Some(Saving::start(checkpoint, &self.folder, &self.ranks.training, name_best)?);
        Ok(())
    }

    /// Waits for the checkpoint that is being written.
    fn finish_saving(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Some(saving) = self.saving.take() else { return Ok(()) };
        let step = saving.step();
        let path = saving.finish()?;
        self.saved = step;
        observer.saved(&path);
        self.warn(observer);
        Ok(())
    }

    /// Passes on warnings about the run's folder.
    fn warn(&self, observer: &mut dyn Observer) {
        self.folder.take_warnings().iter().for_each(|warning| observer.warned(warning));
    }

    /// Saves a checkpoint, so that the run can be resumed.
    fn stop(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.wait_for_results(observer)?;
        self.folder.draw(&self.curve)?;
        self.finish_saving(observer)?;
        if self.saved != self.position.step {
            self.save(observer)?;
        }
        self.finish_saving(observer)
    }

    /// The work after the last step. It comes before the last checkpoint, which says that the run is complete: if the process
    /// ends meanwhile, a resumed run does the work again.
    fn finish(&mut self, observer: &mut dyn Observer) -> Result<()> {
        // The work may read the checkpoint that is being written.
        self.finish_saving(observer)?;
        for line in self.objective.finish(&self.ranks.training, &self.folder)? {
            self.write(&line)?;
            observer.recorded(&line);
        }
        self.is_finish_done = true;
        Ok(())
    }

    fn end(mut self, observer: &mut dyn Observer) -> Result<Trained<O>> {
        self.finish_saving(observer)?;
        let finished = self.objective.is_finished(&self.position);
        // A resumed run may have no step left.
        if finished && !self.is_finish_done {
            self.finish(observer)?;
        }
        Ok(Trained {
            folder: self.folder.path().to_path_buf(),
            checkpoint: self.folder.checkpoint_path(self.saved),
            steps: self.position.step,
            finished,
            elapsed_s: self.clock.elapsed().as_secs_f64(),
            examples_per_second: self.examples as f64 / self.clock.training().as_secs_f64().max(1e-9),
            curve: self.curve,
            training: self.ranks.into_training(),
            objective: self.objective,
        })
    }
}

/// The lines of an evaluation.
fn evaluate<O: Objective>(
    objective: &mut O,
    ranks: &mut Ranks,
    position: &Position,
    observer: &mut dyn Observer,
) -> Result<Vec<Line>> {
    objective.evaluate(ranks, position).inspect_err(|_| warn_of_failure(ranks, observer))
}

/// Tells which rank has failed, after an error.
fn warn_of_failure(ranks: &Ranks, observer: &mut dyn Observer) {
    let warning = ranks.failed().map(|rank| format!("{rank} has failed, which ends the run"));
    warning.iter().for_each(|warning| observer.warned(warning));
}

/// The ranks of a run, with the models of this process. `kernels` is the kernels.json of a run that is resumed.
fn connected<O: Objective>(
    models: Vec<Training>,
    devices: Devices<'_>,
    objective: &O,
    kernels: Option<&SavedKernels>,
) -> Result<Ranks> {
    let (capacity, self_test) = (memory::capacity(objective)?, objective.settings().self_test);
    let start = Start { capacity, kernels, self_test, writes_samples: O::WRITES_SAMPLES };
    Ranks::new(models, devices.into_communicator(), &start)
}

/// The error of a step whose loss or gradient norm is not finite.
fn diverged(step: u32, checkpoint: PathBuf) -> Error {
    let (quantity, checkpoint) = ("loss or the gradient norm".into(), Some(checkpoint));
    Error::NotFinite(NotFinite { quantity, step: Some(step), place: None, checkpoint })
}

/// The checkpoint of a position, without weights and moments.
fn checkpoint<O: Objective>(objective: &O, position: Position) -> Result<Checkpoint> {
    let step = position.step;
    let mut state = objective.state(position).to_keys()?;
    state.insert(SETTINGS.into(), pinned(objective.settings(), O::MAY_CHANGE).into());
    Ok(Checkpoint { step, config: objective.model().clone(), tokenizer: objective.tokenizer().cloned(), state })
}
