//! The objective of a run: its data, its losses and its evaluations. The engine does everything else.

use super::metrics::Line;
use super::observer::Description;
use super::ranks::Ranks;
use super::run_folder::RunFolder;
use super::run_path::RunPath;
use super::settings::{Settings, Stage};
use super::state::{Identity, Position, RunState};
use crate::Result;
use crate::config::ModelConfig;
use crate::data::batch::Batch;
use crate::data::data_loader::Cursor;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Capacity, Learning, StepResult, Training};
use crate::report::Curve;

/// Makes the batches of a run one after another, on its own thread.
pub type Batches = Box<dyn FnMut() -> Result<StepBatch> + Send>;

/// The batch of one step.
pub struct StepBatch {
    /// It, divided into micro-batches. Their losses are means over the targets and examples of all of them.
    pub micro_batches: Vec<Batch>,
    /// The epoch of its data, counted from 0.
    pub epoch: u32,
    /// The cursor behind its data, which a checkpoint after this step stores.
    pub next: Cursor,
}

/// Which work is due after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// An evaluation.
    pub evaluation: bool,
    /// A sample.
    pub sample: bool,
    /// A checkpoint.
    pub checkpoint: bool,
}

/// The time of a step whose results have arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// Tokens per second over the last steps.
    pub tokens_per_second: f64,
    /// Seconds since the run started, pauses between processes left out.
    pub elapsed_s: f64,
}

/// A training objective with its data, read and checked: everything of a run that needs no device.
pub trait Objective: Sized {
    /// The contents of a checkpoint's state.json.
    type State: RunState;
    /// The stage, which determines the keys that a run has.
    const STAGE: Stage;
    /// The keys that may change when a run is resumed. All others influence the numbers of the steps that are done.
    const MAY_CHANGE: &'static [&'static str];
    /// The key that names the training data.
    const DATA_KEY: &'static str;
    /// Whether the run writes samples.txt.
    const WRITES_SAMPLES: bool = false;

    /// The settings.
    fn settings(&self) -> &Settings;
    /// The settings, for the keys that the engine chooses before the run starts: `accumulate`, `recompute` and `ranks`.
    fn settings_mut(&mut self) -> &mut Settings;
    /// Sets the batch that was measured: the key `batch`, and the steps that follow from it.
    ///
    /// # Errors
    /// Those of assembling the data.
    fn set_batch(&mut self, sequences: usize) -> Result<()> {
        let settings = self.settings_mut();
        (settings.batch, settings.measures_batch) = (sequences, false);
        Ok(())
    }
    /// The model's configuration.
    fn model(&self) -> &ModelConfig;
    /// The tokenizer that every checkpoint holds.
    fn tokenizer(&self) -> Option<&Tokenizer>;
    /// The path of the run's folder, which appears with the first checkpoint.
    fn out(&self) -> &RunPath;
    /// Other files of the run's folder: name and contents.
    fn files(&self) -> &[(String, Vec<u8>)] {
        &[]
    }
    /// The description of the run that observers show.
    fn description(&self) -> Description;
    /// The curve before its first point.
    fn curve(&self) -> Curve;
    /// The checksum by which a resumed run recognizes its training data.
    fn identity(&self) -> Identity;
    /// Compares the other inputs of a resumed run with those that its state has the checksums of. Returns warnings.
    ///
    /// # Errors
    /// [`crate::Error::File`] naming an input that must not change.
    fn check_inputs(&self, _state: &Self::State) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    /// Steps of the run.
    fn steps(&self) -> u32;
    /// The capacity that a device must have memory for where the batch of a step is divided into so many micro-batches: at
    /// least the largest of them.
    ///
    /// # Errors
    /// Those of assembling the data.
    fn capacity(&self, micro_batches: usize) -> Result<Capacity>;
    /// The initial weights, dense, in the order of [`ModelConfig::parameters`]. Called once.
    fn take_parameters(&mut self) -> Vec<Vec<f32>>;
    /// λ: the weight of the language model's loss.
    fn lm_coef(&self) -> f64 {
        1.0
    }
    /// The trainable parts of the model in an epoch, counted from 0.
    fn learning(&self, _epoch: u32) -> Learning {
        Learning::all(self.model())
    }
    /// The batches that start at a cursor, each divided into so many micro-batches, or fewer where the batch is small.
    ///
    /// # Errors
    /// [`crate::Error`] for a cursor past the end of the data.
    fn batches(&self, from: Cursor, micro_batches: usize) -> Result<Batches>;

    /// Whether the run is complete.
    fn is_finished(&self, position: &Position) -> bool {
        position.step >= self.steps()
    }
    /// The work that is due at a position. At step 0 only the evaluation is read.
    fn due(&self, position: &Position) -> Due;
    /// The loss that is minimized, a mean in nats.
    fn loss(&self, result: &StepResult) -> f64 {
        result.loss
    }
    /// The line of metrics.jsonl for a step.
    fn step_line(&mut self, result: &StepResult, time: StepTime) -> Line;
    /// Evaluates the model in its current state. The lines are written to metrics.jsonl.
    ///
    /// # Errors
    /// [`crate::Error::NotFinite`], [`crate::Error::Device`].
    fn evaluate(&mut self, ranks: &mut Ranks, position: &Position) -> Result<Vec<Line>>;
    /// A text that the model generates, for samples.txt.
    ///
    /// # Errors
    /// [`crate::Error::Device`].
    fn sample(&mut self, _training: &Training) -> Result<Option<String>> {
        Ok(None)
    }
    /// Adds a line of metrics.jsonl to the curve.
    fn plot(&self, line: &Line, curve: &mut Curve);

    /// The contents of state.json at a position.
    fn state(&self, position: Position) -> Self::State;
    /// Restores the state of a checkpoint, with the lines of metrics.jsonl up to it.
    ///
    /// # Errors
    /// [`crate::Error::File`] when a line that the run needs is missing.
    fn restore(&mut self, state: &Self::State, lines: &[Line], folder: &RunFolder) -> Result<()>;
    /// The step of the best checkpoint so far.
    fn best_step(&self) -> Option<u32> {
        None
    }
    /// Work after the last step, such as evaluating the best checkpoint. The lines are written to metrics.jsonl.
    ///
    /// # Errors
    /// As [`Objective::evaluate`], and for a checkpoint that cannot be read.
    fn finish(&mut self, _training: &Training, _folder: &RunFolder) -> Result<Vec<Line>> {
        Ok(Vec::new())
    }
}
