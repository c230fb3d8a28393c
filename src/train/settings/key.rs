//! A key of a run: its name, its help, and functions that set and read its value.

use super::run::Settings;
use super::value::{Range, RawValue};

/// A group of keys, with a heading in help and in config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The model.
    Model,
    /// The training data.
    Data,
    /// Batches, learning rate, optimizer.
    Training,
    /// Evaluation, samples, checkpoints.
    Outputs,
    /// Files, columns and head of a task.
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

/// A key.
pub struct Key {
    /// Its name in files and in `--set`.
    pub name: &'static str,
    /// The placeholder for its value in help, such as `N`.
    pub hint: &'static str,
    /// The text of its help.
    pub help: &'static str,
    /// The text of its help in fine-tuning, where it differs.
    pub fine_tuning_help: Option<&'static str>,
    /// The group it is listed in.
    pub group: Group,
    /// The range of its values, if they are numbers.
    pub range: Range,
    /// Names that other programs use for it, for "did you mean".
    pub aliases: &'static [&'static str],
    /// Sets its value; the error is the expected value.
    pub(crate) set: fn(&mut Settings, &RawValue) -> Result<(), String>,
    /// Its value; `None` when config.toml leaves it out.
    pub(crate) get: fn(&Settings) -> Option<toml::Value>,
}

impl Key {
    /// The same key with another help in fine-tuning.
    pub(super) const fn in_fine_tuning(self, help: &'static str) -> Self {
        Key { fine_tuning_help: Some(help), ..self }
    }
}

macro_rules! key {
    // An optional key of a task.
    (Task, $name:literal, $type:ty => task.$field:ident?, $aliases:expr, $help:literal) => {
        key!(Task, $name, $type, Range::Free, $aliases, $help, |s, v| s.task.$field = Some(v), |s| s.task.$field.clone())
    };
    ($group:ident, $name:literal, $type:ty, $range:expr, $aliases:expr, $help:literal, $set:expr, $get:expr $(,)?) => {
        Key {
            name: $name,
            hint: <$type as Setting>::HINT,
            help: $help,
            fine_tuning_help: None,
            group: Group::$group,
            range: $range,
            aliases: &$aliases,
            set: |settings, raw| {
                let set: fn(&mut Settings, $type) = $set;
                set(settings, <$type>::read(raw)?);
                Ok(())
            },
            get: |settings| {
                let get: fn(&Settings) -> Option<$type> = $get;
                get(settings).map(|value| value.write())
            },
        }
    };
    ($group:ident, $name:literal, $type:ty => $($field:ident).+, $range:expr, $aliases:expr, $help:literal) => {
        key!($group, $name, $type, $range, $aliases, $help, |s, v| s.$($field).+ = v, |s| Some(s.$($field).+.clone()))
    };
    // An optional key.
    ($group:ident, $name:literal, $type:ty => $field:ident?, $range:expr, $aliases:expr, $help:literal) => {
        key!($group, $name, $type, $range, $aliases, $help, |s, v| s.$field = Some(v), |s| s.$field.clone())
    };
}

pub(super) use key;
