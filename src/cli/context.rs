//! What every subcommand is given: where results go, and which adapter to open.

use super::output::note;
use super::stop::Done;
use crate::Result;
use crate::gpu::{Caps, Device};
use std::io::Write;

/// The surroundings of a subcommand.
pub(super) struct Context<'a> {
    /// Where results go: stdout.
    pub out: &'a mut dyn Write,
    /// The adapter that the user chose, by a part of its name or its index; none: the default.
    pub adapter: Option<String>,
}

impl Context<'_> {
    /// Opens the adapter, and names it on stderr.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open(&self) -> Result<Device> {
        let device = Device::open(self.adapter.as_deref())?;
        let Caps { name, backend, driver, .. } = device.caps();
        note(format_args!("adapter: {name} ({backend}, {driver})"));
        Ok(device)
    }

    /// Writes one line of JSON.
    pub fn json(&mut self, row: &impl serde::Serialize) -> Done {
        let text = serde_json::to_string(row).map_err(std::io::Error::from)?;
        Ok(writeln!(self.out, "{text}")?)
    }
}
