//! Settings as options of the command line: each key is an option with `-` in place of `_`; besides, `--config` and `--set`
//! (docs/spec.md section 6.1).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::Result;
use crate::error::Origin;
use crate::train::settings::key::{Group, Key};
use crate::train::settings::keys::FLAGS;
use crate::train::settings::value::RawValue;
use crate::train::settings::{Layers, Settings, Stage};

/// The key that may have several values.
const DATA: &str = "data";
/// The key that gives other keys their defaults.
const PRESET: &str = "preset";

/// The options' names by the keys', because clap borrows names for the whole program.
static LONG: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    let all = [Stage::Pretraining, Stage::FineTuning].into_iter().flat_map(Stage::keys);
    all.map(|key| (key.name, key.name.replace('_', "-"))).collect()
});

/// Adds an option for each key of a stage, `--config FILE` and `--set KEY=VALUE`.
pub fn add(command: Command, stage: Stage) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Read settings from a TOML file, such as a run's config.toml");
    let set = Arg::new("set")
        .long("set")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("Set a key, which overrides --config; may be repeated");
    command.arg(config).arg(set).args(options(stage, |_| true))
}

/// Adds an option for some of a stage's keys.
pub fn add_some(command: Command, stage: Stage, names: &[&str]) -> Command {
    command.args(options(stage, |key| names.contains(&key.name)).into_iter().map(|arg| arg.help_heading(None)))
}

fn options(stage: Stage, has: impl Fn(&Key) -> bool) -> Vec<Arg> {
    let defaults = stage.defaults();
    stage.keys().filter(|key| has(key)).map(|key| option(key, &defaults, stage)).collect()
}

/// A default value: small numbers as in 6.25e-5, texts without quotes.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(x) if *x != 0.0 && x.abs() < 1e-3 => format!("{x:e}"),
        value => value.to_string().trim_matches('"').into(),
    }
}

fn option(key: &'static Key, defaults: &Settings, stage: Stage) -> Arg {
    // The preset nano gives the defaults of pretraining and of the model.
    let is_of_preset = key.name != PRESET && (stage == Stage::Pretraining || key.group == Group::Model);
    let label = if is_of_preset { "default in nano" } else { "default" };
    let help = key.fine_tuning_help.filter(|_| stage == Stage::FineTuning).unwrap_or(key.help);
    let help = match (key.get)(defaults) {
        Some(toml::Value::Array(_)) | None => help.into(),
        Some(value) => format!("{help} [{label}: {}]", shown(&value)),
    };
    let heading = match (stage, key.group) {
        (Stage::FineTuning, Group::Model) => {
            "Model, with from_scratch; another has its own settings, apart from dropout"
        }
        _ => key.group.heading(),
    };
    let arg = Arg::new(key.name)
        .long(LONG.get(key.name).map_or(key.name, String::as_str))
        .value_name(key.hint)
        .help(help)
        .help_heading(heading)
        .action(ArgAction::Append);
    match key.name {
        DATA => arg.num_args(1..), // --data *.txt
        name if FLAGS.contains(&name) => arg.num_args(0..=1).default_missing_value("true"),
        _ => arg.allow_hyphen_values(true), // so that -1 gets the message of the key's range
    }
}

/// The settings given on the command line, for a command of [`add`] or [`add_some`].
///
/// # Errors
/// As [`Layers::file`] and [`Layers::set`].
pub fn layers(matches: &ArgMatches, stage: Stage) -> Result<Layers> {
    let mut layers = Layers::for_stage(stage);
    // A command of add_some has fewer options, so a name may be unknown.
    let all = |name: &str| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten();
    for path in all("config") {
        layers.file(path)?;
    }
    for assignment in all("set") {
        layers.set(assignment)?;
    }
    for key in stage.keys() {
        let values: Vec<&String> = all(key.name).collect();
        match values.as_slice() {
            [] => {}
            [.., last] if values.len() == 1 || key.name != DATA => layers.option(key.name, last.as_str()),
            all => {
                let all = all.iter().map(|v| toml::Value::String((*v).clone())).collect();
                layers.push(key.name, RawValue::Toml(toml::Value::Array(all)), Origin::Option);
            }
        }
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings> {
        let matches =
            add(Command::new("pretrain"), Stage::Pretraining).try_get_matches_from(line.split(' ')).expect("parses");
        layers(&matches, Stage::Pretraining)?.settings()
    }

    #[test]
    fn every_key_is_an_option() {
        for (stage, texts) in [
            (Stage::Pretraining, ["[default in nano: 0.002]", "Sequences per optimizer step", "; must divide batch"]),
            (Stage::FineTuning, ["[default: 6.25e-5]", "Examples per optimizer step", "; at most batch"]),
        ] {
            let mut command = add(Command::new("train"), stage);
            command.clone().debug_assert();
            let help = command.render_long_help().to_string();
            for key in stage.keys() {
                assert!(help.contains(&format!("--{} ", key.name.replace('_', "-"))), "{}", key.name);
            }
            assert!(texts.iter().all(|text| help.contains(text)), "{help}");
        }
    }

    #[test]
    fn a_flag_may_have_a_value() {
        let parse = |line: &str| {
            let matches = add(Command::new("finetune"), Stage::FineTuning).try_get_matches_from(line.split(' '));
            layers(&matches.expect("parses"), Stage::FineTuning).expect("layers").settings().expect("settings").task
        };
        let task = parse("finetune --from-scratch --unfreeze --layer-lr-decay --lm-coef 0");
        assert!(task.from_scratch && task.unfreeze && task.lm_coef == 0.0);
        assert_eq!(task.layer_lr_decay.0, 1.0 / 2.6);
        let task = parse("finetune --from-scratch true --layer-lr-decay 0.5");
        assert_eq!((task.from_scratch, task.unfreeze, task.layer_lr_decay.0), (true, false, 0.5));
    }

    #[test]
    fn an_option_overrides_set() {
        let s = settings("pretrain --data a b --data c --n-layer 2 --set n_layer=3 --set lr=1 --lr 2 --lr 3")
            .expect("settings");
        assert_eq!((s.model.n_layer, s.lr, s.data.len()), (2, 3.0, 3));
        assert_eq!(settings("pretrain --lr -1").expect_err("negative").to_string(), "--lr -1: must be above 0");
    }
}
