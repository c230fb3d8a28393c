//! Validation of settings, and writing them as config.toml.

use super::key::Group;
use super::run::{Settings, no_preset};
use super::stage::Stage;
use super::value::{RawValue, Warmup};
use crate::config::ModelConfig;
use crate::{Error, Result};

impl Settings {
    /// Checks every setting, and those that depend on each other, but not whether `data` is set: see
    /// [`Settings::data_files`].
    ///
    /// # Errors
    /// [`Error::Value`] with the key, its value and the expected value.
    pub fn validate(&self) -> Result<()> {
        if ModelConfig::preset(&self.preset).is_none() {
            return Err(Error::value("preset", format!("{:?}", self.preset), no_preset()));
        }
        for key in self.stage.keys() {
            if let Some(value) = (key.get)(self) {
                let wrong = |expected| Error::value(key.name, &value, expected);
                key.range.check(&value).map_err(wrong)?;
                // What config.toml cannot hold would be lost when the run is resumed.
                (key.set)(&mut self.clone(), &RawValue::Toml(value.clone())).map_err(wrong)?;
            }
        }
        if let Warmup::Share(share) = self.warmup
            && share >= 1.0
        {
            return Err(Error::value("warmup", share, "a share of the steps must be below 1"));
        }
        if let Some(separator) = &self.document_separator
            && separator.contains(['\n', '\r'])
        {
            return Err(Error::value("document_separator", format!("{separator:?}"), "must be one line"));
        }
        self.model.validate()?;
        let (batch, positions, parts) = (self.batch, self.model.n_positions, self.micro_batches());
        match self.batch_tokens {
            _ if self.stage == Stage::FineTuning && self.measures_batch => {
                Err(Error::value("batch", "auto", "must be a number in fine-tuning, where it changes what is learned"))
            }
            None if self.measures_batch => Ok(()),
            // Examples have different lengths, so micro-batches need not have the same number of them.
            _ if self.stage == Stage::FineTuning && parts > batch => {
                Err(Error::value("accumulate", parts, format!("must be at most batch = {batch}")))
            }
            _ if self.stage == Stage::FineTuning => Ok(()),
            Some(tokens) if tokens < positions => {
                let expected = format!("must be n_positions = {positions} or more, so that every sequence fits");
                Err(Error::value("batch_tokens", tokens, expected))
            }
            Some(tokens) if tokens >= 1 << 31 => Err(Error::value("batch_tokens", tokens, "must be below 2^31")),
            Some(_) => Ok(()),
            None if !batch.is_multiple_of(parts) => {
                Err(Error::value("batch", batch, format!("must be divisible by accumulate = {parts}")))
            }
            None if batch.checked_mul(positions).is_none_or(|tokens| tokens >= 1 << 31) => {
                let expected =
                    format!("a step of n_positions = {positions} per sequence must have less than 2^31 tokens");
                Err(Error::value("batch", batch, expected))
            }
            None => Ok(()),
        }
    }

    /// The settings as the text of config.toml, which `--config` reads back to the same settings.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut last: Option<Group> = None;
        for key in self.stage.keys() {
            let Some(value) = (key.get)(self) else { continue };
            if last != Some(key.group) {
                let gap = if last.is_some() { "\n" } else { "" };
                text += &format!("{gap}# {}\n", key.group.heading());
                last = Some(key.group);
            }
            text += &format!("{} = {value}\n", key.name);
        }
        text
    }
}
