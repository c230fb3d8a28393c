//! Inference and generation against the f64 oracle of the whole decoder.

use crate::common::device;
use crate::common::models::{
    oracle, random_batch, random_ids, random_parameters, relative_error, small_config, widen_all,
};
use wgpt::config::{KvGroups, KvNull, KvScale, ModelConfig};
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::gpu::Device;
use wgpt::model::sampling::{Sampling, SamplingLimits, sample};
use wgpt::model::{Capacity, Generator, Inference};
use wgpt::reference::model::Output;

const SEED: u64 = 23;

/// A small model of odd sizes, changed.
fn tiny(change: impl FnOnce(&mut ModelConfig)) -> (ModelConfig, Vec<Vec<f32>>) {
    let mut config = small_config();
    config.set_dropout(0.1);
    change(&mut config);
    let parameters = random_parameters(&config, SEED);
    (config, parameters)
}

fn batch(config: &ModelConfig, lengths: &[usize]) -> Batch {
    random_batch(config, lengths, SEED)
}

fn expected_output(config: &ModelConfig, parameters: &[Vec<f32>], batch: &Batch) -> Output {
    oracle(config, &widen_all(parameters), batch, None)
}

#[test]
fn inference_matches_the_oracle() {
    let device = device();
    for change in [
        |_: &mut ModelConfig| {},
        |c: &mut ModelConfig| (c.attention_pattern, c.local_block) = ("LF".into(), 7),
        |c: &mut ModelConfig| (c.n_embd, c.n_head, c.n_layer) = (35, 5, 2),
    ] {
        let (config, parameters) = tiny(change);
        let mut model =
            Inference::new(&device, &config, &parameters, Capacity { rows: 130, sequences: 4 }).expect("a recording");
        for lengths in [&[70, 0, 1, 33][..], &[2, 90], &[]] {
            let batch = batch(&config, lengths);
            let expected = expected_output(&config, &parameters, &batch);
            let (losses, logits) = (model.losses(&batch).expect("losses"), model.logits(&batch).expect("logits"));
            if batch.rows() == 0 {
                assert!(losses.is_empty() && logits.is_empty());
                continue;
            }
            assert!(
                relative_error(&losses, &expected.per_row_losses) < 1e-4,
                "{}",
                relative_error(&losses, &expected.per_row_losses)
            );
            assert!(relative_error(&logits, &expected.logits) < 1e-4, "{}", relative_error(&logits, &expected.logits));
        }
        assert!(model.losses(&batch(&config, &[90, 90])).is_err(), "past capacity");
        for (borders, expected) in [
            ([0, 20, 10, 30], "end of sequence 1 = 10: expected at least 20"),
            ([0, 10, 20, 29], "expected 0 to 30"),
            ([1, 10, 20, 30], "expected 0 to 30"),
            ([0, 10, 20, u32::MAX], "expected 0 to 30"),
        ] {
            let wrong = Batch { cu_seqlens: borders.to_vec(), ..batch(&config, &[10, 10, 10]) };
            for error in [model.losses(&wrong).expect_err(expected), model.logits(&wrong).expect_err(expected)] {
                assert!(error.is_invalid_input() && error.to_string().contains(expected), "{error}");
            }
        }
    }
}

/// A vocabulary so large that the head takes more than one chunk of rows.
#[test]
fn a_vocabulary_above_one_chunk_has_all_logits() {
    let device = device();
    let (config, parameters) = tiny(|c| {
        (c.n_layer, c.n_embd, c.n_head, c.vocab_size) = (1, 8, 2, 40_000);
    });
    let batch = batch(&config, &[90, 90, 90, 90, 71]);
    let capacity = Capacity { rows: batch.rows(), sequences: 5 };
    let mut model = Inference::new(&device, &config, &parameters, capacity).expect("a recording");
    let (losses, logits) = (model.losses(&batch).expect("losses"), model.logits(&batch).expect("logits"));
    assert_eq!(logits.len(), batch.rows() * config.vocab_size);
    let alone = model.logits(&batch.part(4..5)).expect("logits");
    let alone: Vec<f64> = alone.iter().map(|x| f64::from(*x)).collect();
    assert!(relative_error(&logits[360 * config.vocab_size..], &alone) < 1e-5, "the last chunk's rows are others");
    for (row, logits) in logits.chunks_exact(config.vocab_size).enumerate() {
        let target = batch.targets[row];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let expected = if target == IGNORED { 0.0 } else { sum.ln() - f64::from(logits[target as usize]) };
        assert!((f64::from(losses[row]) - expected).abs() < 1e-4 * expected.max(1.0), "row {row}: {}", losses[row]);
    }
}

/// Every token's logits against the oracle's pass over the whole text so far.
fn assert_matches_the_oracle(
    device: &Device,
    change: impl FnOnce(&mut ModelConfig),
    prompts: &[usize],
    samples: usize,
) {
    let (config, parameters) = tiny(change);
    let v = config.vocab_size;
    let mut generator = Generator::new(device, &config, &parameters, samples).expect("a recording");
    for &prompt in prompts {
        // Samples share the prompt and continue differently.
        let texts: Vec<Vec<u32>> = (0..samples as u32)
            .map(|number| {
                [
                    &random_ids(&config, prompt, SEED, 100)[..],
                    &random_ids(&config, config.n_positions - prompt, SEED, number),
                ]
                .concat()
            })
            .collect();
        let mut expected = Vec::new();
        for text in &texts {
            let sequence = Sequence { targets: vec![IGNORED; text.len()], ids: text.clone() };
            expected.push(
                expected_output(&config, &parameters, &Batch::from_sequences(&[sequence]).expect("a batch")).logits,
            );
        }
        let mut logits = generator.start(&texts[0][..prompt]).expect("a prompt");
        for length in prompt..=config.n_positions {
            assert_eq!((generator.length(), logits.len()), (length, samples * v));
            for (sample, expected) in expected.iter().enumerate() {
                let error =
                    relative_error(&logits[sample * v..(sample + 1) * v], &expected[(length - 1) * v..length * v]);
                assert!(
                    error < 1e-4,
                    "prompt {prompt}, {length} tokens, sample {sample}: {error:.1e} of the largest; {config:?}"
                );
            }
            let next: Vec<u32> = texts.iter().filter_map(|text| text.get(length).copied()).collect();
            match length < config.n_positions {
                true => logits = generator.next(&next).expect("a token"),
                false => assert!(generator.next(&vec![0; samples]).is_err(), "a token past P"),
            }
        }
    }
}

#[test]
fn generation_matches_the_oracle() {
    assert_matches_the_oracle(&device(), |_| {}, &[1, 90, 2, 65], 1);
}

#[test]
fn parallel_samples_match_the_oracle() {
    assert_matches_the_oracle(&device(), |c| c.n_positions = 40, &[7, 1], 5);
}

/// Prompts of one token, less than a slot, a slot, up to a block's border and past it, more than one tile of rows, all of P.
#[test]
fn every_attention_pattern_matches_the_oracle() {
    let device = device();
    for (pattern, layers) in [("L", 2), ("FL", 2), ("M", 2), ("ML", 2), ("LMLML", 5)] {
        let change = |c: &mut ModelConfig| {
            (c.attention_pattern, c.n_layer, c.local_block, c.n_positions) = (pattern.into(), layers, 7, 69);
        };
        assert_matches_the_oracle(&device, change, &[65, 69], 1);
        assert_matches_the_oracle(&device, |c| (change(c), c.n_positions = 18).1, &[1, 2, 3, 4, 7, 8], 3);
    }
}

/// As on every GPU: no tensor is an image.
#[test]
fn buffers_without_images_match_the_oracle() {
    let device = device().narrowed(|caps| caps.int64 = false);
    for groups in [KvGroups::One, KvGroups::Head] {
        let change = |c: &mut ModelConfig| {
            (c.attention_pattern, c.local_block, c.n_positions, c.kv_groups) = ("FLM".into(), 7, 18, groups);
            (c.n_embd, c.n_head) = (48, 3);
        };
        assert_matches_the_oracle(&device, change, &[1, 2, 3, 7, 18], 3);
    }
}

/// Convolutions of every factor and grouping, shared and not, with every null and every scale; odd widths too.
#[test]
fn every_compression_matches_the_oracle() {
    let device = device();
    let mut number = 0;
    for factor in 1..=4 {
        for groups in [KvGroups::One, KvGroups::Head, KvGroups::Channel] {
            // Twelve pairs go through the eight choices of the rest, and every grouping through the three widths.
            let bit = |i: u32| number >> i & 1 == 1;
            let (width, heads) = [(36, 3), (35, 5), (64, 2)][(number + factor) % 3];
            let change = |c: &mut ModelConfig| {
                (c.n_layer, c.n_positions, c.n_embd, c.n_head) = (2, 15, width, heads);
                (c.attention_pattern, c.local_block, c.kv_factor, c.kv_groups) = ("LM".into(), 5, factor, groups);
                c.kv_shared = bit(0);
                c.kv_null = if bit(1) { KvNull::Zero } else { KvNull::Learned };
                c.kv_scale = if bit(2) { KvScale::Width } else { KvScale::Head };
            };
            assert_matches_the_oracle(&device, change, &[1, 15, factor + 1], 2);
            number += 1;
        }
    }
}

/// Where the text ends before a slot is full, or with it; a block as long as the text.
#[test]
fn a_factor_past_the_positions_makes_no_slot() {
    let device = device();
    for (factor, positions) in [(7, 6), (6, 6), (1 << 12, 4)] {
        let change = |c: &mut ModelConfig| {
            (c.n_layer, c.n_positions, c.attention_pattern) = (2, positions, "LM".into());
            (c.kv_factor, c.kv_groups, c.local_block) = (factor, KvGroups::Channel, 1000);
        };
        assert_matches_the_oracle(&device, change, &[1, positions, 2], 2);
    }
}

#[test]
fn odd_head_widths_match_the_oracle() {
    let odd = |c: &mut ModelConfig| (c.n_embd, c.n_head, c.n_layer, c.n_positions) = (35, 5, 2, 40);
    assert_matches_the_oracle(&device(), odd, &[1, 40, 9], 2);
}

#[test]
fn misuse_of_a_generator_is_refused() {
    let device = device();
    let (config, parameters) = tiny(|c| c.n_layer = 1);
    let mut generator = Generator::new(&device, &config, &parameters, 2).expect("a recording");
    for (result, expected) in [
        (generator.start(&[]), "tokens of the prompt = 0"),
        (generator.start(&[0; 91]), "tokens of the prompt = 91: the model has 90 positions"),
        (generator.start(&[3, 67]), "token id = 67"),
        (generator.next(&[1]), "tokens = 1: must be 2"),
        (generator.next(&[1, 70]), "token id = 70"),
    ] {
        let error = result.expect_err(expected);
        assert!(error.is_invalid_input() && error.to_string().contains(expected), "{error}");
    }
    assert!(Generator::new(&device, &config, &parameters, 0).is_err());
    for (change, expected) in [
        ((|c| c.attention_pattern = String::new()) as fn(&mut ModelConfig), "attention_pattern = \"\": must be one"),
        (|c| c.attention_pattern = "FN".into(), "attention_pattern = \"FN\""),
        (|c| (c.attention_pattern, c.kv_factor) = ("M".into(), 0), "kv_factor = 0"),
        (|c| (c.attention_pattern, c.local_block) = ("L".into(), 0), "local_block = 0"),
    ] {
        let mut wrong = config.clone();
        change(&mut wrong);
        let error = Generator::new(&device, &wrong, &parameters, 1).err().expect(expected);
        assert!(error.is_invalid_input() && error.to_string().contains(expected), "{error}");
    }
}

/// The new ids of each sample.
fn texts(generator: &mut Generator, samples: usize, limits: SamplingLimits, sampling: Sampling) -> Vec<Vec<u32>> {
    let mut all = vec![Vec::new(); samples];
    let prompt = [1, 2, 3, 4, 5];
    sample(generator, &prompt, limits, sampling, &mut |i, id| {
        all[i].push(id);
        // The second sample ends early, and the others continue.
        Ok(i != 1 || all[i].len() < 3)
    })
    .expect("texts");
    all
}

#[test]
fn a_seed_decides_each_sample_however_many_there_are() {
    let device = device();
    let (config, parameters) = tiny(|c| c.n_positions = 40);
    let limits = SamplingLimits { max_length: 99, vocab_size: 50 };
    let warm = Sampling { temperature: 1.5, seed: 7, ..Sampling::default() };
    let generator = |samples| Generator::new(&device, &config, &parameters, samples).expect("a recording");
    let (mut one, mut six) = (generator(1), generator(6));
    let all = texts(&mut six, 6, limits, warm);
    assert_eq!(all, texts(&mut six, 6, limits, warm), "the same seed");
    assert_ne!(all, texts(&mut six, 6, limits, Sampling { seed: 8, ..warm }));
    assert_eq!(
        all.iter().map(Vec::len).collect::<Vec<_>>(),
        [35, 3, 35, 35, 35, 35],
        "up to n_positions, or where the caller stops"
    );
    assert!(all.iter().flatten().all(|id| *id < 50), "an id without a text");
    assert!((1..6).all(|i| all[i][..3] != all[0][..3]), "two samples are equal");
    for number in [0, 2, 5] {
        let alone = texts(&mut one, 1, limits, Sampling { sample_number: number, ..warm });
        assert_eq!(alone[0], all[number as usize], "sample {number} of six and alone");
    }
    let short = texts(&mut one, 1, SamplingLimits { max_length: 9, ..limits }, warm);
    assert_eq!(short[0], all[0][..4]);
    assert!(texts(&mut one, 1, SamplingLimits { max_length: 5, ..limits }, warm)[0].is_empty());
    let greedy = texts(&mut six, 6, limits, Sampling { temperature: 0.0, ..warm });
    assert_eq!(greedy[0], greedy[5]);
}
