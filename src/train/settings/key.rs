//! One key of a run: its name, its help, and how it is set and read.

use super::run::Settings;
use super::value::{Range, RawValue};

/// The part of a run that a key belongs to: a heading in help and in config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The decoder.
    Model,
    /// The text.
    Data,
    /// Batches, rates, the optimizer.
    Training,
    /// What is looked at and kept.
    Outputs,
    /// A task's files, columns and head.
    Task,
}

impl Group {
    /// The heading.
    pub const fn heading(self) -> &'static str {
        match self {
            Group::Model => "Model",
            Group::Data => "Data",
            Group::Training => "Training",
            Group::Outputs => "Evaluation, samples, checkpoints",
            Group::Task => "Task",
        }
    }
}

/// One key.
pub struct Key {
    /// Its name in files and in `--set`.
    pub name: &'static str,
    /// What stands for its value in help.
    pub hint: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Where it stands.
    pub group: Group,
    /// What its number may be.
    pub range: Range,
    /// What others call it: for "did you mean".
    pub elsewhere: &'static [&'static str],
    /// Sets it.
    pub(crate) set: fn(&mut Settings, &RawValue) -> Result<(), String>,
    /// Its value; none where config.toml does not need it.
    pub(crate) get: fn(&Settings) -> Option<toml::Value>,
}

macro_rules! key {
    // A task's key without a value unless it is given.
    (Task, $name:literal, $type:ty => task.$field:ident?, $elsewhere:expr, $help:literal) => {
        key!(Task, $name, $type, Range::Free, $elsewhere, $help, |s, v| s.task.$field = Some(v), |s| s.task.$field.clone())
    };
    ($group:ident, $name:literal, $type:ty, $range:expr, $elsewhere:expr, $help:literal, $set:expr, $get:expr $(,)?) => {
        Key {
            name: $name,
            hint: <$type as Setting>::HINT,
            help: $help,
            group: Group::$group,
            range: $range,
            elsewhere: &$elsewhere,
            set: |settings, given| {
                let set: fn(&mut Settings, $type) = $set;
                set(settings, <$type>::read(given)?);
                Ok(())
            },
            get: |settings| {
                let get: fn(&Settings) -> Option<$type> = $get;
                get(settings).map(|value| value.write())
            },
        }
    };
    ($group:ident, $name:literal, $type:ty => $($field:ident).+, $range:expr, $elsewhere:expr, $help:literal) => {
        key!($group, $name, $type, $range, $elsewhere, $help, |s, v| s.$($field).+ = v, |s| Some(s.$($field).+.clone()))
    };
    // A key without a value unless it is given.
    ($group:ident, $name:literal, $type:ty => $field:ident?, $range:expr, $elsewhere:expr, $help:literal) => {
        key!($group, $name, $type, $range, $elsewhere, $help, |s, v| s.$field = Some(v), |s| s.$field.clone())
    };
}

pub(super) use key;
