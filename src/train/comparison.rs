//! Runs side by side: what each has reached, and the settings in which they differ. Reads the files of their folders, also while
//! they are trained.

use super::metrics::{self, EpochLine, EvaluationLine, Line};
use super::run_folder::{CONFIG, METRICS, step_of};
use super::settings::{Layers, Settings, Stage};
use crate::store::checksums::STATE;
use crate::store::model_folder::{LATEST, TOKENIZER, load_config, resolve};
use crate::store::sha256;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A run as its folder has it.
#[derive(Clone, Debug)]
pub struct SavedRun {
    /// Its folder.
    pub path: PathBuf,
    /// Its settings, from config.toml.
    pub settings: Settings,
    /// Its stage.
    pub stage: Stage,
    /// The complete lines of its metrics.jsonl.
    pub lines: Vec<Line>,
    /// SHA-256 of its tokenizer; `None` where its checkpoint has none.
    tokenizer: Option<String>,
    /// What identifies the text or the examples of its evaluations.
    evaluated: Option<String>,
    /// The step of its best epoch, in fine-tuning.
    best: Option<u32>,
}

impl SavedRun {
    /// Reads the folder of a run.
    ///
    /// # Errors
    /// [`Error::File`] when it is not a run's folder, or one of its files cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::file(path, "is not a folder").expected("must be the folder of a run"));
        }
        if let Some(missing) = [CONFIG, METRICS, LATEST].into_iter().find(|name| !path.join(name).is_file()) {
            let error = Error::file(path, format!("{missing} is missing"));
            return Err(error.expected("must be the folder of a run"));
        }
        let checkpoint = resolve(path)?;
        let stage = match load_config(&checkpoint)?.task {
            Some(_) => Stage::FineTuning,
            None => Stage::Pretraining,
        };
        let mut layers = Layers::for_stage(stage);
        layers.file(path.join(CONFIG))?;
        let settings = layers.run_settings()?;
        let lines = metrics::read_complete_lines(path.join(METRICS))?;
        let tokenizer = sha256::of_file(&checkpoint.join(TOKENIZER)).ok();
        let (evaluated, best) = match stage {
            Stage::Pretraining => {
                (identity(&checkpoint, "data").map(|data| format!("{data}, {}", settings.valid)), None)
            }
            Stage::FineTuning => {
                (identity(&checkpoint, "valid"), checkpoint.file_name().and_then(|name| step_of(name.to_str()?)))
            }
        };
        Ok(SavedRun { path: path.to_path_buf(), settings, stage, lines, tokenizer, evaluated, best })
    }

    /// Steps done.
    pub fn steps(&self) -> u32 {
        self.steps_done().map(|step| step.step).max().unwrap_or(0)
    }

    /// Tokens trained on: targets in pretraining, input tokens in fine-tuning.
    pub fn tokens(&self) -> u64 {
        self.steps_done().map(|step| step.tokens).sum()
    }

    /// Seconds that the run has taken.
    pub fn seconds(&self) -> f64 {
        self.steps_done().map(|step| step.seconds).fold(0.0, f64::max)
    }

    /// The median of the steps' tokens per second; `None` before the first step.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.steps_done().map(|step| step.tokens_per_second).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    /// The steps, in order.
    pub fn steps_done(&self) -> impl Iterator<Item = Step> {
        let mut tokens_before = 0;
        self.lines.iter().filter_map(move |line| {
            let mut step = match line {
                Line::Step(line) => Step {
                    step: line.step,
                    loss: f64::from(line.loss),
                    tokens: line.tokens,
                    tokens_before: 0,
                    seconds: line.elapsed_s,
                    tokens_per_second: line.tokens_per_second,
                },
                Line::TaskStep(line) => Step {
                    step: line.step,
                    loss: line.task_loss,
                    tokens: line.tokens,
                    tokens_before: 0,
                    seconds: line.elapsed_s,
                    tokens_per_second: line.tokens_per_second,
                },
                _ => return None,
            };
            step.tokens_before = tokens_before;
            tokens_before += step.tokens;
            Some(step)
        })
    }

    /// The evaluations on the held-out text, in order.
    pub fn evaluations(&self) -> impl Iterator<Item = &EvaluationLine> {
        self.lines.iter().filter_map(|line| match line {
            Line::Evaluation(line) => Some(line),
            _ => None,
        })
    }

    /// The epochs of fine-tuning, in order.
    pub fn epochs(&self) -> impl Iterator<Item = &EpochLine> {
        self.lines.iter().filter_map(|line| match line {
            Line::Epoch(line) => Some(line),
            _ => None,
        })
    }

    /// The epoch whose checkpoint is the run's `best`; `None` in pretraining.
    pub fn best_epoch(&self) -> Option<&EpochLine> {
        self.epochs().find(|line| Some(line.step) == self.best)
    }

    /// The metrics of the test examples by name, such as `test_accuracy`.
    pub fn test(&self) -> Option<&BTreeMap<String, f64>> {
        self.lines.iter().find_map(|line| match line {
            Line::Test(line) => Some(&line.test),
            _ => None,
        })
    }
}

/// A training step of either stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps done, this one included.
    pub step: u32,
    /// Loss: nats per token in pretraining, the task's loss in fine-tuning.
    pub loss: f64,
    /// Tokens of the step.
    pub tokens: u64,
    /// Tokens of all steps before.
    pub tokens_before: u64,
    /// Seconds since the run started.
    pub seconds: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
}

impl Step {
    /// Tokens of all steps so far, this one included.
    pub fn tokens_done(&self) -> u64 {
        self.tokens_before + self.tokens
    }
}

/// Why the losses of runs are not comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomparable {
    /// A token of one is another part of a text than a token of the other.
    Tokenizers,
    /// They are not over the same text or examples.
    Data,
}

/// Whether and why the losses of some runs are not comparable.
pub fn incomparable(runs: &[SavedRun]) -> Option<Incomparable> {
    let differ = |of: fn(&SavedRun) -> &Option<String>| runs.iter().any(|run| of(run) != of(&runs[0]));
    if differ(|run| &run.tokenizer) {
        Some(Incomparable::Tokenizers)
    } else if differ(|run| &run.evaluated) {
        Some(Incomparable::Data)
    } else {
        None
    }
}

/// The settings in which runs of one stage differ: the key, and its value in each run, empty where config.toml leaves it out.
pub fn differences(runs: &[SavedRun]) -> Vec<(&'static str, Vec<String>)> {
    let Some(first) = runs.first() else { return Vec::new() };
    let of_key = |key: &super::settings::key::Key| {
        let values = runs.iter().map(|run| (key.get)(&run.settings).map_or(String::new(), |value| value.to_string()));
        (key.name, values.collect::<Vec<String>>())
    };
    let differ = |(_, values): &(&str, Vec<String>)| values.iter().any(|value| *value != values[0]);
    first.stage.keys().map(of_key).filter(differ).collect()
}

/// A checksum of data in a checkpoint's state.json. The files are not verified: their contents are not used.
fn identity(checkpoint: &Path, key: &str) -> Option<String> {
    let text = std::fs::read(checkpoint.join(STATE)).ok()?;
    let state: Value = serde_json::from_slice(&text).ok()?;
    state.get(key).map(ToString::to_string)
}
