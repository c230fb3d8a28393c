//! Arguments that several subcommands have, and errors about arguments.

use crate::error::{InvalidValue, Origin};
use crate::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// The option `--json`.
pub(super) fn json_flag() -> Arg {
    flag("json").help("Print one JSON object per line on stdout, and nothing else")
}

/// An option without a value.
pub(super) fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// An option whose value is a path.
pub(super) fn path_option(name: &'static str, value_name: &'static str) -> Arg {
    path_argument(name, value_name).long(name)
}

/// An argument without a name of its own, whose value is a path.
pub(super) fn path_argument(name: &'static str, value_name: &'static str) -> Arg {
    Arg::new(name).value_name(value_name).value_parser(value_parser!(PathBuf))
}

/// The value of an argument that must be there.
///
/// # Errors
/// [`Error::Value`] if it is not. The parser refuses such a command line before.
pub(super) fn required<'a, T: Clone + Send + Sync + 'static>(matches: &'a ArgMatches, name: &str) -> Result<&'a T> {
    matches.get_one(name).ok_or_else(|| missing_option(name, "a value is required"))
}

/// A parser of whole numbers in a range.
pub(super) fn whole_number<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.trim().parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
    }
}

/// An error about the option `--name found`.
pub(super) fn invalid_option(name: &str, found: impl Display, expected: impl Into<String>) -> Error {
    let (found, expected) = (Some(found.to_string()), Some(expected.into()));
    Error::Value(InvalidValue { name: name.into(), origin: Origin::Option, found, expected })
}

/// An error about the option `--name`, whose value is missing or does not matter.
pub(super) fn missing_option(name: &str, expected: impl Into<String>) -> Error {
    Error::Value(InvalidValue {
        name: name.into(),
        origin: Origin::Option,
        found: None,
        expected: Some(expected.into()),
    })
}
