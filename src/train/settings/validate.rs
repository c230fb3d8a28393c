//! What must hold between settings, and the run as a config.toml.

use super::key::Group;
use super::run::{PRESETS, Settings, no_preset};
use super::stage::Stage;
use super::value::Warmup;
use crate::{Error, Result};

impl Settings {
    /// Says which setting is wrong, and what would be right. The presence of `data` is [`Settings::data_files`]'s.
    ///
    /// # Errors
    /// [`Error::Value`] with the key's name.
    pub fn validate(&self) -> Result<()> {
        let bad = |message: String| Err(Error::input(message));
        if !PRESETS.contains(&self.preset.as_str()) {
            return bad(format!("preset = {:?}: {}", self.preset, no_preset()));
        }
        for key in self.stage.keys() {
            if let Some(value) = (key.get)(self) {
                key.range.check(&value).or_else(|why| bad(format!("{} = {value}: {why}", key.name)))?;
            }
        }
        if let Warmup::Share(share) = self.warmup
            && share >= 1.0
        {
            return bad(format!("warmup = {share}: a share of the updates is below 1"));
        }
        if let Some(separator) = &self.document_separator
            && separator.contains(['\n', '\r'])
        {
            return bad(format!("document_separator = {separator:?}: must be one line"));
        }
        self.model.validate()?;
        let (batch, positions, parts) = (self.batch, self.model.n_positions, self.accumulate);
        match self.batch_tokens {
            // Examples are of all lengths: a part may have one less than another.
            _ if self.stage == Stage::FineTuning && parts > batch => {
                bad(format!("accumulate = {parts}: must be at most batch = {batch}, in examples"))
            }
            _ if self.stage == Stage::FineTuning => Ok(()),
            Some(tokens) if tokens < positions => bad(format!(
                "batch_tokens = {tokens}: must be n_positions = {positions} or more, so that every sequence fits"
            )),
            Some(tokens) if tokens >= 1 << 31 => {
                bad(format!("batch_tokens = {tokens}: an update has less than 2^31 tokens"))
            }
            Some(_) => Ok(()),
            None if !batch.is_multiple_of(self.accumulate) => {
                bad(format!("batch = {batch} is not divisible by accumulate = {}", self.accumulate))
            }
            None if batch.checked_mul(positions).is_none_or(|tokens| tokens >= 1 << 31) => {
                bad(format!("batch = {batch} of n_positions = {positions}: an update has less than 2^31 tokens"))
            }
            None => Ok(()),
        }
    }

    /// The whole run as config.toml, which runs again as it is.
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
