//! What a run trains for: its data, its losses and its measurements. The engine does everything else.

use super::metrics::Line;
use super::observer::Description;
use super::prefetch::ReadyBatch;
use super::run_folder::RunFolder;
use super::settings::{Settings, Stage};
use super::state::{Identity, Position, RunState};
use crate::Result;
use crate::config::ModelConfig;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Capacity, Learning, StepResult, Training};
use crate::ops::layout::LayoutCapacity;
use crate::report::Curve;
use std::path::Path;

/// Makes the batches of a run one after another, on a thread of its own.
pub type Batches = Box<dyn FnMut() -> Result<ReadyBatch> + Send>;

/// What is due after an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// An evaluation.
    pub evaluation: bool,
    /// A sample.
    pub sample: bool,
    /// A checkpoint.
    pub checkpoint: bool,
}

/// The time of an update whose results have arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// Tokens per second over the last updates.
    pub tokens_per_second: f64,
    /// Seconds since the run started, pauses between processes left out.
    pub elapsed_s: f64,
}

/// A training objective, with its data read and checked: all of a run that needs no device.
pub trait Objective: Sized {
    /// What state.json of a checkpoint holds.
    type State: RunState;
    /// Which settings a run of this kind has.
    const STAGE: Stage;
    /// The keys that may change when a run is resumed. All others are the run's mathematics.
    const MAY_CHANGE: &'static [&'static str];
    /// The key that names the training data.
    const DATA_KEY: &'static str;
    /// Whether the run writes samples.txt.
    const WRITES_SAMPLES: bool = false;

    /// The settings.
    fn settings(&self) -> &Settings;
    /// The model's configuration.
    fn model(&self) -> &ModelConfig;
    /// The tokenizer that every checkpoint holds.
    fn tokenizer(&self) -> Option<&Tokenizer>;
    /// Where the run's folder is, or will appear.
    fn out(&self) -> &Path;
    /// Other files of the run's folder: name and contents.
    fn files(&self) -> &[(String, Vec<u8>)] {
        &[]
    }
    /// The run in words, for people.
    fn description(&self) -> Description;
    /// The picture before its first point.
    fn curve(&self) -> Curve;
    /// What the training data is recognized by when the run is resumed.
    fn identity(&self) -> Identity;
    /// Updates of the run.
    fn steps(&self) -> u32;
    /// The largest micro-batch, and whatever else a device must have memory for.
    ///
    /// # Errors
    /// As the data is assembled.
    fn capacity(&self) -> Result<Capacity>;
    /// The first weights, dense, in the order of [`ModelConfig::parameters`]; they are taken once.
    fn take_parameters(&mut self) -> Vec<Vec<f32>>;
    /// λ: the weight of the language model's loss.
    fn lm_coef(&self) -> f64 {
        1.0
    }
    /// What learns in an epoch, counted from 0.
    fn learning(&self, _epoch: u32) -> Learning {
        Learning::all(self.model())
    }
    /// The batches from a cursor on, laid out for a device's capacity.
    ///
    /// # Errors
    /// For a cursor past the data.
    fn batches(&self, from: Cursor, capacity: LayoutCapacity) -> Result<Batches>;

    /// Whether the run is complete.
    fn is_finished(&self, position: &Position) -> bool {
        position.step >= self.steps()
    }
    /// What is due at a position; at step 0 only the evaluation counts.
    fn due(&self, position: &Position) -> Due;
    /// The loss that is minimized, a mean in nats.
    fn loss(&self, result: &StepResult) -> f64 {
        result.loss
    }
    /// The line of metrics.jsonl for an update.
    fn step_line(&mut self, result: &StepResult, time: StepTime) -> Line;
    /// Evaluates the model as it is. The lines go to metrics.jsonl.
    ///
    /// # Errors
    /// [`crate::Error::NotFinite`], [`crate::Error::Device`].
    fn evaluate(&mut self, training: &mut Training, position: &Position) -> Result<Vec<Line>>;
    /// A text that the model generates.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    fn sample(&mut self, _training: &Training) -> Result<Option<String>> {
        Ok(None)
    }
    /// Adds a line of metrics.jsonl to the picture.
    fn plot(&self, line: &Line, curve: &mut Curve);

    /// What state.json holds at a position.
    fn state(&self, position: Position) -> Self::State;
    /// Takes over the state of a checkpoint and the lines of metrics.jsonl up to it.
    ///
    /// # Errors
    /// [`crate::Error::File`] when a line that the run needs is missing.
    fn restore(&mut self, state: &Self::State, lines: &[Line], folder: &RunFolder) -> Result<()>;
    /// The step of the best checkpoint so far.
    fn best_step(&self) -> Option<u32> {
        None
    }
    /// Work after the last update, such as the answers of the best checkpoint. The lines go to metrics.jsonl.
    ///
    /// # Errors
    /// As [`Objective::evaluate`], and for a checkpoint that cannot be read.
    fn finish(&mut self, _training: &Training, _folder: &RunFolder) -> Result<Vec<Line>> {
        Ok(Vec::new())
    }
}
