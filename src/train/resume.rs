//! A stopped run: opens and locks its folder, compares its latest checkpoint with the checksums, and applies the changed
//! settings. Everything is checked before an adapter is opened.

use super::objective::Objective;
use super::observer::Observer;
use super::run_folder::{CONFIG, RunFolder};
use super::saved_kernels::SavedKernels;
use super::settings::value::one_of;
use super::settings::{Layers, Length, Settings, Stage};
use super::state::RunState;
use crate::error::FileFault;
use crate::gpu::{Caps, Device};
use crate::model::{Capacity, Moments, Training, TrainingOptions};
use crate::ops::kernels::Kernels;
use crate::report::command::shell_word;
use crate::store::Model;
use crate::store::model_folder::{LATEST, load_config};
use crate::store::{checksums, optimizer};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The key of state.json with the settings that must not change.
pub(super) const SETTINGS: &str = "settings";

/// A stopped run, ready to continue. Nothing in its folder has been changed yet.
#[derive(Debug)]
pub struct StoppedRun<O: Objective> {
    pub(super) folder: RunFolder,
    /// The settings for the rest of the run.
    pub settings: Settings,
    pub(super) checkpoint: Model,
    moments: Moments,
    pub(super) state: O::State,
    pub(super) kernels: Option<SavedKernels>,
}

impl<O: Objective> StoppedRun<O> {
    /// Opens the run in `dir`: the checkpoint that its `latest` names, and its config.toml, overridden by `changes`.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is not a run's, is in use, or belongs to another kind of run, and for a damaged
    /// checkpoint, naming the undamaged ones; [`Error::Value`] for a change of a setting that may not change.
    pub fn open(dir: &Path, changes: Layers) -> Result<Self> {
        let mut folder = RunFolder::open(dir)?;
        let path = folder.latest()?;
        check_kind(dir, &path, O::STAGE)?;
        let mut layers = Layers::for_stage(O::STAGE);
        layers.file(dir.join(CONFIG))?;
        let before = layers.run_settings()?;
        let settings = layers.overridden_by(changes).run_settings()?;
        check_changes(&before, &settings, O::MAY_CHANGE)?;
        folder.set_keep(settings.keep);
        let (checkpoint, moments, state, settings_then) =
            load(&path).map_err(|error| with_undamaged(error, &folder, &path))?;
        check_edited(&dir.join(CONFIG), &before, settings_then, O::MAY_CHANGE)?;
        let kernels = folder.kernels()?;
        Ok(StoppedRun { folder, settings, checkpoint, moments, state, kernels })
    }

    /// The objective for the rest of the run; `None` when the run is complete and its settings do not make it longer.
    /// `make` reads the data with the settings and the checkpoint of this run.
    ///
    /// # Errors
    /// Those of `make`; [`Error::File`] when the training data differs from the run's, and for a run shorter than the steps
    /// that are done.
    pub fn objective(&self, make: impl FnOnce(&Self) -> Result<O>) -> Result<Option<O>> {
        if self.state.is_complete(&self.settings) {
            self.folder.remove_remains(self.step())?;
            return Ok(None);
        }
        let (objective, dir) = (make(self)?, self.folder.path());
        let (was, is, key) = (self.state.position().data, objective.identity(), O::DATA_KEY);
        if was != is {
            let how = match is.tokens == was.tokens {
                true => "as many tokens, but others or in another order".to_string(),
                false => format!("{} tokens instead of {}", is.tokens, was.tokens),
            };
            let found = format!("the training data differs from the run's ({how})");
            return Err(Error::file(dir, found).expected(format!("{key} must name the same data")));
        }
        objective.check_inputs(&self.state)?;
        let done = self.step();
        if objective.steps() < done {
            let length = match self.settings.length {
                Length::Steps(n) => format!("steps = {n}"),
                Length::Epochs(n) => format!("epochs = {n}"),
            };
            let found = format!("{done} steps are done, but {length}");
            return Err(Error::file(dir, found).expected("must be more to continue"));
        }
        Ok((objective.steps() > done).then_some(objective))
    }

    /// Warnings about the rest of the run.
    pub fn warnings(&self, objective: &O) -> Vec<String> {
        // An input that must not change was refused before.
        let mut all = objective.check_inputs(&self.state).unwrap_or_default();
        let is = objective.steps();
        if let Some(was) = self.state.planned_steps().filter(|was| *was != is) {
            let run = if is > was { "longer" } else { "shorter" };
            all.push(format!("{is} steps instead of {was}: from here on, the learning rate is that of the {run} run"));
        }
        all
    }

    /// The settings, the checkpoint and the folder, for reading the data again.
    pub fn parts(&self) -> (&Settings, &Model, &Path) {
        (&self.settings, &self.checkpoint, self.folder.path())
    }

    /// Steps done.
    pub fn step(&self) -> u32 {
        self.state.position().step
    }

    /// The checkpoint that the run continues from.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.checkpoint_path(self.step())
    }

    /// The model and the optimizer as they were on each device, with memory for batches of this capacity. Warnings go to the
    /// observer.
    ///
    /// # Errors
    /// As [`Training::new`].
    pub(super) fn models(
        &self,
        devices: &[Device],
        capacity: Capacity,
        options: TrainingOptions,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Training>> {
        let Model { config, parameters, .. } = &self.checkpoint;
        let (mut models, mut warnings) = (Vec::new(), Vec::new());
        for device in devices {
            let (kernels, warning) = self.kernels(device.caps());
            let mut training = Training::with_kernels(device, config, parameters, capacity, options, kernels)?;
            training.restore(self.state.position().progress(), &self.moments)?;
            let replaced = training.kernels().replaced();
            let replaced = (!replaced.is_empty()).then(|| {
                let shapes = replaced.join(", ");
                format!(
                    "kernels.json: this adapter cannot run the variants for {shapes}; others are used, and the last digits may differ"
                )
            });
            warnings.extend(warning.into_iter().chain(replaced));
            models.push(training);
        }
        // Devices on the same adapter have the same ones.
        warnings.dedup();
        warnings.iter().for_each(|warning| observer.warned(warning));
        Ok(models)
    }

    /// The kernel variants that the run was started with, if the adapter is the same; else a warning.
    fn kernels(&self, caps: &Caps) -> (Kernels, Option<String>) {
        let differ = "the last digits may differ from those of an uninterrupted run";
        let Some(saved) = self.kernels.clone() else {
            return (Kernels::new(), Some(format!("kernels.json is missing, so kernels are chosen again; {differ}")));
        };
        let Some(SavedKernels { driver, specs, .. }) = saved.for_adapter(caps).cloned() else {
            let SavedKernels { adapter, backend, .. } = saved;
            let (name, on) = (&caps.name, &caps.backend);
            let warning =
                format!("the run was started on {adapter} ({backend}) and continues on {name} ({on}); {differ}");
            return (Kernels::new(), Some(warning));
        };
        let warning =
            (driver != caps.driver).then(|| format!("the driver was {driver} and is {}; {differ}", caps.driver));
        (Kernels::with(specs), warning)
    }
}

/// Checks that the run's checkpoint belongs to this stage: only a fine-tuned model has a task.
fn check_kind(dir: &Path, checkpoint: &Path, expected: Stage) -> Result<()> {
    // A configuration that cannot be read is reported when the checkpoint is loaded.
    let Ok(config) = load_config(checkpoint) else { return Ok(()) };
    let (stage, found, command) = match config.task {
        Some(task) => (Stage::FineTuning, "is a fine-tuning run", format!("finetune {}", task.kind)),
        None => (Stage::Pretraining, "is a pretraining run", "pretrain".into()),
    };
    if stage == expected {
        Ok(())
    } else {
        Err(Error::file(dir, found).expected(format!("`wgpt {command} --resume {}` continues it", shell_word(dir))))
    }
}

fn load<S: RunState>(path: &Path) -> Result<(Model, Moments, S, Option<Value>)> {
    if !path.is_dir() {
        return Err(Error::file(path, format!("is not a folder, although {LATEST} names it")));
    }
    let missing = || Error::file(path.join(checksums::STATE), "is missing").with_fault(FileFault::Damaged);
    let mut keys = checksums::verify(path)?.ok_or_else(missing)?;
    let settings = keys.remove(SETTINGS);
    let state = S::from_keys(keys, path)?;
    let checkpoint = Model::read(path)?;
    let moments = optimizer::load(&path.join(optimizer::OPTIMIZER), &checkpoint.config)?;
    Ok((checkpoint, moments, state, settings))
}

/// The error of a damaged checkpoint, with the names of the undamaged ones.
fn with_undamaged(error: Error, folder: &RunFolder, damaged: &Path) -> Error {
    let Error::File(mut file) = error else { return error };
    let others = folder.steps().unwrap_or_default().into_iter().rev().map(|step| folder.checkpoint_path(step));
    let undamaged = others.filter(|path| path != damaged && matches!(checksums::verify(path), Ok(Some(_))));
    let names: Vec<_> = undamaged.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let latest = folder.path().join(LATEST);
    let advice = match names.as_slice() {
        [] => "the run has no undamaged checkpoint".to_string(),
        names => {
            format!(
                "undamaged: {}; write one of these names to {} to continue from it",
                names.join(", "),
                latest.display()
            )
        }
    };
    file.expected = Some(file.expected.map_or(advice.clone(), |expected| format!("{expected}; {advice}")));
    Error::File(file)
}

/// The settings that must not change when a run is resumed, by key, as in config.toml.
pub(super) fn pinned(settings: &Settings, may_change: &[&str]) -> Map<String, Value> {
    let keys = settings.stage.keys().filter(|key| !may_change.contains(&key.name));
    keys.filter_map(|key| Some((key.name.to_string(), (key.get)(settings)?.to_string().into()))).collect()
}

/// Checks that config.toml has not been edited since the checkpoint, whose state.json has the settings of then.
fn check_edited(config: &Path, now: &Settings, then: Option<Value>, may_change: &[&str]) -> Result<()> {
    let Some(Value::Object(then)) = then else { return Ok(()) };
    let now = pinned(now, may_change);
    match then.iter().find(|(key, was)| now.get(*key).is_some_and(|is| is != *was)) {
        None => Ok(()),
        Some((key, was)) => {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            let expected = format!(
                "the run has {key} = {}, and only {} may change when it is resumed; other changes need a new run",
                text(was),
                one_of(may_change).replace(" or ", " and ")
            );
            Err(Error::file(config, format!("{key} = {}", now.get(key).map(text).unwrap_or_default()))
                .expected(expected))
        }
    }
}

fn check_changes(before: &Settings, after: &Settings, may_change: &[&str]) -> Result<()> {
    for key in before.stage.keys().filter(|key| !may_change.contains(&key.name)) {
        let (was, is) = ((key.get)(before), (key.get)(after));
        if was != is {
            let was = was.map_or(format!("without {}", key.name), |value| format!("with {} = {value}", key.name));
            let may_change = one_of(may_change).replace(" or ", " and ");
            let expected = format!(
                "the run was started {was}; when a run is resumed only {may_change} may change, other changes need a new run"
            );
            return Err(match is {
                Some(is) => Error::value(key.name, is, expected),
                None => Error::missing(key.name, expected),
            });
        }
    }
    Ok(())
}
