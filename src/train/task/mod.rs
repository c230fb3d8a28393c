//! A run on a task: a [`PreparedTask`] on a device. L3 = L2 + λ·L1 an update; an evaluation and a checkpoint an epoch; at the
//! end the best epoch's answers.

pub mod prepare;
pub mod scores;

use self::scores::{self as task_scores, Scores};
use crate::data::batch::LossCounts;
use crate::data::data_loader::Cursor;
use crate::gpu::Device;
use crate::model::{Capacity, Inference, StepResult, Training, TrainingOptions};
use crate::philox;
use crate::report::{Curve, Measure, Reference};
use crate::store::Model;
use crate::store::{checksums, optimizer};
use crate::train::clock::Clock;
use crate::train::metrics::{EpochLine, Line, Metrics, TaskStepLine, TestLine};
use crate::train::resume::StoppedTask;
use crate::train::run_folder::{First, RunFolder, SavedKernels};
use crate::train::schedule::Schedule;
use crate::train::state::{Best, Stand, TaskState};
use crate::train::task::prepare::PreparedTask;
use crate::train::text::{Observer, diverged, optimizer_options};
use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a run on a task came to.
#[derive(Clone, Debug)]
pub struct TaskSummary {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its last checkpoint.
    pub checkpoint: PathBuf,
    /// Steps done.
    pub steps: u32,
    /// Whether it came to its end, or was stopped.
    pub finished: bool,
    /// The best epoch; none before the first one's end.
    pub best: Option<Best>,
    /// The validation examples under the best epoch's weights.
    pub valid: Option<Scores>,
    /// The test examples under them, where there are such.
    pub test: Option<Scores>,
    /// Training examples a second, evaluations left out.
    pub examples_per_second: f64,
    /// Seconds in all.
    pub elapsed_s: f64,
}

/// Trains a prepared run to its end, or to where the observer stops it.
///
/// # Errors
/// [`Error::Device`] and [`Error::Kernel`] for what the device refuses, [`Error::Io`] for the run's folder,
/// [`Error::NotFinite`] with the step where loss or gradient stopped being numbers.
pub fn finetune(device: &Device, mut prepared: PreparedTask, observer: &mut dyn Observer) -> Result<TaskSummary> {
    let weights = prepared.weights.take().unwrap_or_default();
    let training = Training::new(device, &prepared.model, &weights, prepared.capacity()?, options(&prepared))?;
    drop(weights);
    observer.task_began(&prepared);
    let mut run = Run::begin(prepared, training, observer)?;
    run.train(observer)?;
    run.end(observer)
}

/// Goes on with a run that was stopped, as if it had never been; `prepared` is what [`StoppedTask::prepare`] gave.
///
/// # Errors
/// As [`finetune`].
pub fn resume(
    device: &Device,
    stopped: StoppedTask,
    prepared: PreparedTask,
    observer: &mut dyn Observer,
) -> Result<TaskSummary> {
    let training = stopped.training(device, prepared.capacity()?, options(&prepared), observer)?;
    observer.task_began(&prepared);
    observer.resumed(stopped.step(), &stopped.checkpoint_path());
    let mut run = Run::go_on(prepared, training, stopped)?;
    run.train(observer)?;
    run.end(observer)
}

fn options(prepared: &PreparedTask) -> TrainingOptions {
    TrainingOptions { lm_coef: prepared.settings.task.lm_coef, ..optimizer_options(&prepared.settings) }
}

/// The epoch of a step whose result is in flight.
struct Pending {
    step: u32,
    epoch: u32,
}

struct Run {
    prepared: PreparedTask,
    training: Training,
    inference: Inference,
    schedule: Schedule,
    folder: RunFolder,
    metrics: Metrics,
    curve: Curve,
    state: TaskState,
    pending: VecDeque<Pending>,
    clock: Clock,
    /// Examples that came back in this process, and the time that they took.
    trained: (u64, Duration),
    last: Option<Scores>,
}

impl Run {
    fn begin(prepared: PreparedTask, training: Training, observer: &mut dyn Observer) -> Result<Self> {
        let clock = Clock::new(Duration::ZERO);
        let state = TaskState {
            step: 0,
            updates: 0,
            cursor: Cursor::default(),
            data: prepared.identity(),
            elapsed_ms: clock.elapsed().as_millis() as u64,
            train_loss: 0.0,
            best: None,
            finished: false,
        };
        let curve = empty_curve(&prepared);
        let kernels = SavedKernels::new(training.device().caps(), training.kernels().chosen());
        let first =
            First { settings: &prepared.settings, evaluation: None, curve: &curve, kernels: &kernels, files: &[] };
        let checkpoint = |folder: &Path| write_checkpoint(folder, &prepared, &training, &state);
        let folder = RunFolder::create(&prepared.out, &first, checkpoint)?;
        observer.saved(&folder.checkpoint_path(0));
        Self::with(prepared, training, folder, curve, state, clock)
    }

    fn go_on(prepared: PreparedTask, training: Training, stopped: StoppedTask) -> Result<Self> {
        let StoppedTask { folder, state, .. } = stopped;
        let lines = folder.cut(state.step, 0)?;
        let mut curve = empty_curve(&prepared);
        for line in &lines {
            match line {
                Line::TaskStep(line) => {
                    curve.training.push((line.step, line.task_loss));
                    curve.rate.push((line.step, line.lr));
                }
                Line::Epoch(line) => {
                    curve.validation.extend(line.valid.get("valid_loss").map(|loss| (line.step, *loss)));
                    let value = line.valid.get(&format!("valid_{}", prepared.best_by()?));
                    put(&mut curve, value.map(|value| (line.step, *value)));
                }
                Line::Step(_) | Line::Evaluation(_) | Line::Test(_) => {}
            }
        }
        folder.write_settings(&prepared.settings)?;
        folder.write_kernels(&SavedKernels::new(training.device().caps(), training.kernels().chosen()))?;
        // A run may have ended between its checkpoint and the name of its best.
        if let Some(best) = state.best {
            folder.name_best(best.step)?;
        }
        let clock = Clock::new(Duration::from_millis(state.elapsed_ms));
        Self::with(prepared, training, folder, curve, TaskState { finished: false, ..state }, clock)
    }

    fn with(
        prepared: PreparedTask,
        training: Training,
        folder: RunFolder,
        curve: Curve,
        state: TaskState,
        clock: Clock,
    ) -> Result<Self> {
        let room = [Some(&prepared.valid), prepared.test.as_ref()].into_iter().flatten().map(|part| part.batches().1);
        let (rows, sequences) =
            room.fold((1, 1), |(rows, sequences), of| (rows.max(of.rows), sequences.max(of.sequences)));
        Ok(Run {
            inference: training.inference(Capacity { rows, sequences })?,
            schedule: prepared.settings.schedule(prepared.steps),
            metrics: folder.metrics()?,
            pending: VecDeque::new(),
            trained: (0, Duration::ZERO),
            last: None,
            prepared,
            training,
            folder,
            curve,
            state,
            clock,
        })
    }

    fn train(&mut self, observer: &mut dyn Observer) -> Result<()> {
        while self.state.cursor.epoch < self.prepared.epochs && !self.is_patient_no_more() {
            let epoch = self.state.cursor.epoch;
            self.training.set_learning(self.prepared.learning(epoch))?;
            let order = self.prepared.order(epoch);
            self.clock.resume();
            let begun = self.clock.elapsed();
            while self.state.cursor.index < order.len() {
                if observer.stop() {
                    self.drain(observer)?;
                    self.folder.draw(&self.curve)?;
                    return self.save(observer);
                }
                self.update(&order)?;
                while let Some(result) = self.training.next_result()? {
                    self.came_back(&result, observer)?;
                }
            }
            self.drain(observer)?;
            self.trained.1 += self.clock.elapsed().saturating_sub(begun);
            self.end_epoch(observer)?;
        }
        Ok(())
    }

    fn is_patient_no_more(&self) -> bool {
        let patience = self.prepared.settings.task.patience;
        let best = self.state.best.map_or(0, |best| best.epoch);
        patience > 0 && self.state.cursor.epoch >= best + patience
    }

    fn update(&mut self, order: &[u32]) -> Result<()> {
        let done = self.training.progress().step;
        let key = philox::step_key(self.prepared.settings.seed, done);
        let (parts, cursor) = self.prepared.update(order, self.state.cursor)?;
        let real = parts.iter().map(|part| part.loss_counts()).fold(LossCounts::default(), |sum, part| LossCounts {
            targets: sum.targets + part.targets,
            examples: sum.examples + part.examples,
        });
        for part in &parts {
            self.training.accumulate_gradients(part, real, key)?;
        }
        let lr = self.schedule.rate(done);
        self.training.optimizer_step(lr)?;
        self.pending.push_back(Pending { step: done + 1, epoch: cursor.epoch + 1 });
        self.state.cursor = cursor;
        Ok(())
    }

    fn drain(&mut self, observer: &mut dyn Observer) -> Result<()> {
        for result in self.training.wait_for_results()? {
            self.came_back(&result, observer)?;
        }
        Ok(())
    }

    fn came_back(&mut self, result: &StepResult, observer: &mut dyn Observer) -> Result<()> {
        let StepResult { step, task_loss, grad_norm, targets, examples, lr, halted, .. } = *result;
        let Some(Pending { epoch, .. }) = self.pending.pop_front().filter(|p| p.step == step) else {
            return Err(Error::device(format!("the state of step {step} came back out of turn")));
        };
        let lm_coef = self.prepared.settings.task.lm_coef;
        let lm_loss = (lm_coef > 0.0).then_some(result.loss);
        let loss = task_loss + lm_coef * lm_loss.unwrap_or(0.0);
        if halted.is_some() || !loss.is_finite() || !grad_norm.is_finite() {
            self.folder.draw(&self.curve)?;
            return Err(diverged(halted.unwrap_or(step), &self.folder.latest()?, "model"));
        }
        let tokens = u64::from(targets);
        let (elapsed_s, tokens_per_second) = self.clock.finished(tokens);
        self.trained.0 += u64::from(examples);
        self.state.train_loss += f64::from(result.task_loss_sum);
        let line = TaskStepLine {
            step,
            epoch,
            loss,
            task_loss,
            lm_loss,
            lr,
            grad_norm,
            tokens,
            examples,
            tokens_per_second,
            elapsed_s,
        };
        self.metrics.task(&Line::TaskStep(line))?;
        self.curve.training.push((step, task_loss));
        self.curve.rate.push((step, lr));
        observer.task_step(&line);
        Ok(())
    }

    fn end_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let scores = task_scores::score(&mut self.inference, self.prepared.task()?, &self.prepared.valid)?;
        let (epoch, step) = (self.state.cursor.epoch + 1, self.training.progress().step);
        let train_loss = self.state.train_loss / self.prepared.train.all.len() as f64;
        let line = EpochLine { epoch, step, train_loss, valid: prefixed("valid", &scores.values) };
        self.metrics.task(&Line::Epoch(line.clone()))?;
        let name = self.prepared.best_by()?;
        self.curve.validation.extend(scores.values.get("loss").map(|loss| (step, *loss)));
        put(&mut self.curve, scores.values.get(name.as_str()).map(|value| (step, *value)));
        self.folder.draw(&self.curve)?;
        observer.epoch(&line);
        let value = task_scores::rank(&name, &scores.values);
        let is_better = self.state.best.is_none_or(|best| match (value, best.value) {
            (Some(value), Some(best)) => value > best,
            (Some(_), None) => true,
            (None, _) => false,
        });
        if is_better {
            self.state.best = Some(Best { epoch, step, value });
        }
        self.last = Some(scores);
        self.state.train_loss = 0.0;
        self.state.cursor = Cursor { epoch, index: 0 };
        self.state.finished = epoch >= self.prepared.epochs || self.is_patient_no_more();
        self.save(observer)?;
        if is_better { self.folder.name_best(step) } else { Ok(()) }
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.metrics.sync()?;
        let done = self.training.progress();
        let elapsed_ms = self.clock.elapsed().as_millis() as u64;
        self.state = TaskState { step: done.step, updates: done.updates, elapsed_ms, ..self.state.clone() };
        let checkpoint = |folder: &Path| write_checkpoint(folder, &self.prepared, &self.training, &self.state);
        let path = self.folder.save(done.step, checkpoint)?;
        observer.saved(&path);
        Ok(())
    }

    /// The best epoch's answers to the validation examples and, once, to the test examples.
    fn end(mut self, observer: &mut dyn Observer) -> Result<TaskSummary> {
        let (mut valid, mut test) = (None, None);
        if let Some(best) = self.state.best.filter(|_| self.state.finished) {
            if best.step != self.training.progress().step {
                let Model { config, parameters, .. } = Model::load(self.folder.checkpoint_path(best.step))?;
                let room = self.inference.capacity();
                self.inference = Inference::new(self.training.device(), &config, &parameters, room)?;
                self.last = None;
            }
            let task = self.prepared.task()?;
            valid = Some(match self.last.take() {
                Some(scores) => scores,
                None => task_scores::score(&mut self.inference, task, &self.prepared.valid)?,
            });
            if let Some(examples) = &self.prepared.test {
                let scores = task_scores::score(&mut self.inference, task, examples)?;
                let line = TestLine { best_epoch: best.epoch, test: prefixed("test", &scores.values) };
                self.metrics.task(&Line::Test(line.clone()))?;
                observer.tested(&line);
                test = Some(scores);
            }
        }
        let (examples, time) = self.trained;
        Ok(TaskSummary {
            folder: self.folder.path().to_path_buf(),
            checkpoint: self.folder.checkpoint_path(self.state.step),
            steps: self.state.step,
            finished: self.state.finished,
            best: self.state.best,
            valid,
            test,
            examples_per_second: examples as f64 / time.as_secs_f64().max(1e-9),
            elapsed_s: self.clock.elapsed().as_secs_f64(),
        })
    }
}

fn prefixed(part: &str, values: &BTreeMap<&'static str, f64>) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| (format!("{part}_{name}"), *value)).collect()
}

fn empty_curve(prepared: &PreparedTask) -> Curve {
    let PreparedTask { model, train, valid, .. } = prepared;
    Curve {
        title: prepared.title(),
        subtitle: format!(
            "{:.1} M parameters · {} layers, width {} · {} examples, {} for validation",
            model.parameter_count() as f64 / 1e6,
            model.n_layer,
            model.n_embd,
            train.all.len(),
            valid.all.len()
        ),
        steps: prepared.steps,
        loss: "the task's loss".into(),
        measure: prepared.best_by().ok().map(|name| Measure {
            label: format!("{name} on validation"),
            points: Vec::new(),
            reference: task_scores::majority(&valid.all)
                .filter(|_| name == "accuracy")
                .map(|value| Reference { label: "majority".into(), value }),
        }),
        ..Curve::default()
    }
}

/// Adds an epoch's value to the strip.
fn put(curve: &mut Curve, point: Option<(u32, f64)>) {
    if let Some(measure) = &mut curve.measure {
        measure.points.extend(point);
    }
}

fn write_checkpoint(folder: &Path, prepared: &PreparedTask, training: &Training, state: &TaskState) -> Result<()> {
    let config = prepared.model.clone();
    let (parameters, tokenizer) = (training.parameters()?, Some(prepared.tokenizer.clone()));
    Model::from_parts(config, parameters, tokenizer).write_files(folder)?;
    optimizer::save(&folder.join(optimizer::OPTIMIZER), &prepared.model, &training.moments()?)?;
    checksums::write(folder, &state.to_keys()?)
}
