//! What simple methods without a network reach on a task: a model of a task is worth its cost only above them.
//!
//! Each method learns from the training examples in about a second: naive Bayes for classification, overlap of the
//! words of a pair for entailment and similarity, a sliding window (which learns nothing) for multiple choice.

mod method;
mod naive_bayes;
mod overlap;
mod regression;
mod sliding_window;
mod words;

use super::metrics;
use super::record::Record;
use crate::config::{Answers, Task, TaskKind};
use crate::data::batch::Answer;
use method::Method;
use std::collections::BTreeMap;

/// What a method reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// The method.
    pub name: &'static str,
    /// Metrics by name, for each file of examples in the order that they were given in.
    pub metrics: Vec<BTreeMap<&'static str, f64>>,
}

/// What each method of a task reaches on `parts`, learned from `train`. A part without known answers has no metrics.
pub fn baselines(task: &Task, train: &[Record], parts: &[&[Record]]) -> Vec<Baseline> {
    let measured = |(name, method): (&'static str, Method<'_>)| {
        let of_part = |part: &&[Record]| {
            let truth: Vec<Answer> = part.iter().map(|record| record.answer).collect();
            let answers: Vec<Answer> = part.iter().map(|record| method(&record.texts)).collect();
            metrics::of_answers(task, &truth, &answers)
        };
        Baseline { name, metrics: parts.iter().map(of_part).collect() }
    };
    methods(task, train).into_iter().map(measured).collect()
}

fn methods<'a>(task: &Task, train: &'a [Record]) -> Vec<(&'static str, Method<'a>)> {
    let mut methods: Vec<(&'static str, Method<'a>)> = Vec::new();
    if task.answers != Answers::Score
        && let Some(class) = most_frequent(train)
    {
        methods.push(("most frequent answer", Box::new(move |_| Answer::Class(class))));
    }
    match task.kind {
        TaskKind::Classify => methods.extend(naive_bayes::method(task, train)),
        TaskKind::Entail | TaskKind::Similar => methods.extend(overlap::methods(task, train)),
        TaskKind::Choose => methods.push(("sliding window", Box::new(sliding_window::answer))),
    }
    methods
}

/// The most frequent class, the first one of equally frequent ones.
fn most_frequent(train: &[Record]) -> Option<u32> {
    let mut counts = BTreeMap::<u32, u64>::new();
    for record in train {
        if let Answer::Class(class) = record.answer {
            *counts.entry(class).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(class, count)| (*count, std::cmp::Reverse(*class))).map(|(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Texts;

    fn labels(kind: TaskKind, names: &[&str]) -> Task {
        Task { kind, answers: Answers::Labels(names.iter().map(|name| name.to_string()).collect()) }
    }

    fn classified(text: &str, class: u32) -> Record {
        Record { line: 1, texts: Texts::Classify(text.into()), answer: Answer::Class(class) }
    }

    #[test]
    fn every_part_has_the_metrics_of_every_method() {
        let task = labels(TaskKind::Classify, &["bad", "good"]);
        let train = [classified("a dull film", 0), classified("a fine film", 1), classified("fine fine acting", 1)];
        let unknown = Record { answer: Answer::Unknown, ..classified("dull", 0) };
        let parts: [&[Record]; 2] = [&[classified("so dull", 0), classified("fine", 1)], &[unknown]];
        let all = baselines(&task, &train, &parts);
        let accuracy: Vec<_> = all.iter().map(|b| (b.name, b.metrics[0]["accuracy"], b.metrics[1].len())).collect();
        assert_eq!(accuracy, [("most frequent answer", 0.5, 0), ("naive Bayes on words", 1.0, 0)]);
    }

    #[test]
    fn without_known_answers_there_is_nothing_to_learn() {
        let unknown = Record { answer: Answer::Unknown, ..classified("dull", 0) };
        assert_eq!(baselines(&labels(TaskKind::Classify, &["a", "b"]), std::slice::from_ref(&unknown), &[]), []);
        let pair = Record { texts: Texts::Similar("a".into(), "b".into()), ..unknown };
        let score = Task { kind: TaskKind::Similar, answers: Answers::Score };
        assert_eq!(baselines(&score, &[pair], &[]), []);
    }
}
