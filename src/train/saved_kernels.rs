//! kernels.json: which variant of each kernel a run uses, so that it continues with the same ones.

use crate::gpu::Caps;
use crate::model::Training;
use crate::ops::kernels::ChosenSpecs;
use crate::{Error, Result};

/// The name of the file.
pub const KERNELS: &str = "kernels.json";

/// kernels.json: the kernel variants in use, and the adapter that they were chosen for.
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
    pub specs: ChosenSpecs,
    /// The same for adapters of other ranks that differ from this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<SavedKernels>,
}

impl SavedKernels {
    /// The Specs in use on an adapter.
    pub fn new(caps: &Caps, specs: ChosenSpecs) -> Self {
        let Caps { name, backend, driver, .. } = caps.clone();
        SavedKernels { adapter: name, backend, driver, specs, others: Vec::new() }
    }

    /// Those of a run, from those of its ranks.
    ///
    /// # Errors
    /// [`Error::Value`] without a rank.
    pub(super) fn of(ranks: impl IntoIterator<Item = SavedKernels>) -> Result<Self> {
        let mut all: Vec<SavedKernels> = Vec::new();
        for saved in ranks {
            if !all.iter().any(|other| (&other.adapter, &other.backend) == (&saved.adapter, &saved.backend)) {
                all.push(saved);
            }
        }
        let others = all.split_off(all.len().min(1));
        let first = all.pop().ok_or_else(|| Error::value("devices", 0, "expected 1 or more"))?;
        Ok(SavedKernels { others, ..first })
    }

    /// With the Specs that the first rank has chosen by now: evaluations and samples may need more.
    pub(super) fn with_first(self, training: &Training) -> Self {
        SavedKernels { specs: training.kernels().chosen(), ..self }
    }

    /// Whether they were chosen for this adapter, with any version of its driver.
    pub(super) fn is_of(&self, caps: &Caps) -> bool {
        (&self.adapter, &self.backend) == (&caps.name, &caps.backend)
    }

    /// Those chosen for an adapter.
    pub(super) fn for_adapter(&self, caps: &Caps) -> Option<&Self> {
        std::iter::once(self).chain(&self.others).find(|saved| saved.is_of(caps))
    }

    pub(super) fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(KERNELS, e))?;
        Ok(text + "\n")
    }

    pub(super) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::file(KERNELS, e))
    }
}
