//! A run that goes on: its folder opened and locked, its last checkpoint held against its seal, its settings with what may
//! change over them. All of it before an adapter is opened.

use crate::gpu::{Caps, Device};
use crate::model::{Capacity, Moments, Training, TrainingOptions};
use crate::ops::kernels::Kernels;
use crate::store::Model;
use crate::store::model_folder::LATEST;
use crate::store::token_cache::TokenCache;
use crate::store::{checksums, config_json, optimizer};
use crate::train::run_folder::{CONFIG, RunFolder, SavedKernels};
use crate::train::settings::Stage;
use crate::train::settings::{Layers, Settings};
use crate::train::state::{Identity, RunState, Stand, TaskState};
use crate::train::task::prepare::PreparedTask;
use crate::train::text::Observer;
use crate::train::text::prepare::Prepared;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The keys that a run may go on with another value of: they change how long it is and what is looked at and kept, and
/// where the text lies, which must be the same text. All others are the run's mathematics.
pub const MAY_CHANGE: [&str; 7] = ["data", "steps", "epochs", "eval_every", "checkpoint_every", "sample_every", "keep"];
/// The same of a run on a task, whose model and validation examples have had their say.
pub const OF_TASK_MAY_CHANGE: [&str; 4] = ["train", "test", "epochs", "patience"];

/// A run that was stopped, ready to go on; nothing in its folder has changed yet. `S` is what it remembers: that of a run on
/// text, or on a task.
#[derive(Debug)]
pub struct StoppedRun<S> {
    pub(super) folder: RunFolder,
    /// The settings it goes on with.
    pub settings: Settings,
    /// Those it was stopped with.
    before: Settings,
    pub(super) checkpoint: Model,
    pub(super) moments: Moments,
    pub(super) state: S,
    kernels: Option<SavedKernels>,
}

/// A run on text.
pub type Stopped = StoppedRun<RunState>;
/// A run on a task.
pub type StoppedTask = StoppedRun<TaskState>;

impl<S: Stand> StoppedRun<S> {
    /// Opens the run in `dir`: the checkpoint that its `latest` names, its config.toml with `changes` over it.
    ///
    /// # Errors
    /// [`Error::Value`] for a folder that is no run's or is in use, a change of what may not change, and a checkpoint
    /// that is damaged; then the error names those that are whole.
    pub fn open(dir: &Path, changes: Layers) -> Result<Self> {
        let mut folder = RunFolder::open(dir)?;
        let mut layers = Layers::of(S::STAGE);
        layers.file(dir.join(CONFIG))?;
        let (stage, command) = match layers.names("lm_coef") {
            true => (Stage::FineTuning, "is a run on a task: `wgpt finetune TASK --resume` goes on with it"),
            false => (Stage::Pretraining, "is a run on text: `wgpt pretrain --resume` goes on with it"),
        };
        if stage != S::STAGE {
            return Err(Error::file(dir, command));
        }
        let before = layers.settings_of_run()?;
        let settings = layers.over(changes).settings_of_run()?;
        check_changes(&before, &settings)?;
        folder.keep(settings.keep);
        let path = folder.latest()?;
        let (checkpoint, moments, state) = load(&path).map_err(|error| name_others(error, &folder, &path))?;
        let same = config_json::to_json(&checkpoint.config) == config_json::to_json(&settings.model);
        if S::STAGE == Stage::Pretraining && !same {
            let message = format!("the model is not that of {}: its numbers must stay", path.display());
            return Err(Error::file(dir.join(CONFIG), message));
        }
        let kernels = folder.kernels()?;
        Ok(StoppedRun { folder, settings, before, checkpoint, moments, state, kernels })
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.state.step()
    }

    /// The checkpoint that it goes on from.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.checkpoint_path(self.step())
    }

    /// The model in training as it stood, with room for such batches; what a user should hear goes to the observer.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub(in crate::train) fn training(
        &self,
        device: &Device,
        capacity: Capacity,
        options: TrainingOptions,
        observer: &mut dyn Observer,
    ) -> Result<Training> {
        let (kernels, warning) = self.kernels(device.caps());
        warning.into_iter().for_each(|warning| observer.warned(&warning));
        let Model { config, parameters, .. } = &self.checkpoint;
        let mut training = Training::with_kernels(device, config, parameters, capacity, options, kernels)?;
        training.restore(self.state.done(), &self.moments)?;
        let replaced = training.kernels().replaced();
        if !replaced.is_empty() {
            observer.warned(&format!(
                "kernels.json: this adapter cannot run the Spec of {}: another is taken, and the last digits may differ",
                replaced.join(", ")
            ));
        }
        Ok(training)
    }

    /// The Specs that it began with, where it is on the adapter that it began on; and what is to be said if not.
    fn kernels(&self, caps: &Caps) -> (Kernels, Option<String>) {
        let differ = "its numbers may differ in their last digits from those it would have had";
        let Some(saved) = self.kernels.clone() else {
            return (
                Kernels::new(),
                Some(format!("kernels.json is missing, so the kernels are chosen anew: {differ}")),
            );
        };
        let SavedKernels { adapter, backend, driver, specs } = saved;
        if (&adapter, &backend) != (&caps.name, &caps.backend) {
            let (name, on) = (&caps.name, &caps.backend);
            let warning = format!("the run began on {adapter} ({backend}) and goes on on {name} ({on}): {differ}");
            return (Kernels::new(), Some(warning));
        }
        let warning =
            (driver != caps.driver).then(|| format!("the driver was {driver} and is {}: {differ}", caps.driver));
        (Kernels::with(specs), warning)
    }
}

impl StoppedTask {
    /// Reads the examples for what is left to do; none when the run is finished.
    ///
    /// # Errors
    /// As [`PreparedTask::resumed`]; [`Error::Value`] when they are others, and for fewer epochs than are done.
    pub fn prepare(&self) -> Result<Option<PreparedTask>> {
        let dir = self.folder.path();
        let asks_more = |settings: &Settings| (settings.length, settings.task.patience);
        if self.state.finished && asks_more(&self.settings) == asks_more(&self.before) {
            return Ok(None);
        }
        let prepared = PreparedTask::resumed(self.settings.clone(), &self.checkpoint, dir)?;
        let (was, is) = (&self.state.data, prepared.identity());
        if *was != is {
            let message = "the examples of train are others than the run began with: give the same with --train";
            return Err(Error::input(format!("{}: {message}", dir.display())));
        }
        if prepared.steps < self.state.step {
            let (done, epochs) = (self.state.step, prepared.epochs);
            return Err(Error::input(format!(
                "{}: {done} updates are done: epochs = {epochs} must be more to go on",
                dir.display()
            )));
        }
        Ok((prepared.steps > self.state.step).then_some(prepared))
    }
}

impl Stopped {
    /// Reads the text, or its tokens in the cache, for what is left to do; none when the run is finished.
    ///
    /// # Errors
    /// As [`Prepared::with_cache`]; [`Error::Value`] when it is another text, and for fewer steps than are done.
    pub fn prepare(&self, cache: &TokenCache) -> Result<Option<Prepared>> {
        let (done, dir) = (self.state.step, self.folder.path());
        if done == self.state.steps && self.settings.length == self.before.length {
            return Ok(None);
        }
        let tokenizer = self.checkpoint.tokenizer.clone();
        let tokenizer = tokenizer.ok_or_else(|| Error::file(self.checkpoint_path(), "has no tokenizer.json"))?;
        let prepared = Prepared::with_cache(self.settings.clone(), Some(tokenizer), dir, cache)?;
        let (was, is) = (&self.state.data, Identity::of(&prepared));
        if *was != is {
            return Err(Error::input(format!(
                "{}: the data is another text than the run began with ({} tokens, it had {}): give the same with --data",
                dir.display(),
                is.tokens,
                was.tokens
            )));
        }
        if prepared.steps < done {
            return Err(Error::input(format!(
                "{}: {done} updates are done: steps = {} must be more to go on",
                dir.display(),
                prepared.steps
            )));
        }
        Ok((prepared.steps > done).then_some(prepared))
    }

    /// What a user should hear of the way that a prepared rest goes on.
    pub fn warnings(&self, prepared: &Prepared) -> Vec<String> {
        let (was, is) = (self.state.steps, prepared.steps);
        let run = if is > was { "longer" } else { "shorter" };
        let changed = format!("{is} updates instead of {was}: from here on the learning rate is that of the {run} run");
        if is == was { vec![] } else { vec![changed] }
    }
}

fn load<S: Stand>(path: &Path) -> Result<(Model, Moments, S)> {
    if !path.is_dir() {
        return Err(Error::file(path, format!("is no folder, and {LATEST} names it")));
    }
    let keys = checksums::verify(path)?.ok_or_else(|| Error::file(path.join(checksums::STATE), "is missing"))?;
    let state = S::from_keys(keys, path)?;
    let checkpoint = Model::read(path)?;
    let moments = optimizer::load(&path.join(optimizer::OPTIMIZER), &checkpoint.config)?;
    Ok((checkpoint, moments, state))
}

/// The error of a checkpoint that is damaged, with the ones that are not.
fn name_others(error: Error, folder: &RunFolder, damaged: &Path) -> Error {
    if !error.is_invalid_input() {
        return error;
    }
    let message = error.to_string();
    let others = folder.steps().unwrap_or_default().into_iter().rev().map(|step| folder.checkpoint_path(step));
    let whole = others.filter(|path| path != damaged && matches!(checksums::verify(path), Ok(Some(_))));
    let names: Vec<_> = whole.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let latest = folder.path().join(LATEST);
    Error::input(match names.as_slice() {
        [] => format!("{message}; no other checkpoint of the run is whole"),
        names => format!(
            "{message}; whole are {}: write one of these names into {} to go on from it",
            names.join(", "),
            latest.display()
        ),
    })
}

fn check_changes(before: &Settings, after: &Settings) -> Result<()> {
    let may: &[&str] = if before.stage == Stage::Pretraining { &MAY_CHANGE } else { &OF_TASK_MAY_CHANGE };
    for key in before.stage.keys().filter(|key| !may.contains(&key.name)) {
        let (was, is) = ((key.get)(before), (key.get)(after));
        if was != is {
            let spell = |value: Option<toml::Value>| {
                value.map_or(format!("no {}", key.name), |v| format!("{} = {v}", key.name))
            };
            return Err(Error::input(format!(
                "{}: the run began with {}, and --resume goes on with that; only {} may change, all else wants a new run",
                spell(is),
                spell(was),
                crate::train::settings::value::one_of(may).replace(" or ", " and ")
            )));
        }
    }
    Ok(())
}
