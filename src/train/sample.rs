//! Generates a text with the current weights of a model in training.

use crate::Result;
use crate::model::{Training, sampling};

pub use crate::model::sampling::{Sampling, SamplingLimits};

/// The ids that continue `prompt`, up to the limits.
///
/// # Errors
/// As [`sampling::sample`].
pub fn sample(training: &Training, prompt: &[u32], limits: SamplingLimits, sampling: Sampling) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    sampling::sample(&mut training.generator(1)?, prompt, limits, sampling, &mut |_, id| {
        ids.push(id);
        Ok(true)
    })?;
    Ok(ids)
}
