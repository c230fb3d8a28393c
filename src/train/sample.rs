//! A text from a model in training, token by token: the whole prompt anew for each. To look at a run, not for speed.

use crate::data::batch::{Batch, IGNORED, Sequence};
use crate::model::Training;
use crate::philox::{Stream, philox, seed_key};
use crate::{Error, Result};

/// How a token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the largest, of equal ones the lowest id.
    pub temperature: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Which sample: others are drawn anew.
    pub number: u32,
}

/// What a text may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// P: prompt and continuation together.
    pub positions: usize,
    /// Ids that have a text: the tokenizer's.
    pub vocabulary: usize,
}

/// The ids that follow `prompt`, up to the bounds.
///
/// # Errors
/// [`Error::Input`] for a prompt without a token or past the bounds; [`Error::Device`].
pub fn sample(training: &mut Training, prompt: &[u32], bounds: Bounds, sampling: Sampling) -> Result<Vec<u32>> {
    let Bounds { positions, vocabulary } = bounds;
    if prompt.is_empty() || prompt.len() > positions {
        return Err(Error::Input(format!(
            "a prompt of {} tokens: must have 1 to {positions}, the model's positions",
            prompt.len()
        )));
    }
    let mut ids = prompt.to_vec();
    while ids.len() < positions {
        let targets = vec![IGNORED; ids.len()];
        let batch = Batch::from_sequences(&[Sequence { ids: ids.clone(), targets }])?;
        let logits = training.logits(&batch)?;
        let row = logits.len() / ids.len();
        let last = &logits[logits.len() - row..];
        ids.push(choose(&last[..vocabulary.min(row)], ids.len() as u32, sampling)?);
    }
    Ok(ids.split_off(prompt.len()))
}

/// One token of its logits: stream 3, counter (token, sample).
fn choose(logits: &[f32], token: u32, sampling: Sampling) -> Result<u32> {
    let mut best = None;
    for (id, x) in logits.iter().enumerate().filter(|(_, x)| x.is_finite()) {
        if best.is_none_or(|(_, most)| *x > most) {
            best = Some((id, *x));
        }
    }
    let Some((id, most)) = best else {
        return Err(Error::NotFinite(format!("token {token}: no logit is finite")));
    };
    if sampling.temperature <= 0.0 {
        return Ok(id as u32);
    }
    let weight = |x: f32| if x.is_finite() { (f64::from(x - most) / sampling.temperature).exp() } else { 0.0 };
    let all: f64 = logits.iter().map(|x| weight(*x)).sum();
    let word = philox([token, sampling.number, 0, Stream::Sampling as u32], seed_key(sampling.seed))[0];
    let mut left = (f64::from(word) + 0.5) / 4_294_967_296.0 * all;
    for (id, x) in logits.iter().enumerate() {
        left -= weight(*x);
        if left < 0.0 {
            return Ok(id as u32);
        }
    }
    Ok(id as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_logits() {
        let cold = Sampling { temperature: 0.0, seed: 1, number: 0 };
        assert_eq!(choose(&[1.0, 3.0, 3.0, f32::NAN], 5, cold).expect("token"), 1);
        assert!(choose(&[f32::NAN], 5, cold).is_err() && choose(&[], 5, cold).is_err());
        let warm = Sampling { temperature: 1.0, ..cold };
        let logits = [0.0, 1.0f32, -1e4, f32::NEG_INFINITY];
        let mut counts = [0u32; 4];
        for token in 0..4000 {
            counts[choose(&logits, token, warm).expect("token") as usize] += 1;
        }
        let share = f64::from(counts[1]) / 4000.0;
        assert!((share - 0.731).abs() < 0.03 && counts[2] == 0 && counts[3] == 0, "{counts:?}");
        assert_eq!(choose(&logits, 7, warm).expect("token"), choose(&logits, 7, warm).expect("token"));
    }
}
