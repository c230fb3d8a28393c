//! The folder of a run (docs/spec.md section 6). It appears completely, together with its first checkpoint: every folder that
//! exists can be resumed, and invalid input leaves no folder. The process that trains the run holds a lock on it.

use super::metrics::{self, Line, Metrics};
use super::run_path::RunPath;
use super::saved_kernels::{KERNELS, SavedKernels};
use super::settings::Settings;
use crate::data::read_file::read_text_bytes;
use crate::error::FileFault;
use crate::report::{Curve, curve_svg};
use crate::store::atomic::{
    Existing, remove_folder, remove_leftovers, remove_partial, write_atomic, write_folder, write_reserved,
};
use crate::store::checksums;
use crate::store::lock::{self, Lock};
use crate::store::model_folder::{BEST, CHECKPOINTS, LATEST, MODEL, read_pointer};
use crate::store::sync::{self, sync_file};
use crate::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// All settings of the run. `--config` starts the same run again.
pub const CONFIG: &str = "config.toml";
/// One line per step and one per evaluation.
pub const METRICS: &str = "metrics.jsonl";
/// Texts that the model generated during the run.
pub const SAMPLES: &str = "samples.txt";
/// The curve of losses and learning rate.
pub const CURVE: &str = "loss.svg";
/// The best epoch's answers at the end of a fine-tuning run.
pub const PREDICTIONS: &str = "predictions.tsv";
/// What simple methods reach on the validation and the test examples of fine-tuning.
pub const BASELINES: &str = "baselines.json";
/// Locked by the process that trains the run.
pub const LOCK: &str = "lock";

/// The files that are replaced while a run is trained.
const REPLACED: [&str; 8] = [CONFIG, METRICS, CURVE, KERNELS, PREDICTIONS, BASELINES, LATEST, BEST];

/// The contents of a new folder besides its first checkpoint.
pub struct NewRun<'a> {
    /// The settings of the run.
    pub settings: &'a Settings,
    /// The first lines of metrics.jsonl: the evaluation before the first step, if there is one.
    pub lines: &'a [Line],
    /// Whether the run writes samples.txt.
    pub samples: bool,
    /// The curve before the first step.
    pub curve: &'a Curve,
    /// The kernel variants in use.
    pub kernels: &'a SavedKernels,
    /// Other files: name and contents.
    pub files: &'a [(String, Vec<u8>)],
}

/// An existing run's folder, locked by this process.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    keep: usize,
    /// Held but not read: dropping the file releases the lock.
    _lock: File,
    /// Warnings that the user has not seen yet.
    warnings: Mutex<Vec<String>>,
    /// Whether a checkpoint could not be deleted.
    undeleted: AtomicBool,
}

impl RunFolder {
    /// Creates the folder with its first checkpoint, step 0, whose files `checkpoint` writes into the folder it gets.
    ///
    /// # Errors
    /// As [`RunPath::reserve`] and [`write_folder`], and the errors of `checkpoint`.
    pub fn create(path: &RunPath, new: &NewRun<'_>, checkpoint: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let reservation = path.take_reservation()?;
        write_reserved(&reservation, |folder| {
            let write = |name: &str, bytes: &[u8]| {
                let path = folder.join(name);
                std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
            };
            write(CONFIG, new.settings.to_toml().as_bytes())?;
            let mut metrics = Metrics::create(folder.join(METRICS))?;
            new.lines.iter().try_for_each(|line| metrics.write(line))?;
            if new.samples {
                write(SAMPLES, b"")?;
            }
            write(CURVE, curve_svg(new.curve).as_bytes())?;
            write(KERNELS, new.kernels.to_json()?.as_bytes())?;
            for (name, bytes) in new.files {
                write(name, bytes)?;
            }
            write_folder(&folder.join(CHECKPOINTS).join(checkpoint_name(0)), Existing::Replace, checkpoint)?;
            write(LATEST, latest_text(0).as_bytes())
        })?;
        // Locked only now: Windows does not rename a folder with an open file. Until then, the path is reserved.
        Self::locked(path, new.settings.keep)
    }

    fn locked(dir: &Path, keep: usize) -> Result<Self> {
        let path = dir.join(LOCK);
        let (lock, no_locks) = match lock::acquire(&path).map_err(|e| Error::io(&path, e))? {
            Lock::Busy => {
                let error = Error::file(dir, "another process is training this run");
                return Err(error.expected("only one process at a time can").with_fault(FileFault::InUse));
            }
            Lock::Held(lock) => (lock, None),
            Lock::Unsupported { file, reason, .. } => {
                let dir = dir.display();
                let warning =
                    format!("{dir}: this file system has no file locks ({reason}); train this run in one process only");
                (file, Some(warning))
            }
        };
        let warnings = Mutex::new(no_locks.into_iter().chain(sync::weakness(dir)).collect());
        Ok(RunFolder { dir: dir.to_path_buf(), keep, _lock: lock, warnings, undeleted: AtomicBool::new(false) })
    }

    /// Warnings since the last call: what the folder's file system lacks, and files that could not be deleted.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Warns once that a checkpoint could not be deleted: the run needs the space, not the deletion.
    fn warn_if_undeleted(&self, deleted: Result<()>) {
        if let Err(error) = deleted
            && !self.undeleted.swap(true, Ordering::Relaxed)
        {
            let warning =
                format!("an old checkpoint could not be deleted; this is tried again after each new one: {error}");
            self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
        }
    }

    /// Opens and locks an existing run's folder.
    ///
    /// # Errors
    /// [`Error::File`] when it is not a run's folder, has links in it, or another process holds the lock.
    pub fn open(dir: &Path) -> Result<Self> {
        let not_a_run = |found: &str, expected: &str| Err(Error::file(dir, found).expected(expected));
        if !dir.is_dir() {
            return not_a_run("is not a folder", "must be the folder of a run");
        }
        if dir.join(checksums::STATE).exists() {
            return not_a_run(
                "is a checkpoint",
                "must be the folder of its run, whose file `latest` names the checkpoint to use",
            );
        }
        check_entries(dir)?;
        if let Some(missing) = [CONFIG, METRICS, LATEST].into_iter().find(|name| !dir.join(name).is_file()) {
            return not_a_run(&format!("{missing} is missing"), "must be the folder of a run");
        }
        Self::locked(dir, Settings::default().keep)
    }

    /// Sets the number of latest checkpoints that [`RunFolder::save`] keeps.
    pub fn set_keep(&mut self, keep: usize) {
        self.keep = keep;
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of the checkpoint after `step` steps.
    pub fn checkpoint_path(&self, step: u32) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(checkpoint_name(step))
    }

    /// The folder of the checkpoint that `latest` names.
    ///
    /// # Errors
    /// [`Error::File`] when it names no checkpoint.
    pub fn latest(&self) -> Result<PathBuf> {
        let path = self.dir.join(LATEST);
        let name = read_pointer(&path)?;
        match step_of(&name) {
            Some(step) => Ok(self.checkpoint_path(step)),
            None => Err(Error::file(&path, format!("{name:?}"))
                .expected("must be the name of a checkpoint, such as step-000300")),
        }
    }

    /// Writes config.toml again, after settings changed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        write_atomic(&self.dir.join(CONFIG), settings.to_toml().as_bytes())
    }

    /// Reads kernels.json; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read.
    pub fn kernels(&self) -> Result<Option<SavedKernels>> {
        let path = self.dir.join(KERNELS);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = read_text_bytes(&path)?;
        let invalid = |e: serde_json::Error| {
            let place = format!("line {}, column {}", e.line(), e.column());
            let expected = "must be as the run wrote it; without this file, kernels are chosen again";
            Error::file(&path, "is not a list of kernels").at(place).expected(expected)
        };
        serde_json::from_slice(&bytes).map(Some).map_err(invalid)
    }

    /// Writes kernels.json.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_kernels(&self, kernels: &SavedKernels) -> Result<()> {
        write_atomic(&self.dir.join(KERNELS), kernels.to_json()?.as_bytes())
    }

    /// Opens metrics.jsonl to append lines.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::append(self.dir.join(METRICS))
    }

    /// Appends a text that the model generated after `step` steps to samples.txt, and syncs the file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append_sample(&self, step: u32, text: &str) -> Result<()> {
        let path = self.dir.join(SAMPLES);
        let write = || -> std::io::Result<()> {
            let mut file = File::options().append(true).create(true).open(&path)?;
            file.write_all(format!("step {step}\n{text}\n\n").as_bytes())?;
            sync_file(&file)
        };
        write().map_err(|e| Error::io(&path, e))
    }

    /// The length of samples.txt in bytes; 0 when it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sampled_bytes(&self) -> Result<u64> {
        let path = self.dir.join(SAMPLES);
        match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
            metadata => Ok(metadata.map_err(|e| Error::io(&path, e))?.len()),
        }
    }

    /// Removes what a process that was killed may have left: partly written files and checkpoints, and checkpoints before that
    /// of `step`, the latest, that are no longer kept.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_remains(&self, step: u32) -> Result<()> {
        REPLACED.iter().try_for_each(|name| remove_partial(&self.dir.join(name)))?;
        self.warn_if_undeleted(remove_leftovers(&self.dir.join(CHECKPOINTS)).and(self.remove_surplus(step)));
        Ok(())
    }

    /// Truncates metrics.jsonl to the lines of the first `step` steps and samples.txt to its first `sampled` bytes, and
    /// removes what a process that was killed may have left. Returns the remaining lines.
    ///
    /// # Errors
    /// [`Error::File`] for an invalid line, [`Error::Io`].
    pub fn truncate(&self, step: u32, sampled: u64) -> Result<Vec<Line>> {
        self.remove_remains(step)?;
        let lines = metrics::truncate(&self.dir.join(METRICS), step)?;
        if self.sampled_bytes()? > sampled {
            let path = self.dir.join(SAMPLES);
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.set_len(sampled)).map_err(|e| Error::io(&path, e))?;
        }
        Ok(lines)
    }

    /// Draws loss.svg again.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draw(&self, data: &Curve) -> Result<PathBuf> {
        let path = self.dir.join(CURVE);
        write_atomic(&path, curve_svg(data).as_bytes())?;
        Ok(path)
    }

    /// Saves a checkpoint, whose files `checkpoint` writes into the folder it gets, writes its name to `latest`, and removes
    /// older checkpoints, except the latest `keep`, step 0, and the one that `best` names. One that cannot be removed now, as
    /// another program has a file of it open, causes a warning and is removed later.
    ///
    /// # Errors
    /// [`Error::Io`], and the errors of `checkpoint`.
    pub fn save(&self, step: u32, checkpoint: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.checkpoint_path(step);
        write_folder(&path, Existing::Replace, checkpoint)?;
        write_atomic(&self.dir.join(LATEST), latest_text(step).as_bytes())?;
        self.warn_if_undeleted(remove_leftovers(&self.dir.join(CHECKPOINTS)).and(self.remove_surplus(step)));
        Ok(path)
    }

    /// Removes older checkpoints than that of `step`, the latest, except those that [`RunFolder::save`] keeps.
    fn remove_surplus(&self, step: u32) -> Result<()> {
        // Checkpoints of later steps exist when the user resumed from an older one; the run replaces them when it gets there.
        let mut removable = self.steps()?;
        let best = self.best()?;
        // Something else of such a name is not the run's.
        let is_checkpoint = |s: u32| self.checkpoint_path(s).join(MODEL).is_file();
        removable.retain(|s| *s != 0 && *s < step && Some(*s) != best && is_checkpoint(*s));
        let surplus = removable.len().saturating_sub(self.keep.saturating_sub(1));
        let removed = removable[..surplus].iter().map(|step| remove_folder(&self.checkpoint_path(*step)));
        // All of them are tried.
        removed.fold(Ok(()), Result::and)
    }

    /// Writes the name of an existing checkpoint to `best`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn name_best(&self, step: u32) -> Result<()> {
        write_atomic(&self.dir.join(BEST), latest_text(step).as_bytes())
    }

    fn best(&self) -> Result<Option<u32>> {
        let path = self.dir.join(BEST);
        match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Ok(step_of(text.map_err(|e| Error::io(&path, e))?.trim())),
        }
    }

    /// Writes a file of the run atomically.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.dir.join(name);
        write_atomic(&path, bytes)?;
        Ok(path)
    }

    /// The steps that have a checkpoint, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn steps(&self) -> Result<Vec<u32>> {
        let folder = self.dir.join(CHECKPOINTS);
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
            let entry = entry.map_err(|e| Error::io(&folder, e))?.file_name();
            steps.extend(entry.to_str().and_then(step_of));
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

/// Checks that a run's folder and its checkpoints hold files and folders alone. A run that comes from a stranger may have links
/// in it, through which training would write, truncate or delete something elsewhere.
fn check_entries(dir: &Path) -> Result<()> {
    for folder in [dir.to_path_buf(), dir.join(CHECKPOINTS)] {
        if !folder.is_dir() {
            continue;
        }
        let unreadable = |e| Error::unreadable(&folder, &e);
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let kind = entry.file_type().map_err(unreadable)?;
            if !kind.is_file() && !kind.is_dir() {
                let found = if kind.is_symlink() { "is a link" } else { "is a device or a pipe" };
                let expected = "a run that is trained must be files and folders alone, so that nothing else is written";
                return Err(Error::file(entry.path(), found).expected(expected));
            }
        }
    }
    Ok(())
}

fn checkpoint_name(step: u32) -> String {
    format!("step-{step:06}")
}

/// The step in a checkpoint's name.
pub(super) fn step_of(text: &str) -> Option<u32> {
    text.strip_prefix("step-")?.parse().ok().filter(|step| checkpoint_name(*step) == text)
}

fn latest_text(step: u32) -> String {
    format!("{}\n", checkpoint_name(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::store::Model;
    use crate::train::metrics::EvaluationLine;

    fn checkpoint() -> Model {
        let config =
            ModelConfig { n_layer: 1, n_embd: 4, n_head: 1, n_positions: 2, vocab_size: 3, ..Default::default() };
        let parameters = config.parameters().iter().map(|p| vec![0.5; p.count()]).collect();
        Model::from_parts(config, parameters, None)
    }

    fn create(dir: &Path) -> Result<RunFolder> {
        let evaluation =
            EvaluationLine { step: 0, valid_loss: 1.0, valid_perplexity: 2.5, valid_bits_per_byte: Some(1.5) };
        let new = NewRun {
            settings: &Settings { keep: 2, ..Settings::default() },
            lines: &[Line::Evaluation(evaluation)],
            samples: true,
            curve: &Curve::default(),
            kernels: &SavedKernels::new(&crate::gpu::Caps::webgpu_defaults(), Default::default()),
            files: &[("stories.txt".into(), b"once".to_vec())],
        };
        RunFolder::create(&RunPath::from(dir), &new, |folder| checkpoint().write_files(folder))
    }

    #[test]
    fn a_new_folder_is_complete_and_the_latest_checkpoints_are_kept() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("runs").join("a");
        let run = create(&dir).expect("create");
        let names = [CONFIG, METRICS, SAMPLES, CURVE, KERNELS, LOCK, LATEST, "stories.txt"];
        for name in names.into_iter().chain(["checkpoints/step-000000/model.safetensors"]) {
            assert!(dir.join(name).is_file(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(dir.join(METRICS)).expect("metrics").lines().count(), 1);
        for step in [100, 200, 300, 400] {
            run.save(step, |folder| checkpoint().write_files(folder)).expect("save");
            assert_eq!(run.latest().expect("latest"), run.checkpoint_path(step));
        }
        assert_eq!(run.steps().expect("steps"), [0, 300, 400]);
        let loaded = Model::load(run.checkpoint_path(400)).expect("load");
        assert_eq!(loaded.parameters, checkpoint().parameters);
        // Resumed from step 300: the checkpoint of step 400 stays until the run gets there.
        run.save(300, |folder| checkpoint().write_files(folder)).expect("save");
        assert_eq!(
            (run.steps().expect("steps"), run.latest().expect("latest")),
            (vec![0, 300, 400], run.checkpoint_path(300))
        );
    }

    #[test]
    fn a_checkpoint_that_cannot_be_deleted_stays_with_one_warning() {
        let place = tempfile::tempdir().expect("folder");
        let run = create(&place.path().join("a")).expect("create");
        let obstacle = run.path().join("checkpoints/.step-000100.old");
        for step in [100, 200, 300, 400] {
            run.save(step, |folder| checkpoint().write_files(folder)).expect("save");
            // A file where the folder is moved to: it can be neither replaced nor deleted as a folder.
            std::fs::write(&obstacle, "").expect("write");
        }
        assert_eq!(run.steps().expect("steps"), [0, 100, 300, 400]);
        let warnings = run.take_warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(".step-000100.old"), "{warnings:?}");
        run.truncate(400, 0).expect("truncate");
        std::fs::remove_file(obstacle).expect("remove");
        run.save(500, |folder| checkpoint().write_files(folder)).expect("save");
        assert_eq!((run.steps().expect("steps"), run.take_warnings().len()), (vec![0, 400, 500], 0));
    }

    #[test]
    fn one_process_at_a_time_opens_a_run() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("a");
        let run = create(&dir).expect("create");
        let error = RunFolder::open(&dir).expect_err("locked");
        assert!(
            error.to_string().ends_with("another process is training this run: only one process at a time can"),
            "{error}"
        );
        assert!(error.is_invalid_input());
        drop(run);
        let run = RunFolder::open(&dir).expect("unlocked");
        std::fs::write(dir.join(LATEST), "../../elsewhere").expect("write");
        let error = run.latest().expect_err("outside").to_string();
        assert!(
            error.ends_with("latest: \"../../elsewhere\": must be the name of a checkpoint, such as step-000300"),
            "{error}"
        );
        // As an editor of Windows writes it.
        std::fs::write(dir.join(LATEST), "\u{feff}step-000000\r\n").expect("write");
        assert_eq!(run.latest().expect("latest"), run.checkpoint_path(0));
        drop(run);
        std::fs::remove_file(dir.join(METRICS)).expect("remove");
        let error = RunFolder::open(&dir).expect_err("no metrics").to_string();
        assert!(error.ends_with("a: metrics.jsonl is missing: must be the folder of a run"), "{error}");
        assert!(RunFolder::open(&place.path().join("none")).is_err());
    }

    #[test]
    fn samples_are_truncated_to_those_of_the_checkpoint() {
        let place = tempfile::tempdir().expect("folder");
        let run = create(&place.path().join("a")).expect("create");
        run.append_sample(200, "step 400\n\nstep 400").expect("sample");
        let bytes = run.sampled_bytes().expect("bytes");
        run.append_sample(400, "more").expect("sample");
        run.truncate(200, bytes).expect("truncate");
        let text = std::fs::read_to_string(run.path().join(SAMPLES)).expect("samples");
        assert_eq!(text, "step 200\nstep 400\n\nstep 400\n\n");
        // A file that the user shortened is not changed.
        run.truncate(200, bytes + 100).expect("truncate");
        assert_eq!(run.sampled_bytes().expect("bytes"), bytes);
    }

    #[test]
    fn an_existing_path_is_refused() {
        let place = tempfile::tempdir().expect("folder");
        let error = create(place.path()).expect_err("exists").to_string();
        assert!(error.ends_with("exists already: must be the path of a new folder"), "{error}");
        let file = place.path().join("file");
        std::fs::write(&file, "x").expect("write");
        let error = RunPath::reserve(&file.join("a/b")).expect_err("file").to_string();
        assert!(error.contains("file is not a folder"), "{error}");
        assert!(RunPath::reserve(Path::new("")).is_err() && RunPath::reserve(Path::new("..")).is_err());
        let dir = place.path().join("new/er");
        let reserved = RunPath::reserve(&dir).expect("free");
        let error = create(&dir).expect_err("reserved").to_string();
        assert!(error.contains("another process is writing this folder"), "{error}");
        drop(reserved);
        assert!(!place.path().join("new").exists() && create(&dir).is_ok());
    }
}
