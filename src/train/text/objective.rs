//! The objective of pretraining: the language model's loss on windows of a text.

use super::evaluate::{Evaluation, Losses};
use super::prepare::{Pretraining, capacity};
use crate::config::ModelConfig;
use crate::data::corpus::Corpus;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::error::NotFinite;
use crate::model::{Capacity, StepResult, Training, initial_parameters};
use crate::ops::layout::LayoutCapacity;
use crate::report::{Curve, Reference};
use crate::store::token_cache::TokenCache;
use crate::store::{config_json, sha256};
use crate::train::metrics::{EvaluationLine, Line, StepLine};
use crate::train::objective::{Batches, Due, Objective, StepBatch, StepTime};
use crate::train::observer::Description;
use crate::train::ranks::Ranks;
use crate::train::resume::StoppedRun;
use crate::train::run_folder::{CONFIG, METRICS, RunFolder};
use crate::train::run_path::RunPath;
use crate::train::sample::{Sampling, SamplingLimits, sample};
use crate::train::settings::{Length, Settings, Stage};
use crate::train::state::{Identity, Position, RunState};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Length of a sample in samples.txt, in tokens, the prompt included.
const SAMPLE_TOKENS: usize = 128;
const SAMPLE_TEMPERATURE: f64 = 0.8;

/// state.json of a pretraining run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainingState {
    /// Steps done.
    pub step: u32,
    /// Updates of the weights, the t of AdamW.
    pub updates: u32,
    /// Steps of the whole run, as planned when the checkpoint was saved.
    pub steps: u32,
    /// The number of steps or epochs of the whole run, as set when the checkpoint was saved; `None` in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<Length>,
    /// The windows consumed so far.
    pub cursor: Cursor,
    /// The checksum of the text.
    pub data: Identity,
    /// Time that the run has taken, in milliseconds.
    pub elapsed_ms: u64,
    /// Length of samples.txt, in bytes.
    pub sampled: u64,
}

impl RunState for PretrainingState {
    fn position(&self) -> Position {
        let PretrainingState { step, updates, cursor, data, elapsed_ms, sampled, .. } = self.clone();
        Position { step, updates, cursor, data, elapsed_ms, sampled }
    }

    fn is_complete(&self, settings: &Settings) -> bool {
        self.step == self.steps && self.length.is_none_or(|length| length == settings.length)
    }

    fn planned_steps(&self) -> Option<u32> {
        Some(self.steps)
    }
}

impl Objective for Pretraining {
    type State = PretrainingState;
    const STAGE: Stage = Stage::Pretraining;
    /// They change the length of the run, its evaluations and files, and the path of its text, which must be the same text.
    const MAY_CHANGE: &'static [&'static str] = &[
        "data",
        "steps",
        "epochs",
        "ranks",
        "recompute",
        "self_test",
        "eval_every",
        "checkpoint_every",
        "sample_every",
        "keep",
        "tensorboard",
    ];
    const DATA_KEY: &'static str = "data";
    const WRITES_SAMPLES: bool = true;

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    fn set_batch(&mut self, sequences: usize) -> Result<()> {
        self.set_sequences(sequences)
    }

    fn model(&self) -> &ModelConfig {
        &self.settings.model
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(&self.tokenizer)
    }

    fn out(&self) -> &RunPath {
        &self.out
    }

    fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    fn description(&self) -> Description {
        Description {
            title: self.title(),
            parameters: self.settings.model.parameter_count(),
            unit: "tokens",
            training: self.training.tokens().len(),
            validation: self.held_out.tokens().len(),
            steps: self.steps,
            batch: self.tokens_per_step(),
            batch_is_exact: self.training.is_stream(),
        }
    }

    fn curve(&self) -> Curve {
        let model = &self.settings.model;
        Curve {
            title: self.title(),
            subtitle: format!("{} · V {}", model.size_text(), model.vocab_size),
            steps: self.steps,
            references: vec![Reference { label: "bigram".into(), value: self.baseline.bigram }],
            ..Curve::default()
        }
    }

    fn identity(&self) -> Identity {
        let parts = [&self.training, &self.held_out];
        // The ids in order, and the length of each document.
        let lengths = |corpus: &Corpus| -> Vec<u64> { corpus.iter().map(|ids| ids.len() as u64).collect() };
        let lengths = parts.map(lengths);
        let bytes = parts
            .iter()
            .zip(&lengths)
            .flat_map(|(corpus, lengths)| [bytemuck::cast_slice(lengths), bytemuck::cast_slice(corpus.tokens())]);
        Identity { tokens: lengths.iter().flatten().sum(), sha256: sha256::of(bytes) }
    }

    fn steps(&self) -> u32 {
        self.steps
    }

    fn capacity(&self, micro_batches: usize) -> Result<Capacity> {
        match self.planned {
            (planned, capacity) if planned == micro_batches => Ok(capacity),
            _ => capacity(&self.settings, &self.data_loader_of(micro_batches)?, self.steps),
        }
    }

    fn take_parameters(&mut self) -> Vec<Vec<f32>> {
        self.weights.take().unwrap_or_else(|| initial_parameters(&self.settings.model, self.settings.seed))
    }

    fn batches(&self, from: Cursor, micro_batches: usize) -> Result<Batches> {
        let mut loader = self.data_loader_of(micro_batches)?;
        loader.seek(from)?;
        Ok(Box::new(move || {
            let epoch = loader.cursor().epoch;
            let batch = loader.next_batch()?;
            let next = loader.cursor();
            Ok(StepBatch { micro_batches: loader.micro_batches(batch), epoch, next })
        }))
    }

    fn due(&self, position: &Position) -> Due {
        let last = self.is_finished(position);
        let due = |every: u32| last || (every > 0 && position.step.is_multiple_of(every));
        let Settings { eval_every, sample_every, checkpoint_every, .. } = self.settings;
        Due { evaluation: due(eval_every), sample: due(sample_every), checkpoint: due(checkpoint_every) }
    }

    fn step_line(&mut self, result: &StepResult, time: StepTime) -> Line {
        let StepResult { step, lr, grad_norm, .. } = *result;
        let (loss, tokens) = (result.loss as f32, u64::from(result.tokens));
        let StepTime { tokens_per_second, elapsed_s } = time;
        Line::Step(StepLine {
            step,
            loss,
            lr,
            grad_norm,
            tokens,
            tokens_per_second,
            elapsed_s,
            utilization: None,
            ranks: None,
        })
    }

    fn evaluate(&mut self, ranks: &mut Ranks, position: &Position) -> Result<Vec<Line>> {
        let (mut losses, step) = (Losses::default(), position.step);
        let LayoutCapacity { rows, sequences, .. } = ranks.training().batch_capacity();
        ranks.evaluate(self.evaluation_batches(Capacity { rows, sequences }), |batch, row_losses| {
            losses.add(batch, row_losses, |_, _| Ok(())).map_err(|error| match error {
                Error::NotFinite(number) => {
                    let place = number.place.map(|place| format!("held-out text: {place}"));
                    Error::NotFinite(NotFinite { step: Some(step), place, ..number })
                }
                error => error,
            })
        })?;
        let Evaluation { loss, perplexity, bits_per_byte, .. } = losses.evaluation(self.held_out_bytes);
        let valid_bits_per_byte = bits_per_byte.filter(|_| self.held_out_is_known);
        let line = EvaluationLine { step, valid_loss: loss, valid_perplexity: perplexity, valid_bits_per_byte };
        self.evaluation = Some(line);
        Ok(vec![Line::Evaluation(line)])
    }

    fn sample(&mut self, training: &Training) -> Result<Option<String>> {
        let Pretraining { settings, tokenizer, held_out, .. } = self;
        // The prompt is a line break, or the tokenizer's substitute for one.
        let mut prompt = tokenizer.encode("\n")?;
        if prompt.is_empty() {
            prompt.extend(held_out.tokens().first());
        }
        prompt.truncate(1);
        let positions = settings.model.n_positions.min(SAMPLE_TOKENS);
        let limits = SamplingLimits { max_length: positions, vocab_size: tokenizer.vocab_size() };
        let sampling = Sampling { temperature: SAMPLE_TEMPERATURE, seed: settings.seed, ..Sampling::default() };
        let ids = sample(training, &prompt, limits, sampling)?;
        Ok(Some(tokenizer.decode(&ids)?))
    }

    fn plot(&self, line: &Line, curve: &mut Curve) {
        match line {
            Line::Step(line) => {
                curve.training.push((line.step, f64::from(line.loss)));
                curve.rate.push((line.step, line.lr));
            }
            Line::Evaluation(line) => curve.validation.push((line.step, line.valid_loss)),
            Line::TaskStep(_) | Line::Epoch(_) | Line::Test(_) => {}
        }
    }

    fn state(&self, position: Position) -> PretrainingState {
        let Position { step, updates, cursor, data, elapsed_ms, sampled } = position;
        let length = Some(self.settings.length);
        PretrainingState { step, updates, steps: self.steps, length, cursor, data, elapsed_ms, sampled }
    }

    fn restore(&mut self, _state: &PretrainingState, lines: &[Line], folder: &RunFolder) -> Result<()> {
        let evaluation = lines.iter().rev().find_map(|line| match line {
            Line::Evaluation(line) => Some(*line),
            _ => None,
        });
        let missing = || {
            let found = "has no evaluation";
            Error::file(folder.path().join(METRICS), found).expected("must have at least that of step 0")
        };
        self.evaluation = Some(evaluation.ok_or_else(missing)?);
        Ok(())
    }
}

impl StoppedRun<Pretraining> {
    /// Reads the text, or its tokens from the cache, for the rest of the run; `None` when the run is complete.
    ///
    /// # Errors
    /// As [`Pretraining::read`] and [`StoppedRun::objective`].
    pub fn prepare(&self, cache: &TokenCache) -> Result<Option<Pretraining>> {
        self.objective(|stopped| {
            let (settings, checkpoint, dir) = stopped.parts();
            let path = stopped.checkpoint_path();
            if config_json::to_json(&checkpoint.config) != config_json::to_json(&settings.model) {
                let found = format!("the model differs from that of {}", path.display());
                return Err(Error::file(dir.join(CONFIG), found).expected("the configuration must not change"));
            }
            let tokenizer = checkpoint.tokenizer.clone();
            let tokenizer = tokenizer.ok_or_else(|| Error::file(&path, "has no tokenizer.json"))?;
            Pretraining::read(settings.clone(), Some(tokenizer), dir, cache)
        })
    }
}
