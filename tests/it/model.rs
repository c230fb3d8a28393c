//! The whole decoder on the device against its f64 oracle: losses, hidden states and every gradient, packed and ragged, with
//! dropout, with local attention, by micro-batches; and the same bits twice.

use crate::common::device;
use crate::common::models::{capacity_of, oracle, random_batch, random_parameters, small_config, widen_all};
use wgpt::config::{KvGroups, KvNull, KvScale, ModelConfig};
use wgpt::data::batch::{Batch, IGNORED};
use wgpt::gpu::Device;
use wgpt::model::parameters::ParameterData;
use wgpt::model::{Dispatches, Training, TrainingOptions};
use wgpt::philox::{Stream, Words, step_key};
use wgpt::reference::model::Output;

const SEED: u64 = 11;

/// A small model of odd sizes, changed.
fn tiny(change: impl FnOnce(&mut ModelConfig)) -> (ModelConfig, Vec<Vec<f32>>) {
    let mut config = ModelConfig { n_layer: 2, ..small_config() };
    change(&mut config);
    let parameters = random_parameters(&config, SEED);
    (config, parameters)
}

fn batch(config: &ModelConfig, lengths: &[usize]) -> Batch {
    random_batch(config, lengths, SEED)
}

fn expected_output(config: &ModelConfig, parameters: &[Vec<f32>], batch: &Batch, key: Option<[u32; 2]>) -> Output {
    oracle(config, &widen_all(parameters), batch, key)
}

fn train(device: &Device, config: &ModelConfig, parameters: &[Vec<f32>], capacity: &Batch) -> Training {
    Training::new(device, config, parameters, capacity_of(capacity), TrainingOptions::default()).expect("a recording")
}

/// Largest error of each gradient over its largest value; the key bias, whose true gradient is 0, over its tensor's.
fn worst(config: &ModelConfig, got: &[Vec<f32>], expected: &[Vec<f64>]) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for ((shape, got), expected) in config.parameters().iter().zip(got).zip(expected) {
        let scale = expected.iter().fold(1e-12f64, |m, x| m.max(x.abs()));
        for (g, e) in got.iter().zip(expected) {
            let error = (f64::from(*g) - e).abs() / scale;
            if error.is_nan() || error > worst.0 {
                worst = (error, shape.name.clone());
            }
        }
    }
    worst
}

fn compare(change: impl FnOnce(&mut ModelConfig), lengths: &[usize]) {
    compare_on(&device(), change, lengths);
}

fn compare_on(device: &Device, change: impl FnOnce(&mut ModelConfig), lengths: &[usize]) {
    let (config, parameters) = tiny(change);
    let batch = batch(&config, lengths);
    let key = step_key(SEED, 4);
    let dropout = (config.resid_pdrop > 0.0).then_some(key);
    let expected = expected_output(&config, &parameters, &batch, dropout);
    let mut training = train(device, &config, &parameters, &batch);
    training.accumulate_gradients(&batch, batch.target_count, key).expect("a step");
    let gradients = training.read(ParameterData::Gradients).expect("gradients");
    let (error, name) = worst(&config, &gradients, &expected.gradients);
    assert!(error < 2e-4, "{name}: {error:.1e} of its largest gradient");
    let last = config.n_layer;
    let hidden = training.hidden(last, batch.rows()).expect("hidden");
    for (g, e) in hidden.iter().zip(&expected.hidden[last]) {
        assert!((f64::from(*g) - e).abs() < 2e-4, "{g} {e}");
    }
    // A direction drawn at random: the loss changes along it as the gradient predicts, by the oracle's forward pass alone.
    let mut words = Words::new(SEED, Stream::Weights, 7, 7);
    let direction: Vec<Vec<f64>> =
        parameters.iter().map(|t| t.iter().map(|_| words.uniform() - 0.5).collect()).collect();
    let moved = |by: f64| {
        let at: Vec<Vec<f64>> = parameters
            .iter()
            .zip(&direction)
            .map(|(t, u)| t.iter().zip(u).map(|(x, u)| f64::from(*x) + by * u).collect())
            .collect();
        oracle(&config, &at, &batch, dropout).loss
    };
    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
    let along: f64 = gradients
        .iter()
        .zip(&direction)
        .map(|(g, u)| g.iter().zip(u).map(|(g, u)| f64::from(*g) * u).sum::<f64>())
        .sum();
    assert!((slope - along).abs() < 1e-4 * slope.abs().max(0.1), "along a direction: {slope} by the loss, {along}");
}

#[test]
fn a_packed_batch_matches_the_oracle() {
    compare(|_| {}, &[70, 0, 1, 33]);
}

#[test]
fn dropout_in_every_place_matches_the_oracle() {
    compare(|c| c.set_dropout(0.2), &[70, 0, 1, 33]);
}

#[test]
fn local_and_full_layers_match_the_oracle() {
    compare(|c| (c.attention_pattern, c.local_block) = ("LF".into(), 7), &[70, 2, 20]);
}

#[test]
fn compressed_and_local_layers_match_the_oracle() {
    compare(
        |c| {
            (c.n_layer, c.attention_pattern, c.local_block, c.n_embd) = (5, "LMLML".into(), 7, 48);
            c.set_dropout(0.2);
        },
        &[70, 0, 1, 33, 2],
    );
}

#[test]
fn compressed_layers_match_the_oracle() {
    let factor = |f| move |c: &mut ModelConfig| (c.attention_pattern, c.kv_factor) = ("M".into(), f);
    compare(factor(2), &[70, 3, 20]);
    compare(
        |c| {
            factor(4)(c);
            (c.n_embd, c.kv_groups, c.kv_shared, c.kv_scale) = (48, KvGroups::Head, true, KvScale::Width);
        },
        &[88, 0, 3],
    );
    compare(
        |c| {
            factor(3)(c);
            (c.n_embd, c.kv_groups, c.kv_null) = (48, KvGroups::Channel, KvNull::Zero);
        },
        &[2, 67, 1],
    );
    compare(
        |c| {
            factor(3)(c);
            (c.n_embd, c.n_head, c.kv_groups) = (35, 5, KvGroups::Head);
        },
        &[66, 3],
    );
}

/// Tensors above the limits of bindings and textures are split in ranges of rows, parameters in slabs.
#[test]
fn small_binding_limits_match_the_oracle() {
    let device = device();
    for (max_binding, max_texture) in [(64 << 10, 16384), (128 << 20, 64), (64 << 10, 64)] {
        let narrow = device.narrowed(|caps| (caps.max_binding, caps.max_texture) = (max_binding, max_texture));
        compare_on(&narrow, |c| (c.attention_pattern, c.local_block) = ("LM".into(), 16), &[70, 0, 30, 27]);
    }
    let small = device.narrowed(|caps| caps.max_binding = 64 << 10);
    let (config, parameters) = tiny(|_| {});
    let batch = batch(&config, &[80, 80]);
    let too_long = Training::new(&small, &config, &parameters, capacity_of(&batch), TrainingOptions::default());
    let error = too_long.err().expect("too long");
    assert!(error.to_string().contains("`qkv`: 81920 bytes: the device binds 65536 at most"), "{error}");
}

/// Where an adapter is too slow for a product or an attention in one dispatch, rows and tiles are divided over several.
#[test]
fn dispatches_of_few_operations_match_the_oracle() {
    for int64 in [true, false] {
        let slow = device().narrowed(|caps| (caps.max_dispatch_flops, caps.int64) = (2e5, int64 && caps.int64));
        compare_on(&slow, |c| (c.attention_pattern, c.local_block) = ("LMF".into(), 16), &[70, 0, 30, 88]);
    }
}

/// Different tokens after a random place: no bit of an earlier output changes, alone or packed.
#[test]
fn no_output_depends_on_a_later_token() {
    let device = device();
    let mut words = Words::new(SEED, Stream::Order, 1, 1);
    for (pattern, n_embd) in [("F", 36), ("L", 36), ("M", 36), ("M", 48), ("LMLML", 48), ("FML", 35)] {
        let (config, parameters) = tiny(|c| {
            (c.attention_pattern, c.n_layer, c.local_block) = (pattern.into(), 5, 11);
            (c.n_embd, c.n_head) = (n_embd, if n_embd == 35 { 5 } else { 3 });
        });
        for _ in 0..3 {
            let lengths = [1 + words.below(89) as usize, words.below(90) as usize];
            let whole = batch(&config, &lengths);
            let mut training = train(&device, &config, &parameters, &whole);
            let before = training.logits(&whole).expect("logits");
            let from = words.below(lengths[0] as u32) as usize;
            let mut other = whole.clone();
            other.ids[from..lengths[0]].iter_mut().for_each(|id| *id = (*id + 1 + words.below(66)) % 67);
            let after = training.logits(&other).expect("logits");
            let row = |logits: &[f32], i: usize| logits[i * 67..(i + 1) * 67].to_vec();
            for i in 0..whole.rows() {
                let may_change = (from..lengths[0]).contains(&i);
                assert!(
                    may_change || row(&before, i) == row(&after, i),
                    "{pattern} {lengths:?}: row {i} saw row {from}"
                );
            }
            assert_ne!(row(&before, from), row(&after, from), "{pattern} {lengths:?}: row {from} does not see itself");
        }
    }
}

#[test]
fn odd_head_widths_match_the_oracle() {
    compare(|c| (c.n_embd, c.n_head) = (35, 5), &[66, 3]);
}

#[test]
fn a_token_in_a_block_of_one_attends_to_itself_alone() {
    let device = device();
    let (config, parameters) = tiny(|c| (c.attention_pattern, c.local_block) = ("L".into(), 1));
    let batch = batch(&config, &[12]);
    let mut training = train(&device, &config, &parameters, &batch);
    let before = training.logits(&batch).expect("logits");
    let mut other = batch.clone();
    other.ids[..11].iter_mut().for_each(|id| *id = (*id + 1) % 67);
    let after = training.logits(&other).expect("logits");
    let last = 11 * config.vocab_size;
    assert_eq!(before[last..], after[last..], "the last token saw another");
    assert_ne!(before[..last], after[..last]);
}

#[test]
fn micro_batches_have_the_gradients_of_the_whole_batch() {
    let device = device();
    let (config, parameters) = tiny(|c| c.set_dropout(0.2));
    let whole = batch(&config, &[20, 31, 5, 64]);
    let key = step_key(SEED, 0);
    let expected = expected_output(&config, &parameters, &whole, Some(key));
    let mut training = train(&device, &config, &parameters, &whole);
    for part in [0..1, 1..3, 3..4] {
        training.accumulate_gradients(&whole.part(part), whole.target_count, key).expect("a step");
    }
    let gradients = training.read(ParameterData::Gradients).expect("gradients");
    let (error, name) = worst(&config, &gradients, &expected.gradients);
    assert!(error < 2e-4, "{name}: {error:.1e} of its largest gradient");
}

#[test]
fn two_runs_have_the_same_bits() {
    let device = device();
    let (config, parameters) = tiny(|c| c.set_dropout(0.1));
    let batch = batch(&config, &[40, 1, 33]);
    let run = || {
        let mut training = train(&device, &config, &parameters, &batch);
        for step in 0..3 {
            training.accumulate_gradients(&batch, batch.target_count, step_key(SEED, step)).expect("a step");
            training.optimizer_step(1e-3).expect("an update");
        }
        let results = training.wait_for_results().expect("results");
        (results, training.parameters().expect("weights"))
    };
    let (first, second) = (run(), run());
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "weights differ");
}

#[test]
fn results_arrive_in_order_whether_or_not_they_are_awaited() {
    let device = device();
    let (config, parameters) = tiny(|_| {});
    let batch = batch(&config, &[40, 1, 33]);
    let run = |awaited: bool| {
        let mut training = train(&device, &config, &parameters, &batch);
        let mut results = Vec::new();
        for _ in 0..9 {
            training.step(&batch, 1e-3, SEED).expect("a step");
            results.extend(if awaited { training.wait_for_results().expect("results") } else { Vec::new() });
            results.extend(training.next_result().expect("no error"));
        }
        results.extend(training.wait_for_results().expect("results"));
        (results, training.parameters().expect("weights"))
    };
    let (first, second) = (run(true), run(false));
    assert_eq!(first.0.iter().map(|result| result.step).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "weights differ");
}

#[test]
fn a_step_in_one_submission_has_the_bits_of_one_in_two() {
    let device = device();
    let (config, parameters) = tiny(|c| c.set_dropout(0.1));
    let batch = batch(&config, &[40, 1, 33]);
    let run = |together: bool| {
        let mut training = train(&device, &config, &parameters, &batch);
        for step in 0..6 {
            if together {
                training.step(&batch, 1e-3, SEED).expect("a step");
            } else {
                training.accumulate_gradients(&batch, batch.target_count, step_key(SEED, step)).expect("a step");
                training.optimizer_step(1e-3).expect("an update");
            }
        }
        let results = training.wait_for_results().expect("results");
        (results, training.progress(), training.moments().expect("moments"), training.parameters().expect("weights"))
    };
    assert!(run(true) == run(false));
}

#[test]
fn recomputed_activations_have_the_bits_of_kept_ones() {
    let device = device();
    for pattern in ["F", "FML", "MF"] {
        let (config, parameters) = tiny(|c| {
            c.set_dropout(0.1);
            (c.attention_pattern, c.n_layer) = (pattern.into(), 4);
        });
        let batch = batch(&config, &[40, 1, 33]);
        let run = |recompute: bool| {
            let options = TrainingOptions { recompute, ..TrainingOptions::default() };
            let mut training =
                Training::new(&device, &config, &parameters, capacity_of(&batch), options).expect("a recording");
            (0..3).for_each(|_| training.step(&batch, 1e-3, SEED).expect("a step"));
            let results = training.wait_for_results().expect("results");
            let gradients = training.read(ParameterData::Gradients).expect("gradients");
            let weights = training.parameters().expect("weights");
            let outputs: Vec<_> = (0..=4).map(|i| training.hidden(i, batch.rows()).expect("outputs")).collect();
            (results, gradients, weights, outputs, training.evaluate(&batch).expect("losses"))
        };
        assert!(run(true) == run(false), "{pattern}");
    }
}

#[test]
fn the_size_of_submissions_changes_no_bit() {
    let (config, parameters) = tiny(|c| c.set_dropout(0.1));
    let batch = batch(&config, &[40, 1, 33]);
    let device = device();
    let run = |flops: f64| {
        let device = device.narrowed(|_| {});
        device.set_submission_flops(flops);
        let mut training = train(&device, &config, &parameters, &batch);
        (0..6).for_each(|_| training.step(&batch, 1e-3, SEED).expect("a step"));
        let results = training.wait_for_results().expect("results");
        assert_eq!(device.submission_flops(), flops);
        (results, training.evaluate(&batch).expect("losses"), training.parameters().expect("weights"))
    };
    let whole = run(f64::INFINITY);
    // A submission for each dispatch that counts its operations, and one for a few of them.
    for flops in [0.0, 3e5] {
        assert!(run(flops) == whole, "other bits with submissions of {flops} operations");
    }
}

#[test]
fn a_step_without_targets_changes_nothing() {
    let device = device();
    let (config, parameters) = tiny(|_| {});
    let mut batch = batch(&config, &[9]);
    batch.targets.iter_mut().for_each(|t| *t = IGNORED);
    batch.target_count = 0;
    let mut training = train(&device, &config, &parameters, &batch);
    training.accumulate_gradients(&batch, 0, [0; 2]).expect("a step");
    assert!(training.read(ParameterData::Gradients).expect("gradients").iter().flatten().all(|g| *g == 0.0));
    training.optimizer_step(1e-2).expect("an update");
    assert_eq!(training.wait_for_results().expect("a result")[0].loss, 0.0);
    assert!(training.parameters().expect("weights") == parameters, "a step without targets changed a weight");
    assert_eq!(training.evaluate(&batch).expect("losses"), vec![0.0; 9]);
}

#[test]
fn impossible_borders_of_sequences_are_refused() {
    let (config, parameters) = tiny(|c| (c.n_layer, c.attention_pattern) = (1, "M".into()));
    let right = batch(&config, &[10, 10]);
    let mut training = train(&device(), &config, &parameters, &right);
    for (borders, expected) in [
        ([0, 21, 20], "end of sequence 1 = 20: expected at least 21"),
        ([0, 10, 19], "expected 0 to 20"),
        ([1, 10, 20], "expected 0 to 20"),
    ] {
        let wrong = Batch { cu_seqlens: borders.to_vec(), ..right.clone() };
        let error = training.accumulate_gradients(&wrong, wrong.target_count, [0, 0]).expect_err(expected);
        assert!(error.is_invalid_input() && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_norm_that_is_not_finite_stops_updates_and_keeps_the_weights() {
    let device = device();
    let (config, mut parameters) = tiny(|_| {});
    let batch = batch(&config, &[9, 8]);
    parameters[2][5] = f32::NAN;
    let mut training = train(&device, &config, &parameters, &batch);
    for _ in 0..2 {
        training.accumulate_gradients(&batch, batch.target_count, [0; 2]).expect("a step");
        training.optimizer_step(1e-3).expect("an update");
    }
    let results = training.wait_for_results().expect("results");
    assert_eq!(results.iter().map(|result| result.halted).collect::<Vec<_>>(), [Some(1), Some(1)]);
    let after = training.parameters().expect("weights");
    assert!(after[3..] == parameters[3..], "weights changed after a step that was not finite");
}

/// A kernel recorded twice changes no number, only the time, so the counts are pinned. Forward: the embedding, 7 a layer
/// (c_attn, attention, c_proj, ln_1, c_fc, c_proj, ln_2), 6 more for an M layer (for keys and for values: gather, product, null
/// rows), logits and cross-entropy. The sizes are small enough that no adapter splits a product.
#[test]
fn each_pattern_records_its_dispatches_once() {
    let device = device();
    let counts = ["F", "L", "M", "LMLML"].map(|pattern| {
        let (config, parameters) = tiny(|c| {
            (c.n_layer, c.attention_pattern, c.local_block) = (pattern.len(), pattern.into(), 16);
            (c.n_embd, c.n_head) = (24, 2);
            c.set_dropout(0.0);
        });
        train(&device, &config, &parameters, &batch(&config, &[40, 20])).dispatches()
    });
    let expected = [(10, 33, 4), (10, 33, 4), (16, 55, 4), (50, 177, 4)].map(
        |(evaluate, accumulate_gradients, optimizer_step)| Dispatches {
            evaluate,
            accumulate_gradients,
            optimizer_step,
        },
    );
    assert_eq!(counts, expected);
}
