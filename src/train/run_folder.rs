//! The folder that a run leaves (SPEC 6): it appears whole with its first checkpoint and never before, so that a run that
//! exists is one, and what the user gave wrong leaves nothing behind.

use super::metrics::{EvaluationLine, Metrics};
use super::settings::Settings;
use crate::report::{Curve, curve};
use crate::store::folder::{Checkpoint, Existing, write_atomic, write_folder};
use crate::store::model_folder::{CHECKPOINTS, LATEST};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The whole run, which runs again as it is.
pub const CONFIG: &str = "config.toml";
/// A line a step and a line an evaluation.
pub const METRICS: &str = "metrics.jsonl";
/// The picture.
pub const CURVE: &str = "loss.svg";

/// What a new folder begins with.
pub struct First<'a> {
    /// The run.
    pub settings: &'a Settings,
    /// The model before the first update.
    pub checkpoint: &'a Checkpoint,
    /// Its evaluation.
    pub evaluation: &'a EvaluationLine,
    /// What there is to draw.
    pub curve: &'a Curve,
    /// Other files: name and contents.
    pub files: &'a [(String, Vec<u8>)],
}

/// A run's folder that exists.
#[derive(Clone, Debug)]
pub struct RunFolder {
    dir: PathBuf,
    keep: usize,
}

impl RunFolder {
    /// Checks that a folder can appear there: nothing is there now, and what it is to lie in is a folder or can be made.
    ///
    /// # Errors
    /// [`Error::Input`] naming the path.
    pub fn check_new(dir: &Path) -> Result<()> {
        if dir.file_name().is_none() {
            return Err(Error::Input(format!(
                "--out {:?}: must be the path of a new folder",
                dir.display().to_string()
            )));
        }
        if dir.symlink_metadata().is_ok() {
            return Err(Error::Input(format!("--out {}: exists already: must be a new folder", dir.display())));
        }
        match dir.ancestors().skip(1).find(|above| above.exists()) {
            Some(above) if !above.is_dir() => {
                Err(Error::Input(format!("--out {}: {} is no folder", dir.display(), above.display())))
            }
            _ => Ok(()),
        }
    }

    /// Makes the folder with its first checkpoint, step 0.
    ///
    /// # Errors
    /// As [`write_folder`].
    pub fn create(dir: &Path, first: &First<'_>) -> Result<Self> {
        Self::check_new(dir)?;
        let run = RunFolder { dir: dir.to_path_buf(), keep: first.settings.keep };
        write_folder(dir, Existing::Refuse, |folder| {
            let write = |name: &str, bytes: &[u8]| {
                let path = folder.join(name);
                std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
            };
            write(CONFIG, first.settings.to_toml().as_bytes())?;
            Metrics::create(folder.join(METRICS))?.evaluation(first.evaluation)?;
            write(CURVE, curve(first.curve).as_bytes())?;
            for (name, bytes) in first.files {
                write(name, bytes)?;
            }
            let checkpoint = folder.join(CHECKPOINTS).join(name(0));
            first.checkpoint.save(&checkpoint)?;
            write(LATEST, latest_text(0).as_bytes())
        })?;
        Ok(run)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of the checkpoint after `step` updates.
    pub fn checkpoint_path(&self, step: u32) -> PathBuf {
        self.dir.join(CHECKPOINTS).join(name(step))
    }

    /// Goes on in metrics.jsonl.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::append(self.dir.join(METRICS))
    }

    /// Draws loss.svg anew.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draw(&self, data: &Curve) -> Result<PathBuf> {
        let path = self.dir.join(CURVE);
        write_atomic(&path, curve(data).as_bytes())?;
        Ok(path)
    }

    /// Saves a checkpoint, lets `latest` name it, and lets go of older ones: the newest `keep` stay, step 0, and the one
    /// that `latest` names.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, step: u32, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let path = self.checkpoint_path(step);
        write_folder(&path, Existing::Replace, |folder| checkpoint.write_files(folder))?;
        write_atomic(&self.dir.join(LATEST), latest_text(step).as_bytes())?;
        let mut steps = self.steps()?;
        steps.retain(|s| *s != 0 && *s != step);
        let surplus = steps.len().saturating_sub(self.keep.saturating_sub(1));
        for old in &steps[..surplus] {
            let path = self.checkpoint_path(*old);
            std::fs::remove_dir_all(&path).map_err(|e| Error::io(&path, e))?;
        }
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
            let step: Option<u32> = entry.to_str().and_then(|n| n.strip_prefix("step-")).and_then(|n| n.parse().ok());
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

fn name(step: u32) -> String {
    format!("step-{step:06}")
}

fn latest_text(step: u32) -> String {
    format!("{}\n", name(step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    fn checkpoint() -> Checkpoint {
        let config =
            ModelConfig { n_layer: 1, n_embd: 4, n_head: 1, n_positions: 2, vocab_size: 3, ..Default::default() };
        let parameters = config.parameters().iter().map(|p| vec![0.5; p.count()]).collect();
        Checkpoint { config, parameters, tokenizer: None }
    }

    fn create(dir: &Path) -> Result<RunFolder> {
        let evaluation = EvaluationLine { step: 0, valid_loss: 1.0, valid_perplexity: 2.5, valid_bits_per_byte: 1.5 };
        let first = First {
            settings: &Settings { keep: 2, ..Settings::default() },
            checkpoint: &checkpoint(),
            evaluation: &evaluation,
            curve: &Curve::default(),
            files: &[("stories.txt".into(), b"once".to_vec())],
        };
        RunFolder::create(dir, &first)
    }

    #[test]
    fn appears_whole_and_keeps_the_newest() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("runs").join("a");
        let run = create(&dir).expect("create");
        for name in [CONFIG, METRICS, CURVE, LATEST, "stories.txt", "checkpoints/step-000000/model.safetensors"] {
            assert!(dir.join(name).is_file(), "{name}");
        }
        assert_eq!(std::fs::read_to_string(dir.join(METRICS)).expect("metrics").lines().count(), 1);
        for step in [100, 200, 300, 400] {
            run.save(step, &checkpoint()).expect("save");
            let latest = std::fs::read_to_string(dir.join(LATEST)).expect("latest");
            assert_eq!(run.checkpoint_path(step), dir.join(CHECKPOINTS).join(latest.trim()));
        }
        assert_eq!(run.steps().expect("steps"), [0, 300, 400]);
        let (back, _) = Checkpoint::load(&run.checkpoint_path(400)).expect("load");
        assert_eq!(back.parameters, checkpoint().parameters);
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
