//! The messages between rank 0 and the others, encoded by postcard.

use crate::config::{ModelConfig, Task};
use crate::data::batch::{Batch, LossCounts};
use crate::gpu::Caps;
use crate::model::{Capacity, Learning, StepState, Training, TrainingOptions};
use crate::ops::kernels::Kernels;
use crate::train::saved_kernels::SavedKernels;
use crate::train::utilization::peak;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What all ranks know of a step.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::train) struct Step {
    /// Targets and examples over all ranks.
    pub counts: LossCounts,
    /// The dropout key.
    pub dropout_key: [u32; 2],
    /// The learning rate.
    pub lr: f64,
    /// What learns from this step on, if that changes.
    pub learning: Option<Learning>,
}

/// What rank 0 tells another rank to do.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// To make a model. Its weights and, for a run that is resumed, its moments follow as broadcasts. The answer is a [`Peer`].
    Start(Box<Setup>),
    /// To take a step with these micro-batches.
    Train(Vec<Batch>, Step),
    /// To evaluate a batch. The answer is the loss of each row.
    Evaluate(Batch),
    /// To wait for the next run.
    End,
}

/// All that a rank needs for a model besides its numbers.
#[derive(Serialize, Deserialize)]
pub struct Setup {
    /// The model's configuration, without the task, which files have elsewhere.
    config: ModelConfig,
    task: Option<Task>,
    /// The optimizer's constants and the loss.
    pub options: TrainingOptions,
    /// The key `self_test`.
    pub self_test: bool,
    /// Whether the run writes samples.
    pub writes_samples: bool,
    pub(super) capacity: Capacity,
    pub(super) progress: StepState,
    /// kernels.json of a run that is resumed.
    kernels: Option<String>,
}

/// What rank 0 knows of a rank.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::train) struct Peer {
    /// Its adapter's name.
    pub name: String,
    backend: String,
    driver: String,
    /// Its part of kernels.json.
    kernels: String,
    /// The peak of its adapter in FLOP/s, where that is known.
    pub peak: Option<f64>,
}

impl Setup {
    /// For models like this one.
    pub(super) fn new(
        training: &Training,
        capacity: Capacity,
        kernels: Option<&SavedKernels>,
        self_test: bool,
        writes_samples: bool,
    ) -> Result<Self> {
        let config = training.config().clone();
        Ok(Setup {
            task: config.task.clone(),
            config,
            options: *training.options(),
            self_test,
            writes_samples,
            capacity,
            progress: training.progress(),
            kernels: kernels.map(SavedKernels::to_json).transpose()?,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> ModelConfig {
        ModelConfig { task: self.task.clone(), ..self.config.clone() }
    }

    /// The kernel variants that the run was started with on this adapter, if it was resumed.
    pub(super) fn kernels(&self, caps: &Caps) -> Result<Kernels> {
        let Some(text) = &self.kernels else { return Ok(Kernels::new()) };
        let saved = SavedKernels::from_json(text)?;
        Ok(saved.for_adapter(caps).map_or_else(Kernels::new, |saved| Kernels::with(saved.specs.clone())))
    }
}

impl Peer {
    pub(super) fn new(training: &Training) -> Result<Self> {
        let caps = training.device().caps();
        let Caps { name, backend, driver, .. } = caps.clone();
        let kernels = SavedKernels::new(caps, training.kernels().chosen()).to_json()?;
        Ok(Peer { name, backend, driver, kernels, peak: peak(caps, training.options().precision) })
    }

    /// Its kernels.
    pub fn kernels(&self) -> Result<SavedKernels> {
        SavedKernels::from_json(&self.kernels)
    }

    /// Whether two adapters compute the same optimizer step from the same numbers, to the last bit.
    pub(super) fn computes_alike(&self, other: &Peer) -> bool {
        (&self.name, &self.backend, &self.driver) == (&other.name, &other.backend, &other.driver)
    }
}

/// What errors call a message.
const MESSAGE: &str = "message between ranks";

/// The error of a message that is not understood.
pub(super) fn other_version(what: &str) -> Error {
    Error::io(MESSAGE, std::io::Error::other(format!("{what}: all ranks must run the same version of wgpt")))
}

pub(super) fn encoded(message: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_allocvec(message).map_err(|e| Error::io(MESSAGE, std::io::Error::other(e)))
}

pub(super) fn decoded<T: DeserializeOwned>(message: &[u8]) -> Result<T> {
    postcard::from_bytes(message).map_err(|e| other_version(&e.to_string()))
}
