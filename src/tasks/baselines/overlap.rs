//! Word overlap of a pair of texts, alone and with negation words: a regression on a few numbers.

use super::method::Method;
use super::regression::{LeastSquares, Softmax};
use super::words::{is_negation, words};
use crate::config::{Answers, Task};
use crate::data::batch::Answer;
use crate::tasks::record::{Record, Texts};
use std::collections::HashMap;

/// Which numbers describe a pair.
#[derive(Clone, Copy)]
struct Features {
    negation: bool,
}

/// The methods, where there is a training example with a known answer.
pub(super) fn methods<'a>(task: &Task, train: &[Record]) -> Vec<(&'static str, Method<'a>)> {
    let kinds =
        [("word overlap", Features { negation: false }), ("word overlap and negation", Features { negation: true })];
    kinds.into_iter().filter_map(|(name, features)| Some((name, method(task, train, features)?))).collect()
}

fn method<'a>(task: &Task, train: &[Record], features: Features) -> Option<Method<'a>> {
    let rows = |wanted: fn(Answer) -> Option<f64>| -> (Vec<Vec<f64>>, Vec<f64>) {
        train.iter().filter_map(|record| Some((features.of(&record.texts), wanted(record.answer)?))).unzip()
    };
    match &task.answers {
        Answers::Score => {
            let (x, y) = rows(|answer| if let Answer::Score(score) = answer { Some(score.into()) } else { None });
            let line = LeastSquares::new(&x, &y)?;
            Some(Box::new(move |texts| Answer::Score(line.value(&features.of(texts)) as f32)))
        }
        Answers::Labels(labels) => {
            let (x, y) = rows(|answer| if let Answer::Class(class) = answer { Some(class.into()) } else { None });
            let classes: Vec<usize> = y.into_iter().map(|class| class as usize).collect();
            let model = Softmax::new(&x, &classes, labels.len())?;
            Some(Box::new(move |texts| Answer::Class(model.class(&features.of(texts)))))
        }
        Answers::Candidate => None,
    }
}

impl Features {
    /// The numbers of a pair: 1, the common words as a share of all and of those of the shorter text, for entailment also of
    /// those of the second text; then whether one text alone negates, whether any does, and the first times the share.
    fn of(self, texts: &Texts) -> Vec<f64> {
        let all = texts.all();
        let [first, second] = [0, 1].map(|i| words(all.get(i).copied().unwrap_or("")));
        let common = common(&first, &second);
        let share = |n: usize| common / n.max(1) as f64;
        let of_all = common / (first.len() as f64 + second.len() as f64 - common).max(1.0);
        let mut numbers = vec![1.0, of_all, share(first.len().min(second.len()))];
        if let Texts::Entail(..) = texts {
            numbers.push(share(second.len()));
        }
        if self.negation {
            let [a, b] = [&first, &second].map(|words| words.iter().any(|word| is_negation(word)));
            let one = f64::from(u8::from(a != b));
            numbers.extend([one, f64::from(u8::from(a || b)), one * of_all]);
        }
        numbers
    }
}

/// Words that both texts have, each as often as in the text that has it less often.
fn common(first: &[String], second: &[String]) -> f64 {
    let mut counts = HashMap::<&str, u32>::new();
    first.iter().for_each(|word| *counts.entry(word).or_default() += 1);
    let mut common = 0u32;
    for word in second {
        if let Some(count) = counts.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    common.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_computed_by_hand() {
        let pair = Texts::Entail("A man sits, a dog sits".into(), "a man is not a cat, a".into());
        // Of three times "a", the first text has two.
        let shares = [1.0, 3.0 / 10.0, 3.0 / 6.0, 3.0 / 7.0];
        assert_eq!(Features { negation: false }.of(&pair), shares);
        assert_eq!(Features { negation: true }.of(&pair), [&shares[..], &[1.0, 1.0, 3.0 / 10.0]].concat());
        let empty = Texts::Similar(String::new(), "a".into());
        assert_eq!(Features { negation: true }.of(&empty), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
