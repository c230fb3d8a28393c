//! Training runs of a tiny model, and the files that they leave.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use wgpt::Result;
use wgpt::config::ModelConfig;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::store::Model;
use wgpt::store::token_cache::TokenCache;
use wgpt::train::metrics::{self, Line};
use wgpt::train::{Layers, Observer, Settings};

/// Settings of a tiny model, as a file of settings has them; `more` lines follow.
pub fn tiny_toml(more: &str) -> String {
    let model = "n_layer = 2\nn_head = 2\nn_embd = 18\nn_positions = 16\nvocab_size = 270\ndropout = 0.1\n";
    format!("{model}batch = 4\nseed = 11\nvalid = 0.1\n{more}")
}

/// Writes what small runs need: text.txt; tiny.toml, the settings of a model of one layer; rows.tsv, eight labeled texts; and
/// `model`, a folder with initial weights and a tokenizer. `more` lines are added to the settings.
pub fn write_inputs(folder: &Path, more: &str) {
    let text = stories(5, 4000);
    std::fs::write(folder.join("text.txt"), &text).expect("text");
    std::fs::write(folder.join("tiny.toml"), tiny_toml(more).replace("n_layer = 2", "n_layer = 1")).expect("settings");
    let rows: String = (0..8).map(|i| format!("the word {i}\t{}\n", ["yes", "no"][i % 2])).collect();
    std::fs::write(folder.join("rows.tsv"), format!("text\tlabel\n{rows}")).expect("rows");
    let config =
        ModelConfig { n_layer: 1, n_head: 2, n_embd: 18, n_positions: 16, vocab_size: 270, ..ModelConfig::default() };
    let tokenizer = Tokenizer::train(&text, 270, Pretokenizer::Bytes).expect("a tokenizer");
    let model = Model { tokenizer: Some(tokenizer), ..Model::new(config, 3).expect("a model") };
    model.save(folder.join("model")).expect("a folder");
}

/// A new folder with a text, text.txt, and settings of a short run on it, tiny.toml.
pub fn place_of_a_short_run() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("folder");
    std::fs::write(place.path().join("text.txt"), stories(5, 4000)).expect("text");
    let settings = tiny_toml("steps = 4\nwarmup = 2\neval_every = 2\ncheckpoint_every = 2\n");
    std::fs::write(place.path().join("tiny.toml"), settings).expect("settings");
    place
}

/// Layers of settings with these `key=value`.
pub fn layers(set: &[&str]) -> Layers {
    let mut layers = Layers::new();
    set.iter().for_each(|set| layers.set(set).expect("key=value"));
    layers
}

/// Settings by the text of a file and `key=value`, which have precedence.
pub fn settings(toml: &str, set: &[&str]) -> Result<Settings> {
    let mut layers = Layers::new();
    layers.toml("run.toml", toml)?;
    set.iter().try_for_each(|set| layers.set(set))?;
    layers.settings()
}

/// The tests leave nothing in the user's cache.
pub fn no_cache() -> TokenCache {
    TokenCache::new(None)
}

/// The folder of a run's checkpoint.
pub fn checkpoint(run: &Path, step: u32) -> PathBuf {
    run.join(format!("checkpoints/step-{step:06}"))
}

/// The bytes of a run's latest weights.
pub fn latest_weights(run: &Path) -> Vec<u8> {
    let latest = std::fs::read_to_string(run.join("latest")).expect("latest");
    std::fs::read(run.join("checkpoints").join(latest.trim()).join("model.safetensors")).expect("weights")
}

/// The lines of a run's metrics.jsonl. Elapsed time and tokens a second are 0, so that two runs can be compared.
pub fn metrics_without_times(run: &Path) -> Vec<Line> {
    let mut all = metrics::read(run.join("metrics.jsonl")).expect("metrics");
    for line in &mut all {
        match line {
            Line::Step(step) => (step.elapsed_s, step.tokens_per_second, step.utilization) = (0.0, 0.0, None),
            Line::TaskStep(step) => (step.elapsed_s, step.tokens_per_second, step.utilization) = (0.0, 0.0, None),
            Line::Evaluation(_) | Line::Epoch(_) | Line::Test(_) => {}
        }
    }
    all
}

/// Stops a run after this number of steps, counted from when the run starts or resumes.
pub struct StopAfter(Cell<u32>);

pub fn stop_after(steps: u32) -> StopAfter {
    StopAfter(Cell::new(steps))
}

impl Observer for StopAfter {
    fn stop(&self) -> bool {
        self.0.replace(self.0.get().saturating_sub(1)) == 0
    }
}

/// The losses of a run's steps and evaluations.
pub fn losses(run: &Path) -> Vec<f64> {
    let loss = |line: Line| match line {
        Line::Step(line) => Some(f64::from(line.loss)),
        Line::Evaluation(line) => Some(line.valid_loss),
        Line::TaskStep(line) => Some(line.loss),
        _ => None,
    };
    metrics_without_times(run).into_iter().filter_map(loss).collect()
}

/// Asserts that losses differ from those of one device by at most `tolerance` of themselves.
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs(), "{what}: loss {i} is {a}, on one device {b}");
    }
}
