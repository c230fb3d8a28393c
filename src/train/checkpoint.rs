//! The files of a checkpoint, and the thread that writes them while the training goes on.

use super::run_folder::RunFolder;
use crate::config::ModelConfig;
use crate::data::tokenizer::Tokenizer;
use crate::model::{Moments, Training};
use crate::store::{Model, checksums, optimizer};
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// All that a checkpoint holds besides weights and moments.
pub struct Checkpoint {
    /// Steps done.
    pub step: u32,
    /// The model's configuration.
    pub config: ModelConfig,
    /// The model's tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// The keys and values of state.json.
    pub state: Map<String, Value>,
}

impl Checkpoint {
    /// Writes the files into a folder, with the weights and moments as they are now. Waits.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Device`].
    pub fn write(self, folder: &Path, training: &Training) -> Result<()> {
        self.write_files(folder, || training.parameters(), || training.moments())
    }

    /// Writes the files one after another, so that at most one of them is in memory at a time.
    fn write_files(
        self,
        folder: &Path,
        weights: impl FnOnce() -> Result<Vec<Vec<f32>>>,
        moments: impl FnOnce() -> Result<Moments>,
    ) -> Result<()> {
        Model::from_parts(self.config.clone(), weights()?, self.tokenizer).write_files(folder)?;
        optimizer::save(&folder.join(optimizer::OPTIMIZER), &self.config, &moments()?)?;
        checksums::write(folder, &self.state)
    }
}

/// A thread that saves a checkpoint. Dropping it waits for its end.
pub struct Saving {
    step: u32,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<PathBuf>>>,
}

impl Saving {
    /// Submits copies of weights and moments to the host's memory and returns; a thread waits for them and saves the
    /// checkpoint. Then it calls `then`.
    ///
    /// # Errors
    /// [`Error::Io`] if no thread can be started.
    pub fn start(
        checkpoint: Checkpoint,
        folder: &Arc<RunFolder>,
        training: &Training,
        then: impl FnOnce(&RunFolder) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (step, device, folder) = (checkpoint.step, training.device().clone(), folder.clone());
        let (weights, moments) = (training.parameters_async(), training.moments_async());
        let path = folder.path().to_path_buf();
        let work = move || {
            device.wait()?;
            let write = |path: &Path| {
                checkpoint.write_files(path, || pollster::block_on(weights), || pollster::block_on(moments))
            };
            let path = folder.save(step, write)?;
            then(&folder)?;
            Ok(path)
        };
        let thread = std::thread::Builder::new().name("wgpt checkpoint".into()).spawn(work);
        Ok(Saving { step, thread: Some(thread.map_err(|e| Error::io(&path, e))?) })
    }

    /// The step of the checkpoint.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Whether [`Saving::finish`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread and returns the checkpoint's folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the checkpoint could not be written; [`Error::Device`] if weights or moments could not be read.
    pub fn finish(mut self) -> Result<PathBuf> {
        let thread = self.thread.take().map(JoinHandle::join);
        match thread {
            Some(Ok(path)) => path,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::Ended("the thread that saves a checkpoint".into())),
        }
    }
}

impl Drop for Saving {
    /// A checkpoint begun is completed, also where the training ends with an error.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The training has an error of its own to report.
            let _ = thread.join();
        }
    }
}
