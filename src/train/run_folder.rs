//! The folder that a run leaves (SPEC 6): it appears whole with its first checkpoint and never before, so that a run that
//! exists can be gone on with, and what the user gave wrong leaves nothing behind. While a run goes on its folder is locked.

use super::metrics::{self, Line, Metrics};
use super::settings::Settings;
use crate::gpu::Caps;
use crate::ops::kernels::Chosen;
use crate::report::{Curve, curve_svg};
use crate::store::atomic::{Existing, remove_folder, remove_leftovers, write_atomic, write_folder};
use crate::store::checksums;
use crate::store::model_folder::{BEST, CHECKPOINTS, LATEST};
use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The whole run, which runs again as it is.
pub const CONFIG: &str = "config.toml";
/// A line a step and a line an evaluation.
pub const METRICS: &str = "metrics.jsonl";
/// Texts that the model wrote on the way.
pub const SAMPLES: &str = "samples.txt";
/// The picture.
pub const CURVE: &str = "loss.svg";
/// The Specs in use.
pub const KERNELS: &str = "kernels.json";
/// Locked by the process that the run goes on in.
pub const LOCK: &str = "lock";

/// What a new folder holds besides its first checkpoint.
pub struct NewRun<'a> {
    /// The settings of the run.
    pub settings: &'a Settings,
    /// The first lines of metrics.jsonl: the evaluation of the model before the first update, where there is one.
    pub lines: &'a [Line],
    /// Whether the run writes samples.txt.
    pub samples: bool,
    /// The picture.
    pub curve: &'a Curve,
    /// The Specs in use.
    pub kernels: &'a SavedKernels,
    /// Other files: name and contents.
    pub files: &'a [(String, Vec<u8>)],
}

/// kernels.json: the Specs in use, and the adapter that they were chosen for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedKernels {
    /// The adapter's name.
    pub adapter: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// Specs by shape.
    pub specs: Chosen,
}

impl SavedKernels {
    /// The Specs of a program on an adapter.
    pub fn new(caps: &Caps, specs: Chosen) -> Self {
        let Caps { name, backend, driver, .. } = caps.clone();
        SavedKernels { adapter: name, backend, driver, specs }
    }

    fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(KERNELS, e))?;
        Ok(text + "\n")
    }
}

/// A run's folder that exists, locked.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    keep: usize,
    /// Held, never read: the lock goes with it.
    _lock: File,
}

impl RunFolder {
    /// Checks that a folder can appear there: nothing is there now, and what it is to lie in is a folder or can be made.
    ///
    /// # Errors
    /// [`Error::Value`] naming the path.
    pub fn check_new(dir: &Path) -> Result<()> {
        if dir.file_name().is_none() {
            return Err(Error::input(format!(
                "--out {:?}: must be the path of a new folder",
                dir.display().to_string()
            )));
        }
        if dir.symlink_metadata().is_ok() {
            return Err(Error::input(format!("--out {}: exists already: must be a new folder", dir.display())));
        }
        match dir.ancestors().skip(1).find(|above| above.exists()) {
            Some(above) if !above.is_dir() => {
                Err(Error::input(format!("--out {}: {} is no folder", dir.display(), above.display())))
            }
            _ => Ok(()),
        }
    }

    /// Makes the folder with its first checkpoint, step 0, whose files `checkpoint` writes into the folder it is given.
    ///
    /// # Errors
    /// As [`write_folder`], and whatever `checkpoint` says.
    pub fn create(dir: &Path, new: &NewRun<'_>, checkpoint: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        Self::check_new(dir)?;
        write_folder(dir, Existing::Refuse, |folder| {
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
            write_folder(&folder.join(CHECKPOINTS).join(name(0)), Existing::Refuse, checkpoint)?;
            write(LATEST, latest_text(0).as_bytes())
        })?;
        // Not before the folder is in place: Windows renames no folder with an open file.
        Ok(RunFolder { dir: dir.to_path_buf(), keep: new.settings.keep, _lock: lock(dir)? })
    }

    /// Takes a run's folder to go on with it.
    ///
    /// # Errors
    /// [`Error::Value`] when it is none, or another process goes on with it.
    pub fn open(dir: &Path) -> Result<Self> {
        let none = |why: &str| Err(Error::file(dir, format!("is no run's folder: {why}")));
        if !dir.is_dir() {
            return none("there is no such folder");
        }
        if dir.join(checksums::STATE).exists() {
            return none("it is one of its checkpoints, and `latest` in the run's folder names the one to go on from");
        }
        if let Some(missing) = [CONFIG, METRICS, LATEST].into_iter().find(|name| !dir.join(name).is_file()) {
            return none(&format!("{missing} is missing"));
        }
        Ok(RunFolder { dir: dir.to_path_buf(), keep: Settings::default().keep, _lock: lock(dir)? })
    }

    /// From now on, so many of the newest checkpoints stay.
    pub fn keep(&mut self, keep: usize) {
        self.keep = keep;
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of the checkpoint after `step` updates.
    pub fn checkpoint_path(&self, step: u32) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(name(step))
    }

    /// The folder of the checkpoint that `latest` names.
    ///
    /// # Errors
    /// [`Error::Value`] when it names none.
    pub fn latest(&self) -> Result<PathBuf> {
        let path = self.dir.join(LATEST);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::file(&path, format!("could not be read: {e}")))?;
        match step_of(text.trim()) {
            Some(step) => Ok(self.checkpoint_path(step)),
            None => {
                Err(Error::file(&path, format!("{:?}: must be the name of a checkpoint, as step-000300", text.trim())))
            }
        }
    }

    /// Writes the settings anew, after some were changed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        write_atomic(&self.dir.join(CONFIG), settings.to_toml().as_bytes())
    }

    /// Reads kernels.json, where there is one.
    ///
    /// # Errors
    /// [`Error::Value`] for one that cannot be read.
    pub fn kernels(&self) -> Result<Option<SavedKernels>> {
        let path = self.dir.join(KERNELS);
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|e| Error::file(&path, format!("could not be read: {e}")))?,
        };
        let told = |e| Error::file(&path, format!("{e}; without the file the kernels are chosen anew"));
        serde_json::from_slice(&bytes).map(Some).map_err(told)
    }

    /// Writes kernels.json.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_kernels(&self, kernels: &SavedKernels) -> Result<()> {
        write_atomic(&self.dir.join(KERNELS), kernels.to_json()?.as_bytes())
    }

    /// Goes on in metrics.jsonl.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::append(self.dir.join(METRICS))
    }

    /// Adds a text that the model wrote after `step` updates to samples.txt, and puts it on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sample(&self, step: u32, text: &str) -> Result<()> {
        let path = self.dir.join(SAMPLES);
        let write = || -> std::io::Result<()> {
            let mut file = File::options().append(true).create(true).open(&path)?;
            file.write_all(format!("step {step}\n{text}\n\n").as_bytes())?;
            file.sync_data()
        };
        write().map_err(|e| Error::io(&path, e))
    }

    /// The bytes of samples.txt.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sampled(&self) -> Result<u64> {
        let path = self.dir.join(SAMPLES);
        match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
            metadata => Ok(metadata.map_err(|e| Error::io(&path, e))?.len()),
        }
    }

    /// Cuts metrics.jsonl and samples.txt back to a checkpoint: the lines up to `step`, the first `sampled` bytes; half
    /// written checkpoints go. Gives the lines that stay.
    ///
    /// # Errors
    /// [`Error::Value`] for a line that is none, [`Error::Io`].
    pub fn cut(&self, step: u32, sampled: u64) -> Result<Vec<Line>> {
        remove_leftovers(&self.dir.join(CHECKPOINTS))?;
        let lines = metrics::cut(&self.dir.join(METRICS), step)?;
        if self.sampled()? > sampled {
            let path = self.dir.join(SAMPLES);
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.set_len(sampled)).map_err(|e| Error::io(&path, e))?;
        }
        Ok(lines)
    }

    /// Draws loss.svg anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draw(&self, data: &Curve) -> Result<PathBuf> {
        let path = self.dir.join(CURVE);
        write_atomic(&path, curve_svg(data).as_bytes())?;
        Ok(path)
    }

    /// Saves a checkpoint, whose files `checkpoint` writes into the folder it is given, lets `latest` name it, and lets go
    /// of older ones: the newest `keep` stay, step 0, and those that `latest` and `best` name.
    ///
    /// # Errors
    /// [`Error::Io`], and whatever `checkpoint` says.
    pub fn save(&self, step: u32, checkpoint: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.checkpoint_path(step);
        write_folder(&path, Existing::Replace, checkpoint)?;
        write_atomic(&self.dir.join(LATEST), latest_text(step).as_bytes())?;
        // Later ones than this are of a run that was gone back on; it replaces them when it comes by.
        let mut older = self.steps()?;
        let best = self.best()?;
        older.retain(|s| *s != 0 && *s < step && Some(*s) != best);
        let surplus = older.len().saturating_sub(self.keep.saturating_sub(1));
        for old in &older[..surplus] {
            remove_folder(&self.checkpoint_path(*old))?;
        }
        Ok(path)
    }

    /// Lets `best` name a checkpoint that is there.
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

    /// Writes a file of the run, whole or not at all.
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

/// Locks a run's folder for this process, until the file is dropped or the process ends.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| Error::io(&path, e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::file(dir, "another process goes on with this run: one at a time can"))
        }
        // A file system without locks has to do without.
        Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => Err(Error::io(&path, e)),
        _ => Ok(file),
    }
}

fn name(step: u32) -> String {
    format!("step-{step:06}")
}

/// The step of a checkpoint's name.
fn step_of(text: &str) -> Option<u32> {
    text.strip_prefix("step-")?.parse().ok().filter(|step| name(*step) == text)
}

fn latest_text(step: u32) -> String {
    format!("{}\n", name(step))
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
        let evaluation = EvaluationLine { step: 0, valid_loss: 1.0, valid_perplexity: 2.5, valid_bits_per_byte: 1.5 };
        let new = NewRun {
            settings: &Settings { keep: 2, ..Settings::default() },
            lines: &[Line::Evaluation(evaluation)],
            samples: true,
            curve: &Curve::default(),
            kernels: &SavedKernels::new(&Caps::webgpu_defaults(), Chosen::default()),
            files: &[("stories.txt".into(), b"once".to_vec())],
        };
        RunFolder::create(dir, &new, |folder| checkpoint().write_files(folder))
    }

    #[test]
    fn appears_whole_and_keeps_the_newest() {
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
        let back = Model::load(&run.checkpoint_path(400)).expect("load");
        assert_eq!(back.parameters, checkpoint().parameters);
        // Gone back to 300: what comes behind stays until the run comes by.
        run.save(300, |folder| checkpoint().write_files(folder)).expect("save");
        assert_eq!(
            (run.steps().expect("steps"), run.latest().expect("latest")),
            (vec![0, 300, 400], run.checkpoint_path(300))
        );
    }

    #[test]
    fn one_process_at_a_time() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("a");
        let run = create(&dir).expect("create");
        let error = RunFolder::open(&dir).expect_err("locked");
        assert!(error.to_string().ends_with("another process goes on with this run: one at a time can"), "{error}");
        assert!(error.is_invalid_input());
        drop(run);
        let run = RunFolder::open(&dir).expect("free again");
        std::fs::write(dir.join(LATEST), "../../elsewhere").expect("write");
        let error = run.latest().expect_err("outside").to_string();
        assert!(
            error.ends_with("latest: \"../../elsewhere\": must be the name of a checkpoint, as step-000300"),
            "{error}"
        );
        drop(run);
        std::fs::remove_file(dir.join(METRICS)).expect("remove");
        let error = RunFolder::open(&dir).expect_err("no metrics").to_string();
        assert!(error.ends_with("is no run's folder: metrics.jsonl is missing"), "{error}");
        assert!(RunFolder::open(&place.path().join("none")).is_err());
    }

    #[test]
    fn samples_are_cut_where_the_checkpoint_stood() {
        let place = tempfile::tempdir().expect("folder");
        let run = create(&place.path().join("a")).expect("create");
        run.sample(200, "step 400\n\nstep 400").expect("sample");
        let bytes = run.sampled().expect("bytes");
        run.sample(400, "more").expect("sample");
        run.cut(200, bytes).expect("cut");
        let text = std::fs::read_to_string(run.path().join(SAMPLES)).expect("samples");
        assert_eq!(text, "step 200\nstep 400\n\nstep 400\n\n");
        // A file that somebody shortened stays as it is.
        run.cut(200, bytes + 100).expect("cut");
        assert_eq!(run.sampled().expect("bytes"), bytes);
    }

    #[test]
    fn what_is_there_is_refused() {
        let place = tempfile::tempdir().expect("folder");
        let error = create(place.path()).expect_err("exists").to_string();
        assert!(error.ends_with("exists already: must be a new folder"), "{error}");
        let file = place.path().join("file");
        std::fs::write(&file, "x").expect("write");
        let error = RunFolder::check_new(&file.join("a/b")).expect_err("file").to_string();
        assert!(error.ends_with("file is no folder"), "{error}");
        assert!(RunFolder::check_new(Path::new("")).is_err() && RunFolder::check_new(Path::new("..")).is_err());
        assert!(RunFolder::check_new(&place.path().join("new/er")).is_ok());
    }
}
