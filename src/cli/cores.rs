//! How many ranks a training has where its adapter is Mesa's software driver, by default.

use super::options;
use crate::config::ModelConfig;
use crate::gpu::threads::divide_cores;
use crate::store::config_json;
use crate::train::run_folder::CONFIG;
use crate::train::{Layers, Settings, Stage};
use clap::ArgMatches;
use std::path::PathBuf;

/// The fewest sequences of a step that each rank should have.
const FEWEST_SEQUENCES: usize = 4;
/// The largest model that is held several times, in parameters.
const LARGEST_MODEL: usize = 32_000_000;

/// The number of ranks of a run on Mesa's software driver, if there should be several; the driver's threads are then divided
/// among them. Call it before the process has several threads. Errors in the settings are left to the command.
pub(super) fn ranks(matches: &ArgMatches, adapter: Option<&str>) -> Option<usize> {
    let (name, matches) = matches.subcommand()?;
    let (stage, matches) = match name {
        "finetune" => (Stage::FineTuning, matches.subcommand()?.1),
        _ => (Stage::Pretraining, matches),
    };
    let resumed = matches.try_get_one::<PathBuf>("resume").ok().flatten();
    let settings = match (name, resumed) {
        ("demo", _) => Settings::default(),
        // Its config.toml has the number of ranks.
        (_, Some(run)) => {
            let mut layers = Layers::for_stage(stage);
            layers.file(run.join(CONFIG)).ok()?;
            let ranks = layers.run_settings().ok()?.ranks.filter(|ranks| *ranks > 1)?;
            divide_cores(ranks);
            return None;
        }
        _ => options::layers(matches, stage).ok()?.settings().ok()?,
    };
    let several = adapter.filter(|list| list.contains(',')).map(|list| list.split(',').count());
    let chosen = settings.ranks.or(several);
    let ranks = chosen.or_else(|| by_default(&settings)).filter(|ranks| *ranks > 1)?;
    (divide_cores(ranks) && chosen.is_none()).then_some(ranks)
}

fn by_default(settings: &Settings) -> Option<usize> {
    let model = match &settings.task.model {
        Some(folder) => {
            let path = folder.join("config.json");
            config_json::from_json(&std::fs::read(&path).ok()?, &path).ok()?
        }
        None => settings.model.clone(),
    };
    // `batch = auto` is measured on one device.
    if settings.measures_batch || model.parameter_count() > LARGEST_MODEL {
        return None;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Some(cores.min(sequences(settings, &model) / FEWEST_SEQUENCES))
}

/// The sequences, or in fine-tuning the examples, of a micro-batch, if there is one rank.
fn sequences(settings: &Settings, model: &ModelConfig) -> usize {
    let all = settings.batch_tokens.map_or(settings.batch, |tokens| tokens / model.n_positions.max(1));
    all / settings.micro_batches()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_enough_sequences_and_small_models() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let ranks = |set: &[&str]| {
            let mut layers = Layers::new();
            set.iter().for_each(|set| layers.set(set).expect("key=value"));
            by_default(&layers.settings().expect("settings"))
        };
        assert_eq!(ranks(&["batch=7"]), Some(1.min(cores)));
        assert_eq!(ranks(&["batch=8"]), Some(2.min(cores)));
        assert_eq!(ranks(&["batch=16", "accumulate=4"]), Some(1.min(cores)));
        assert_eq!(ranks(&["batch_tokens=1024", "n_positions=128"]), Some(2.min(cores)));
        assert_eq!(ranks(&["batch=auto"]), None);
        assert_eq!(ranks(&["preset=gpt1", "batch=64"]), None);
    }
}
