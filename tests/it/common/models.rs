//! Small models, random batches, and the oracle of the whole decoder.

use wgpt::config::ModelConfig;
use wgpt::data::batch::{Batch, IGNORED, Sequence};
use wgpt::model::{Capacity, initial_parameters};
use wgpt::philox::{Stream, Words};
use wgpt::reference::model::{Dropout, Output, forward_backward};
use wgpt::reference::widen;

/// A small model of odd sizes whose weights are large enough for every path to matter. No dropout.
pub fn small_config() -> ModelConfig {
    ModelConfig {
        n_layer: 3,
        n_embd: 36,
        n_head: 3,
        n_positions: 90,
        vocab_size: 67,
        initializer_range: 0.25,
        ..ModelConfig::default()
    }
}

/// Initial parameters whose biases and gains are moved at random, so that none is 0 or 1.
pub fn random_parameters(config: &ModelConfig, seed: u64) -> Vec<Vec<f32>> {
    let mut parameters = initial_parameters(config, seed);
    let mut words = Words::new(seed, Stream::Weights, 99, 0);
    for (shape, tensor) in config.parameters().iter().zip(&mut parameters) {
        if shape.rows == 1 {
            tensor.iter_mut().for_each(|x| *x += (0.3 * (words.uniform() - 0.5)) as f32);
        }
    }
    parameters
}

/// `count` random token ids, another list for each `number`.
pub fn random_ids(config: &ModelConfig, count: usize, seed: u64, number: u32) -> Vec<u32> {
    let mut words = Words::new(seed, Stream::Order, number, 0);
    (0..count).map(|_| words.below(config.vocab_size as u32)).collect()
}

/// Packed sequences of these lengths with random ids and targets; every fifth target is ignored.
pub fn random_batch(config: &ModelConfig, lengths: &[usize], seed: u64) -> Batch {
    let sequence = |(length, number): (&usize, u32)| {
        let ids = random_ids(config, length + 1, seed, number);
        let target = |i: usize| if i % 5 == 3 { IGNORED } else { ids[i + 1] };
        Sequence { targets: (0..*length).map(target).collect(), ids: ids[..*length].to_vec() }
    };
    Batch::from_sequences(&lengths.iter().zip(0..).map(sequence).collect::<Vec<_>>()).expect("a batch")
}

/// Packed sequences of these lengths without targets, all their ids 0.
pub fn blank_batch(lengths: &[usize]) -> Batch {
    let sequence = |length: &usize| Sequence { ids: vec![0; *length], targets: vec![IGNORED; *length] };
    Batch::from_sequences(&lengths.iter().map(sequence).collect::<Vec<_>>()).expect("a batch")
}

/// The capacity that a batch needs.
pub fn capacity_of(batch: &Batch) -> Capacity {
    Capacity { rows: batch.rows(), sequences: batch.sequences() }
}

/// The parameters as the oracles take them.
pub fn widen_all(parameters: &[Vec<f32>]) -> Vec<Vec<f64>> {
    parameters.iter().map(|tensor| widen(tensor)).collect()
}

/// Losses, hidden states, logits and gradients by the decoder's oracle. With a key, dropout masks are those of a training step.
pub fn oracle(config: &ModelConfig, parameters: &[Vec<f64>], batch: &Batch, dropout_key: Option<[u32; 2]>) -> Output {
    let dropout = dropout_key.map(|key| Dropout { key, sequence_numbers: &batch.sequence_numbers });
    forward_backward(config, parameters, &batch.ids, &batch.positions, &batch.targets, &batch.cu_seqlens, dropout)
}

/// The largest magnitude.
pub fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

/// The largest error, as a share of the largest magnitude that is expected. Infinite where a number is not one.
pub fn relative_error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let errors = got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).abs());
    errors.fold(0.0, |m: f64, e| if e.is_nan() { f64::INFINITY } else { m.max(e) }) / largest(expected)
}
