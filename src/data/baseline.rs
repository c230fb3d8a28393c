//! Losses of two count models, with which the held-out loss of a model is compared.
//!
//! Unigram: p₁(b) = (c(b) + 1) / (N + V). Bigram: p₂(b | a) = 0.9 · c(a, b) / c(a) + 0.1 · p₁(b). The counts c are from
//! the training part; pairs do not cross documents. An unseen pair has the second term alone, so every loss is finite.
//! Only pairs of the held-out part are counted, because all pairs of a large text may not fit into memory.

use super::corpus::Corpus;
use crate::{Error, Result};
use std::collections::HashMap;

/// Mean losses on the held-out part, in nats per token. As in evaluation, every token except the first of each document is
/// predicted once.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Baseline {
    /// Of the unigram model.
    pub unigram: f64,
    /// Of the bigram model.
    pub bigram: f64,
}

/// Counts the tokens and pairs of `train` and predicts `valid`.
///
/// # Errors
/// [`Error::Value`] for an id that is not below `vocab_size`, and when `valid` has no token to predict.
pub fn baseline(train: &Corpus, valid: &Corpus, vocab_size: usize) -> Result<Baseline> {
    if let Some(id) = train.tokens().iter().chain(valid.tokens().iter()).find(|id| **id as usize >= vocab_size) {
        return Err(Error::value("id", id, format!("expected less than vocab_size = {vocab_size}")));
    }
    let pairs_of = |corpus: &Corpus, each: &mut dyn FnMut([u32; 2])| {
        corpus.iter().for_each(|document| document.windows(2).for_each(|pair| each([pair[0], pair[1]])));
    };
    let (mut pairs, mut predicted) = (HashMap::<[u32; 2], u64>::new(), 0u64);
    pairs_of(valid, &mut |pair| {
        pairs.insert(pair, 0);
        predicted += 1;
    });
    if predicted == 0 {
        let found = format!("{} tokens", valid.tokens().len());
        return Err(Error::value("held-out part", found, "expected a document of 2 tokens or more"));
    }
    let mut counts = vec![0u64; vocab_size];
    train.tokens().iter().for_each(|id| counts[*id as usize] += 1);
    // The last token of a document is not the first of a pair.
    let mut contexts = counts.clone();
    train.iter().filter_map(<[u32]>::last).for_each(|last| contexts[*last as usize] -= 1);
    pairs_of(train, &mut |pair| {
        if let Some(count) = pairs.get_mut(&pair) {
            *count += 1;
        }
    });
    let all = (train.tokens().len() + vocab_size) as f64;
    let (mut unigram, mut bigram) = (0.0, 0.0);
    pairs_of(valid, &mut |pair| {
        let alone = (counts[pair[1] as usize] + 1) as f64 / all;
        let seen = match pairs.get(&pair) {
            Some(count) if *count > 0 => *count as f64 / contexts[pair[0] as usize] as f64,
            _ => 0.0,
        };
        unigram -= alone.ln();
        bigram -= (0.9 * seen + 0.1 * alone).ln();
    });
    Ok(Baseline { unigram: unigram / predicted as f64, bigram: bigram / predicted as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(ids: &[u32]) -> Corpus {
        Corpus::stream(ids.to_vec())
    }

    #[test]
    fn small_counts_give_the_values_computed_by_hand() {
        // Counts: 0 three times, 1 once; pairs 00 twice, 01 once; V = 3, so p1 = 4/7, 2/7, 1/7.
        let b = baseline(&stream(&[0, 0, 0, 1]), &stream(&[0, 0, 1, 2]), 3).expect("baseline");
        let p1 = [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0f64];
        let unigram = -(p1[0].ln() + p1[1].ln() + p1[2].ln()) / 3.0;
        let p2 = [0.9 * 2.0 / 3.0 + 0.1 * p1[0], 0.9 / 3.0 + 0.1 * p1[1], 0.1 * p1[2]];
        let bigram = -(p2[0].ln() + p2[1].ln() + p2[2].ln()) / 3.0;
        assert!((b.unigram - unigram).abs() < 1e-12 && (b.bigram - bigram).abs() < 1e-12, "{b:?}");
    }

    #[test]
    fn pairs_do_not_cross_documents() {
        // Training pairs: 01 twice; 0 begins a pair twice. Held out: only 01 is predicted.
        let train = Corpus::documents(vec![0, 1, 0, 1, 0], vec![2, 4, 5]).expect("documents");
        let valid = Corpus::documents(vec![1, 0, 1], vec![1, 3]).expect("documents");
        let b = baseline(&train, &valid, 2).expect("baseline");
        let alone = 3.0 / 7.0f64;
        assert!((b.unigram + alone.ln()).abs() < 1e-12, "{b:?}");
        assert!((b.bigram + (0.9 + 0.1 * alone).ln()).abs() < 1e-12, "{b:?}");
    }

    #[test]
    fn losses_are_finite_and_ids_are_checked() {
        let b = baseline(&stream(&[]), &stream(&[0, 1]), 2).expect("baseline");
        assert!((b.unigram - 2f64.ln()).abs() < 1e-12 && b.bigram.is_finite());
        assert!(baseline(&stream(&[0]), &stream(&[0, 2]), 2).expect_err("2").to_string().contains("id = 2"));
        assert!(baseline(&stream(&[0]), &stream(&[0]), 2).is_err());
    }
}
