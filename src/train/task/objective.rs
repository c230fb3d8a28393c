//! The objective of fine-tuning: L3 = L2 + λ·L1 on the examples of a task (docs/spec.md section 3). An evaluation and a
//! checkpoint follow each epoch. At the end, the weights of the best epoch answer the validation and the test examples.

use super::examples::{Examples, size_of};
use super::prepare::FineTuning;
use super::scores::{self, Scores};
use super::state::{Best, FineTuningState};
use crate::config::ModelConfig;
use crate::data::batch::Batch;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Capacity, Inference, Learning, StepResult, Training};
use crate::philox::{Stream, Words};
use crate::report::{Curve, Measure, Reference};
use crate::store::Model;
use crate::store::sha256;
use crate::tasks::{Answer, EncodedExample, pack};
use crate::train::metrics::{EpochLine, Line, TaskStepLine, TestLine};
use crate::train::objective::{Batches, Due, Objective, StepBatch, StepTime};
use crate::train::observer::Description;
use crate::train::ranks::Ranks;
use crate::train::resume::StoppedRun;
use crate::train::run_folder::{BASELINES, PREDICTIONS, RunFolder};
use crate::train::run_path::RunPath;
use crate::train::settings::{Settings, Stage};
use crate::train::state::{Identity, Position};
use crate::{Error, Result};
use std::collections::BTreeMap;

impl FineTuning {
    /// Whether the step that reached this position is the last of an epoch.
    fn is_end_of_epoch(position: &Position) -> bool {
        position.step > 0 && position.cursor.index == 0
    }

    /// The size of the largest evaluation batch.
    fn evaluation_capacity(&self) -> Capacity {
        let parts = [Some(&self.valid), self.test.as_ref()].into_iter().flatten().map(|part| part.batches().1);
        parts.fold(Capacity { rows: 1, sequences: 1 }, larger)
    }

    fn patience_exhausted(&self, epochs_done: u32) -> bool {
        let patience = self.settings.task.patience;
        patience > 0 && epochs_done >= self.best.map_or(0, |best| best.epoch) + patience
    }

    fn score(&mut self, training: &Training, examples: fn(&Self) -> Option<&Examples>) -> Result<Option<Scores>> {
        let mut inference = match self.inference.take() {
            Some(inference) => inference,
            None => training.inference(self.evaluation_capacity())?,
        };
        let scores =
            examples(self).map(|examples| scores::score(&mut inference, self.task()?, examples)).transpose()?;
        self.inference = Some(inference);
        Ok(scores)
    }
}

fn larger(a: Capacity, b: Capacity) -> Capacity {
    Capacity { rows: a.rows.max(b.rows), sequences: a.sequences.max(b.sequences) }
}

/// The order of an epoch's examples: a random permutation.
fn epoch_order(seed: u64, epoch: u32, examples: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..examples as u32).collect();
    Words::new(seed, Stream::Order, epoch, 0).shuffle(&mut order);
    order
}

/// Examples per micro-batch in a step with this many examples.
fn micro_batch_examples(examples: usize, micro_batches: usize) -> usize {
    examples.div_ceil(micro_batches).max(1)
}

/// The micro-batches of a step: its batch is assembled, then split between examples.
fn divide(all: &[EncodedExample], of_step: &[u32], micro_batches: usize) -> Result<Vec<Batch>> {
    let batch = pack(of_step.iter().map(|i| &all[*i as usize]))?;
    let part = micro_batch_examples(batch.examples.len(), micro_batches);
    let sequences = |i: usize| batch.examples.get(i).map_or(batch.sequences(), |example| example.sequences.start);
    let parts = (0..batch.examples.len()).step_by(part).map(|i| batch.part(sequences(i)..sequences(i + part)));
    Ok(parts.collect())
}

/// The checksum of examples: sequences and answers.
fn identity(examples: &Examples) -> Identity {
    let lengths = |example: &EncodedExample| example.sequences.iter().map(|ids| ids.len() as u64).collect::<Vec<_>>();
    let answer = |example: &EncodedExample| match example.answer {
        Answer::Class(class) => [1, u64::from(class)],
        Answer::Score(score) => [2, u64::from(score.to_bits())],
        Answer::Unknown => [0, 0],
    };
    let all = &examples.all;
    let heads: Vec<Vec<u64>> = all.iter().map(|e| [lengths(e), answer(e).to_vec()].concat()).collect();
    let tokens = all.iter().flat_map(|e| &e.sequences).map(|ids| ids.len() as u64).sum();
    let bytes = heads.iter().zip(all.iter()).flat_map(|(head, example)| {
        let ids = example.sequences.iter().map(|ids| bytemuck::cast_slice(ids));
        std::iter::once(bytemuck::cast_slice(head)).chain(ids)
    });
    Identity { tokens, sha256: sha256::of(bytes) }
}

impl Objective for FineTuning {
    type State = FineTuningState;
    const STAGE: Stage = Stage::FineTuning;
    /// The model may not change: it influenced the steps that are done. Files may move; their contents are compared.
    const MAY_CHANGE: &'static [&'static str] =
        &["train", "valid", "test", "epochs", "ranks", "recompute", "self_test", "patience", "tensorboard"];
    const DATA_KEY: &'static str = "train";

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn model(&self) -> &ModelConfig {
        &self.model
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(&self.tokenizer)
    }

    fn out(&self) -> &RunPath {
        &self.out
    }

    fn description(&self) -> Description {
        Description {
            title: self.title(),
            parameters: self.model.parameter_count(),
            unit: "examples",
            training: self.train.all.len(),
            validation: self.valid.all.len(),
            steps: self.steps,
            batch: self.settings.batch,
            batch_is_exact: self.train.all.len().is_multiple_of(self.settings.batch),
        }
    }

    fn curve(&self) -> Curve {
        let FineTuning { model, train, valid, .. } = self;
        Curve {
            title: self.title(),
            subtitle: format!(
                "{} · {} examples, {} for validation",
                model.size_text(),
                train.all.len(),
                valid.all.len()
            ),
            steps: self.steps,
            loss: "the task's loss".into(),
            measure: self.best_by().ok().map(|name| Measure {
                label: format!("{name} on validation"),
                points: Vec::new(),
                reference: self.best_baseline(&name).map(|(label, value)| Reference { label: label.into(), value }),
            }),
            ..Curve::default()
        }
    }

    fn identity(&self) -> Identity {
        identity(&self.train)
    }

    /// The validation examples must be the same, because they chose the best epoch. The test examples are read at the end
    /// only: others are allowed.
    fn check_inputs(&self, state: &FineTuningState) -> Result<Vec<String>> {
        if state.valid.as_ref().is_some_and(|valid| *valid != identity(&self.valid)) {
            let found = "the validation examples differ from the run's";
            return Err(Error::file(&self.valid.path, found).expected("valid must name the same examples"));
        }
        let test = self.test.as_ref().map(|test| (test.path.display(), identity(test)));
        let differs = |(path, is)| {
            let was = state.test.as_ref().filter(|was| **was != is)?;
            let was = was.tokens;
            Some(format!("{path}: the test examples differ from those that the run was started with ({was} tokens)"))
        };
        Ok(test.and_then(differs).into_iter().collect())
    }

    fn steps(&self) -> u32 {
        self.steps
    }

    fn capacity(&self, micro_batches: usize) -> Result<Capacity> {
        let (all, Settings { batch, seed, .. }) = (&self.train.all, &self.settings);
        let mut largest = Capacity { rows: 1, sequences: 1 };
        for epoch in 0..self.epochs {
            let order = epoch_order(*seed, epoch, all.len());
            for of_step in order.chunks(*batch) {
                for part in of_step.chunks(micro_batch_examples(of_step.len(), micro_batches)) {
                    let sizes = part.iter().map(|i| size_of(&all[*i as usize]));
                    let sum = sizes.fold(Capacity { rows: 0, sequences: 0 }, |sum, size| Capacity {
                        rows: sum.rows + size.rows,
                        sequences: sum.sequences + size.sequences,
                    });
                    largest = larger(largest, sum);
                }
            }
        }
        Ok(largest)
    }

    fn take_parameters(&mut self) -> Vec<Vec<f32>> {
        self.weights.take().unwrap_or_default()
    }

    fn lm_coef(&self) -> f64 {
        self.settings.task.lm_coef
    }

    fn learning(&self, epoch: u32) -> Learning {
        let layers = self.model.n_layer as u32;
        let unfrozen_at = |height: u32| {
            let first_epoch = if self.settings.task.unfreeze { layers - height } else { 0 };
            (epoch >= first_epoch).then(|| first_epoch * self.steps_per_epoch())
        };
        let layer_lr_decay = self.settings.task.layer_lr_decay.0;
        Learning { layer_lr_decay, unfrozen_at: (0..=layers).map(unfrozen_at).collect() }
    }

    fn batches(&self, from: Cursor, micro_batches: usize) -> Result<Batches> {
        let Settings { batch, seed, .. } = self.settings;
        let (all, mut cursor) = (self.train.all.clone(), from);
        let mut order = epoch_order(seed, cursor.epoch, all.len());
        Ok(Box::new(move || {
            let Cursor { epoch, index } = cursor;
            let end = (index + batch).min(order.len());
            let micro_batches = divide(&all, &order[index..end], micro_batches)?;
            cursor = if end == order.len() {
                order = epoch_order(seed, epoch + 1, all.len());
                Cursor { epoch: epoch + 1, index: 0 }
            } else {
                Cursor { epoch, index: end }
            };
            Ok(StepBatch { micro_batches, epoch, next: cursor })
        }))
    }

    fn is_finished(&self, position: &Position) -> bool {
        let epochs_done = position.cursor.epoch;
        epochs_done >= self.epochs || self.patience_exhausted(epochs_done)
    }

    fn due(&self, position: &Position) -> Due {
        let end = Self::is_end_of_epoch(position);
        Due { evaluation: end, sample: false, checkpoint: end }
    }

    fn loss(&self, result: &StepResult) -> f64 {
        let lm_coef = self.lm_coef();
        result.task_loss + if lm_coef > 0.0 { lm_coef * result.loss } else { 0.0 }
    }

    fn step_line(&mut self, result: &StepResult, time: StepTime) -> Line {
        let StepResult { step, lr, grad_norm, task_loss, examples, .. } = *result;
        self.train_loss += f64::from(result.task_loss_sum);
        let StepTime { tokens_per_second, elapsed_s } = time;
        Line::TaskStep(TaskStepLine {
            step,
            epoch: (step - 1) / self.steps_per_epoch() + 1,
            loss: self.loss(result),
            task_loss,
            lm_loss: (self.lm_coef() > 0.0).then_some(result.loss),
            lr,
            grad_norm,
            tokens: result.tokens.into(),
            examples,
            tokens_per_second,
            elapsed_s,
            utilization: None,
            ranks: None,
        })
    }

    fn evaluate(&mut self, ranks: &mut Ranks, position: &Position) -> Result<Vec<Line>> {
        let Some(scores) = self.score(ranks.training(), |run| Some(&run.valid))? else { return Ok(Vec::new()) };
        let (epoch, step) = (position.cursor.epoch, position.step);
        let train_loss = self.train_loss / self.train.all.len() as f64;
        self.train_loss = 0.0;
        let value = scores::rank(&self.best_by()?, &scores.values);
        let now = Best { epoch, step, value, loss: scores.values.get("loss").copied() };
        if self.best.is_none_or(|best| now.is_better_than(&best)) {
            self.best = Some(now);
        }
        let line = EpochLine { epoch, step, train_loss, valid: prefixed("valid", &scores.values) };
        self.last_scores = Some(scores);
        Ok(vec![Line::Epoch(line)])
    }

    fn plot(&self, line: &Line, curve: &mut Curve) {
        match line {
            Line::TaskStep(line) => {
                curve.training.push((line.step, line.task_loss));
                curve.rate.push((line.step, line.lr));
            }
            Line::Epoch(line) => {
                curve.validation.extend(line.valid.get("valid_loss").map(|loss| (line.step, *loss)));
                let value = self.best_by().ok().and_then(|name| line.valid.get(&format!("valid_{name}")).copied());
                if let Some(measure) = &mut curve.measure {
                    measure.points.extend(value.map(|value| (line.step, value)));
                }
            }
            Line::Step(_) | Line::Evaluation(_) | Line::Test(_) => {}
        }
    }

    fn state(&self, position: Position) -> FineTuningState {
        let finished = position.step > 0 && self.is_finished(&position);
        let Position { step, updates, cursor, data, elapsed_ms, .. } = position;
        let (valid, test) = (Some(identity(&self.valid)), self.test.as_ref().map(identity));
        let (train_loss, best) = (self.train_loss, self.best);
        let (length, patience) = (Some(self.settings.length), Some(self.settings.task.patience));
        FineTuningState {
            step,
            updates,
            cursor,
            data,
            valid,
            test,
            elapsed_ms,
            train_loss,
            best,
            length,
            patience,
            finished,
        }
    }

    fn restore(&mut self, state: &FineTuningState, _lines: &[Line], _folder: &RunFolder) -> Result<()> {
        (self.train_loss, self.best) = (state.train_loss, state.best);
        Ok(())
    }

    fn best_step(&self) -> Option<u32> {
        self.best.map(|best| best.step)
    }

    /// Answers the validation and the test examples with the weights of the best epoch. Writes predictions.tsv, the answers
    /// to the test examples, or else to the validation examples, and baselines.json.
    fn finish(&mut self, training: &Training, folder: &RunFolder) -> Result<Vec<Line>> {
        let Some(best) = self.best else { return Ok(Vec::new()) };
        if best.step != training.progress().step {
            let Model { config, parameters, .. } = Model::load(folder.checkpoint_path(best.step))?;
            let capacity = self.evaluation_capacity();
            self.inference = Some(Inference::new(training.device(), &config, &parameters, capacity)?);
            self.last_scores = None;
        }
        self.valid_scores = match self.last_scores.take() {
            Some(scores) => Some(scores),
            None => self.score(training, |run| Some(&run.valid))?,
        };
        self.test_scores = self.score(training, |run| run.test.as_ref())?;
        folder.write(BASELINES, self.baselines_json().as_bytes())?;
        if let Some(scores) = self.test_scores.as_ref().or(self.valid_scores.as_ref()) {
            folder.write(PREDICTIONS, scores::predictions(self.task()?, &scores.answers).as_bytes())?;
        }
        let line =
            |scores: &Scores| Line::Test(TestLine { best_epoch: best.epoch, test: prefixed("test", &scores.values) });
        Ok(self.test_scores.iter().map(line).collect())
    }
}

/// The metrics of a part, with its name as a prefix: `valid_accuracy`.
fn prefixed(part: &str, values: &BTreeMap<&'static str, f64>) -> BTreeMap<String, f64> {
    values.iter().map(|(name, value)| (format!("{part}_{name}"), *value)).collect()
}

impl StoppedRun<FineTuning> {
    /// Reads the examples for the rest of the run; `None` when the run is complete.
    ///
    /// # Errors
    /// As [`FineTuning::resumed`] and [`StoppedRun::objective`].
    pub fn prepare(&self) -> Result<Option<FineTuning>> {
        self.objective(|stopped| {
            let (settings, checkpoint, dir) = stopped.parts();
            FineTuning::resumed(settings.clone(), checkpoint, dir)
        })
    }
}
