//! The keys as options of the command line: each key is the option with `-` for `_`, and `--config`, `--set` stand over.

use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::keys::{Given, KEYS, Key};
use super::settings::{Layers, Settings, Source};
use crate::Result;

/// The key that may have several values.
const DATA: &str = "data";

/// The long names, in the order of [`KEYS`].
static LONG: LazyLock<Vec<String>> = LazyLock::new(|| KEYS.iter().map(|key| key.name.replace('_', "-")).collect());

/// The command with an option a key, `--config FILE` and `--set KEY=VALUE`.
pub fn add(command: Command) -> Command {
    let nano = Settings::default();
    let config =
        Arg::new("config").long("config").value_name("FILE").help("Settings of a run, TOML; a config.toml is one");
    let set = Arg::new("set")
        .long("set")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("Sets a key over the file; may be repeated");
    let keys = KEYS.iter().zip(LONG.iter()).map(|(key, long)| option(key, long, &nano));
    command.arg(config).arg(set).args(keys)
}

/// The command with an option for some of the keys alone.
pub fn add_some(command: Command, names: &[&str]) -> Command {
    let nano = Settings::default();
    let keys = KEYS.iter().zip(LONG.iter()).filter(|(key, _)| names.contains(&key.name));
    command.args(keys.map(|(key, long)| option(key, long, &nano).help_heading(None)))
}

fn option(key: &'static Key, long: &'static str, nano: &Settings) -> Arg {
    let help = match (key.get)(nano) {
        Some(toml::Value::Array(_)) | None => key.help.into(),
        Some(value) => format!("{} [nano: {}]", key.help, value.to_string().trim_matches('"')),
    };
    let arg = Arg::new(key.name)
        .long(long)
        .value_name(key.hint)
        .help(help)
        .help_heading(key.group.heading())
        .action(ArgAction::Append);
    match key.name {
        DATA => arg.num_args(1..),          // --data *.txt
        _ => arg.allow_hyphen_values(true), // -1 reaches the key's own range and its message
    }
}

/// What was given to a command that [`add`] or [`add_some`] made.
///
/// # Errors
/// As [`Layers::file`] and [`Layers::set`].
pub fn layers(matches: &ArgMatches) -> Result<Layers> {
    let mut layers = Layers::new();
    // A command may have been made with fewer options.
    let all = |name: &str| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten();
    for path in all("config") {
        layers.file(path)?;
    }
    for assignment in all("set") {
        layers.set(assignment)?;
    }
    for key in KEYS {
        let values: Vec<&String> = all(key.name).collect();
        match values.as_slice() {
            [] => {}
            [.., last] if values.len() == 1 || key.name != DATA => layers.option(key.name, last.as_str()),
            all => {
                let all = all.iter().map(|v| toml::Value::String((*v).clone())).collect();
                layers.push(key.name, Given::Toml(toml::Value::Array(all)), Source::Option);
            }
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings> {
        let matches = add(Command::new("pretrain")).try_get_matches_from(line.split(' ')).expect("parses");
        layers(&matches)?.settings()
    }

    #[test]
    fn every_key_is_an_option() {
        let mut command = add(Command::new("pretrain"));
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        for key in KEYS {
            assert!(help.contains(&format!("--{} <{}>", key.name.replace('_', "-"), key.hint)), "{}", key.name);
        }
        assert!(help.contains("[nano: 0.002]"), "{help}");
    }

    #[test]
    fn options_stand_over_set() {
        let s = settings("pretrain --data a b --data c --n-layer 2 --set n_layer=3 --set lr=1 --lr 2 --lr 3")
            .expect("settings");
        assert_eq!((s.model.n_layer, s.lr, s.data.len()), (2, 3.0, 3));
        assert_eq!(settings("pretrain --lr -1").expect_err("negative").to_string(), "--lr -1: must be above 0");
    }
}
