//! What every subcommand is given: where results go, and which adapter to open.

use super::job::Job;
use super::output::note;
use super::stop::Done;
use crate::error::{InvalidValue, Origin};
use crate::gpu::{Caps, Device};
use crate::{Error, Result};
use std::io::Write;

/// The surroundings of a subcommand.
pub(super) struct Context<'a> {
    /// Where results go: stdout.
    pub out: &'a mut dyn Write,
    /// The adapter that the user chose, by a part of its name or its index, or several for a training; none: the default.
    pub adapter: Option<String>,
    /// Where the user chose it.
    pub adapter_source: AdapterSource,
    /// The other processes of a training.
    pub job: Job,
    /// The ranks of a run, if its adapter is Mesa's software driver and nothing else is chosen.
    pub software_ranks: Option<usize>,
}

/// Where an adapter is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdapterSource {
    /// The option `--adapter`.
    Option,
    /// The environment variable `WGPT_ADAPTER`.
    Environment,
}

impl Context<'_> {
    /// Prints a warning if `--adapter` is given to a command that uses no device.
    pub fn note_unused_adapter(&self, command: &str) {
        if self.adapter_option().is_some() {
            note(format_args!("warning: --adapter has no effect: `wgpt {command}` computes nothing on an adapter"));
        }
    }

    /// The value of `--adapter`, if it was given.
    pub fn adapter_option(&self) -> Option<&str> {
        self.adapter.as_deref().filter(|_| self.adapter_source == AdapterSource::Option)
    }

    /// An error about the adapter, with the name of its source.
    fn with_source(&self, error: Error) -> Error {
        match (error, self.adapter_source) {
            (Error::Value(value), AdapterSource::Option) if value.name == "adapter" => {
                Error::Value(InvalidValue { origin: Origin::Option, ..value })
            }
            (Error::Value(value), AdapterSource::Environment) if value.name == "adapter" => {
                Error::Value(InvalidValue { name: "WGPT_ADAPTER".into(), ..value })
            }
            (error, _) => error,
        }
    }

    /// Opens the adapter, and names it on stderr.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open(&self) -> Result<Device> {
        let device = Device::open(self.adapter.as_deref()).map_err(|error| self.with_source(error))?;
        Self::note_adapter(None, device.caps());
        Ok(device)
    }

    /// The adapters that the user chose, if it may be more than one.
    ///
    /// # Errors
    /// As [`Device::select`].
    pub fn several(&self) -> Result<Option<Vec<usize>>> {
        let list = self.adapter.as_deref().filter(|list| list.contains(',') || list.trim() == "all");
        list.map(Device::select).transpose().map_err(|error| self.with_source(error))
    }

    /// Opens a device for each rank of a training in this process, and names them on stderr: one on each adapter that the user
    /// chose, or `ranks` on a single one. A rank of an MPI job has one device, on an adapter that its number on the machine
    /// chooses from those of `--adapter`, or from all.
    ///
    /// # Errors
    /// As [`Device::open`]; [`Error::Value`] for several adapters in another number than `ranks`.
    pub fn open_ranks(&self, ranks: Option<usize>) -> Result<Vec<Device>> {
        if let Some(size) = self.job.size() {
            return match ranks {
                Some(ranks) if ranks != size => {
                    Err(Error::value("ranks", ranks, format!("expected {size}, the number of MPI's processes")))
                }
                _ => {
                    let device = self.open_by_rank()?;
                    Self::note_adapter(Some(0), device.caps());
                    Ok(vec![device])
                }
            };
        }
        let several = self.several()?;
        let ranks = match (ranks, &several, self.software_ranks) {
            (None, None, Some(by_default)) if self.is_software()? => {
                note(format_args!("{by_default} ranks share the cores; --ranks 1 trains on one device"));
                Some(by_default)
            }
            _ => ranks,
        };
        let indices = match (several, ranks.unwrap_or(1)) {
            (Some(several), _) => several,
            (None, 1) => return Ok(vec![self.open()?]),
            (None, _) => {
                let selected = self.adapter.as_deref().map_or(Ok(vec![0]), Device::select);
                selected.map_err(|error| self.with_source(error))?
            }
        };
        let indices = match (indices.as_slice(), ranks) {
            ([index], Some(ranks)) => vec![*index; ranks],
            (several, Some(ranks)) if several.len() != ranks => {
                let expected = format!("expected {}, the number of adapters that --adapter names", several.len());
                return Err(Error::value("ranks", ranks, expected));
            }
            _ => indices,
        };
        let devices = Device::open_each(&indices)?;
        for (rank, device) in devices.iter().enumerate() {
            Self::note_adapter((devices.len() > 1).then_some(rank), device.caps());
        }
        Ok(devices)
    }

    /// Whether the adapter that the user chose, or the default, is Mesa's software driver.
    fn is_software(&self) -> Result<bool> {
        let selected = self.adapter.as_deref().map_or(Ok(vec![0]), Device::select);
        let selected = selected.map_err(|error| self.with_source(error))?;
        let all = Device::list();
        Ok(selected.iter().all(|index| all.get(*index).is_some_and(Caps::is_lavapipe)))
    }

    /// Opens the device of this rank of an MPI job.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_by_rank(&self) -> Result<Device> {
        let list = self.adapter.as_deref().unwrap_or("all");
        let indices = Device::select(list).map_err(|error| self.with_source(error))?;
        let index = self.job.adapter(&indices).ok_or(Error::NoAdapter)?;
        Device::open_each(&[index])?.pop().ok_or(Error::NoAdapter)
    }

    /// Names an adapter on stderr.
    pub fn note_adapter(rank: Option<usize>, caps: &Caps) {
        let Caps { name, backend, driver, .. } = caps;
        let of_rank = rank.map_or(String::new(), |rank| format!(" of rank {rank}"));
        note(format_args!("adapter{of_rank}: {name} ({backend}, {driver})"));
    }

    /// Writes one line of JSON.
    pub fn json(&mut self, row: &impl serde::Serialize) -> Done {
        let text = serde_json::to_string(row).map_err(std::io::Error::from)?;
        Ok(writeln!(self.out, "{text}")?)
    }
}
