//! Packed, grouped and padded batches have the same losses and gradients; and `wgpt bench batching`.

use crate::common::models::{random_batch, small_config};
use crate::common::{device, files, program};
use wgpt::config::ModelConfig;
use wgpt::data::batch::Batch;
use wgpt::data::padding::Padding;
use wgpt::data::synthetic::stories::stories;
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Capacity, Training, TrainingOptions, initial_parameters};
use wgpt::philox::step_key;

const SEED: u64 = 3;

fn config(pattern: &str, dropout: f32) -> ModelConfig {
    let mut config =
        ModelConfig { initializer_range: 0.2, attention_pattern: pattern.into(), local_block: 20, ..small_config() };
    config.set_dropout(dropout);
    config
}

/// Loss and gradients of a batch in two micro-batches.
fn gradients(training: &mut Training, batch: &Batch) -> (f64, Vec<Vec<f32>>) {
    let (half, all) = (batch.sequences() / 2, batch.sequences());
    for part in [batch.part(0..half), batch.part(half..all)] {
        training.accumulate_gradients(&part, batch.target_count, step_key(SEED, 7)).expect("a step");
    }
    let gradients = training.read(ParameterData::Gradients).expect("gradients");
    training.optimizer_step(0.0).expect("an update");
    let results = training.wait_for_results().expect("a result");
    (results[0].loss, gradients)
}

#[test]
fn padding_changes_no_loss_and_no_gradient() {
    let device = device();
    for (pattern, dropout) in [("FLM", 0.0), ("LML", 0.2)] {
        let config = config(pattern, dropout);
        let packed = random_batch(&config, &[3, 70, 1, 12, 90, 2, 31, 33, 8, 64], SEED);
        let formed = Padding::ALL.map(|form| form.apply(packed.clone()).expect("formed"));
        assert_eq!(formed.each_ref().map(Batch::rows), [314, 3 * 3 + 3 * 31 + 3 * 70 + 90, 900]);
        let capacity = Capacity { rows: 900, sequences: 10 };
        let options = TrainingOptions::default();
        let parameters = initial_parameters(&config, SEED);
        let mut training = Training::new(&device, &config, &parameters, capacity, options).expect("a recording");
        let [packed, others @ ..] = formed.map(|batch| gradients(&mut training, &batch));
        for ((loss, other), form) in others.iter().zip(["grouped", "padded"]) {
            assert!((loss - packed.0).abs() < 1e-6 * packed.0, "{pattern} {form}: {loss}, packed {}", packed.0);
            for ((shape, a), b) in config.parameters().iter().zip(other).zip(&packed.1) {
                let scale = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
                let worst = a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs() / scale));
                // The gradient of a key's bias is 0 but for rounding.
                let bound = if shape.name.contains("attn.c_attn.bias") { 1e-3 } else { 2e-5 };
                assert!(worst < bound, "{pattern} {form} {}: {worst:e} of its largest gradient", shape.name);
            }
        }
    }
}

#[test]
fn three_forms_are_timed_on_the_same_batches() {
    let folder = tempfile::tempdir().expect("folder");
    // Lines are documents of very different lengths.
    let lines: Vec<String> = stories(4, 12_000).split(". ").map(|line| line.replace('\n', " ")).collect();
    std::fs::write(folder.path().join("text.txt"), lines.join("\n---\n")).expect("text");
    let arguments = "bench batching --data text.txt --document-separator --- --n-layer 1 --n-embd 16 --n-head 2 \
        --vocab-size 270 --steps 9 --accumulate 2 --json";
    let rows = program::json_rows(&program::run(folder.path(), &arguments.split_whitespace().collect::<Vec<_>>()));
    let of = |key: &str| rows.iter().map(|row| row[key].as_f64().expect("a number")).collect::<Vec<_>>();
    assert_eq!(rows.iter().map(|row| row["batching"].as_str().expect("a name")).collect::<Vec<_>>(), Padding::NAMES);
    let (shares, own, losses) = (of("real_share"), of("real_share_in_buckets"), of("loss"));
    assert!(shares[0] == 1.0 && shares[0] > shares[1] && shares[1] > shares[2] && shares[2] > 0.0, "{shares:?}");
    assert!(own[0] == 1.0 && own[1] > shares[1] && own[2] > shares[2], "{own:?}");
    assert!(losses.iter().all(|loss| (loss - losses[0]).abs() < 1e-5), "{losses:?}");
    assert!(of("step_ms").iter().all(|ms| *ms > 0.0));
    assert_eq!(files::names(folder.path()), ["text.txt"], "nothing is left behind");
}
