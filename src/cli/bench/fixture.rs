//! The model, weights and batch of `bench step` and `bench generate`, computed from a hash.
//!
//! A program in another framework that computes them in the same way does the same work and gets the same losses.

use crate::Result;
use crate::cli::arguments::invalid_option;
use crate::config::{ModelConfig, ParameterKind, ParameterShape};
use crate::data::batch::{Batch, Sequence};
use crate::train::settings::PRESETS;

/// The learning rate of a step.
pub(super) const LEARNING_RATE: f64 = 2.5e-4;

/// The model of a preset, without dropout. gpt1 has three more entries in its vocabulary: the tokens of a task.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) for a name that is no preset.
pub(super) fn model(preset: &str) -> Result<ModelConfig> {
    let expected = || invalid_option("preset", preset, format!("expected one of {}", PRESETS.join(", ")));
    let mut model = ModelConfig::preset(preset).ok_or_else(expected)?;
    model.set_dropout(0.0);
    if preset == "gpt1" {
        model.vocab_size += 3;
    }
    Ok(model)
}

/// The parameters, dense, in the order of [`ModelConfig::parameters`]: biases are 0, gains 1; the n-th weight tensor (from
/// 0) is [`weights`] of n.
pub(super) fn parameters(model: &ModelConfig) -> Vec<Vec<f32>> {
    let mut index = 0;
    let tensor = |shape: ParameterShape| match shape.kind {
        ParameterKind::Weight | ParameterKind::Convolution(_) => {
            index += 1;
            weights(index - 1, shape.count())
        }
        ParameterKind::Bias => vec![0.0; shape.count()],
        ParameterKind::Gain => vec![1.0; shape.count()],
    };
    model.parameters().into_iter().map(tensor).collect()
}

/// Sequences of `positions` inputs, with the ids that follow them as targets.
///
/// # Errors
/// As [`Batch::from_sequences`].
pub(in crate::cli) fn batch(sequences: usize, positions: usize, vocab_size: usize) -> Result<Batch> {
    let id = |i: usize| (splitmix64((i as u64).wrapping_add(1 << 62)) % vocab_size as u64) as u32;
    let ids: Vec<u32> = (0..sequences * (positions + 1)).map(id).collect();
    let sequence = |ids: &[u32]| Sequence { ids: ids[..positions].to_vec(), targets: ids[1..].to_vec() };
    let all: Vec<Sequence> = ids.chunks_exact(positions + 1).map(sequence).collect();
    Batch::from_sequences(&all)
}

/// Uniform numbers with mean 0 and standard deviation 0.02.
fn weights(tensor: u64, count: usize) -> Vec<f32> {
    let number = |i: u64| {
        let bits = splitmix64(i.wrapping_add(tensor << 40)) >> 40;
        ((bits as f64 / f64::from(1u32 << 24) - 0.5) * 2.0 * 3f64.sqrt() * 0.02) as f32
    };
    (0..count as u64).map(number).collect()
}

/// The output of splitmix64 in the state `z` (Steele, Lea & Flood 2014).
fn splitmix64(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first output of splitmix64 from seed 0 is published. Weight tensors: two tables, then four per layer.
    #[test]
    fn the_fixture_is_that_of_other_programs() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        let model = model("nano").expect("nano");
        let parameters = parameters(&model);
        assert_eq!(parameters.len(), model.parameters().len());
        assert_eq!(parameters[2][..8], weights(2, 8));
        assert_eq!(parameters[4][..8], weights(3, 8));
        assert_eq!(parameters[2 + 12][..8], weights(6, 8));
        let batch = batch(8, 128, 512).expect("batch");
        assert_eq!((batch.rows(), batch.target_count, batch.ids[1]), (1024, 1024, batch.targets[0]));
        batch.validate(512, 128).expect("valid");
    }
}
