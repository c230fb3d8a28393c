//! The sliding window of MCTest (Richardson et al. 2013): a candidate's score is the largest weight of its words within a
//! window of the context, as many words long as the candidate has different ones. A word that the context has c times weighs
//! log(1 + 1/c).

use super::regression::largest;
use super::words::words;
use crate::data::batch::Answer;
use crate::tasks::record::Texts;
use std::collections::{HashMap, HashSet};

/// The index of the candidate with the highest score, the first of equal ones.
pub(super) fn answer(texts: &Texts) -> Answer {
    let Texts::Choose(context, candidates) = texts else { return Answer::Unknown };
    let context = words(context);
    let mut counts = HashMap::<&str, f64>::new();
    context.iter().for_each(|word| *counts.entry(word).or_default() += 1.0);
    let score = |candidate: &String| {
        let wanted: HashSet<String> = words(candidate).into_iter().collect();
        let weight = |word: &String| if wanted.contains(word) { (1.0 / counts[word.as_str()]).ln_1p() } else { 0.0 };
        let weights: Vec<f64> = context.iter().map(weight).collect();
        let window = wanted.len().clamp(1, weights.len().max(1));
        weights.windows(window).map(|window| window.iter().sum::<f64>()).fold(0.0, f64::max)
    };
    Answer::Class(largest(&candidates.iter().map(score).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_whose_words_are_together_wins() {
        let of = |context: &str, candidates: &[&str]| {
            answer(&Texts::Choose(context.into(), candidates.iter().map(|c| c.to_string()).collect()))
        };
        let story = "Tim has a red ball. The cat has a blue hat. A red hat is on the shelf.";
        assert_eq!(of(story, &["a green tree", "Blue hat!", "red shelf"]), Answer::Class(1));
        // A rare word weighs more than a frequent one.
        assert_eq!(of("a a a b", &["a", "b"]), Answer::Class(1));
        assert_eq!(of("", &["a", ""]), Answer::Class(0));
    }
}
