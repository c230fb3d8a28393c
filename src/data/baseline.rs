//! What counting reaches: the figures that a model's held-out loss is to be compared with.
//!
//! unigram p₁(b) = (c(b) + 1) / (N + V); bigram p₂(b | a) = 0.9 · c(a, b) / c(a) + 0.1 · p₁(b), the counts from the
//! training part. A pair that was never seen has the second term alone, so nothing is infinite.

use crate::{Error, Result};
use std::collections::HashMap;

/// Mean nats a token on the held-out part, each token but the first predicted once, as in evaluation.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Baseline {
    /// By the token's own frequency.
    pub unigram: f64,
    /// By the pair's frequency, with a tenth of the unigram.
    pub bigram: f64,
}

/// Counts `train` and predicts `valid`.
///
/// # Errors
/// [`Error::Input`] for an id beyond `vocab`, and when `valid` has no token to predict.
pub fn baseline(train: &[u32], valid: &[u32], vocab: usize) -> Result<Baseline> {
    if let Some(id) = train.iter().chain(valid).find(|id| **id as usize >= vocab) {
        return Err(Error::Input(format!("id {id} is beyond the vocabulary of {vocab} ids")));
    }
    if valid.len() < 2 {
        return Err(Error::Input(format!("the held-out part has {} tokens: must have 2 or more", valid.len())));
    }
    let mut counts = vec![0u64; vocab];
    train.iter().for_each(|id| counts[*id as usize] += 1);
    // As a context the last token does not count: nothing follows it.
    let mut contexts = counts.clone();
    if let Some(last) = train.last() {
        contexts[*last as usize] -= 1;
    }
    let mut pairs: HashMap<[u32; 2], u64> = HashMap::new();
    train.windows(2).for_each(|pair| *pairs.entry([pair[0], pair[1]]).or_default() += 1);
    let (mut unigram, mut bigram) = (0.0, 0.0);
    for pair in valid.windows(2) {
        let alone = (counts[pair[1] as usize] + 1) as f64 / (train.len() + vocab) as f64;
        let seen = match pairs.get(&[pair[0], pair[1]]) {
            Some(count) => *count as f64 / contexts[pair[0] as usize] as f64,
            None => 0.0,
        };
        unigram -= alone.ln();
        bigram -= (0.9 * seen + 0.1 * alone).ln();
    }
    let predicted = (valid.len() - 1) as f64;
    Ok(Baseline { unigram: unigram / predicted, bigram: bigram / predicted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_by_hand() {
        // Counts: 0 three times, 1 once; pairs 00 twice, 01 once; V = 3, so p1 = 4/7, 2/7, 1/7.
        let b = baseline(&[0, 0, 0, 1], &[0, 0, 1, 2], 3).expect("baseline");
        let p1 = [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0f64];
        let unigram = -(p1[0].ln() + p1[1].ln() + p1[2].ln()) / 3.0;
        let p2 = [0.9 * 2.0 / 3.0 + 0.1 * p1[0], 0.9 / 3.0 + 0.1 * p1[1], 0.1 * p1[2]];
        let bigram = -(p2[0].ln() + p2[1].ln() + p2[2].ln()) / 3.0;
        assert!((b.unigram - unigram).abs() < 1e-12 && (b.bigram - bigram).abs() < 1e-12, "{b:?}");
    }

    #[test]
    fn nothing_is_infinite_and_ids_are_checked() {
        let b = baseline(&[], &[0, 1], 2).expect("baseline");
        assert!((b.unigram - 2f64.ln()).abs() < 1e-12 && b.bigram.is_finite());
        assert!(baseline(&[0], &[0, 2], 2).expect_err("2").to_string().contains("id 2"));
        assert!(baseline(&[0], &[0], 2).is_err());
    }
}
