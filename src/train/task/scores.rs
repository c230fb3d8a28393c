//! Scores of a model's answers: the metrics of docs/spec.md section 3, by their names in metrics.jsonl, and the answers.

use super::examples::Examples;
use crate::config::{Answers, Task, TaskKind};
use crate::model::{Inference, Prediction};
use crate::tasks::{Answer, EncodedExample, metrics, pack};
use crate::terminal::visible_path;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The answers of a model to the examples of a file, and their metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Mean loss and metrics, without those that are undefined.
    pub values: BTreeMap<&'static str, f64>,
    /// Confusion matrix, a row per true class and a column per predicted class; empty for a score and for candidates.
    pub confusion: Vec<Vec<u64>>,
    /// The share of the most frequent class; `None` for a score.
    pub majority: Option<f64>,
    /// One per example.
    pub answers: Vec<Prediction>,
}

/// The names of a task's metrics. By default the first one chooses the best epoch.
pub fn metric_names(task: &Task) -> Vec<&'static str> {
    match (&task.answers, task.kind) {
        (Answers::Score, _) => vec!["pearson", "spearman", "loss"],
        (Answers::Candidate, _) | (_, TaskKind::Choose) => vec!["accuracy", "loss"],
        (Answers::Labels(_), _) => vec!["accuracy", "f1", "matthews", "loss"],
    }
}

/// Whether a metric is undefined where all scores are equal.
pub fn is_correlation(name: &str) -> bool {
    ["pearson", "spearman"].contains(&name)
}

/// Whether the examples have the same score, or only one example has a score.
pub fn all_scores_are_equal(examples: &[EncodedExample]) -> bool {
    let mut scores = examples.iter().filter_map(score_of);
    let first = scores.next();
    scores.all(|score| Some(score) == first)
}

/// The class that all examples have; `None` where there are several, or none.
pub fn one_class(examples: &[EncodedExample]) -> Option<u32> {
    let mut classes = examples.iter().filter_map(class_of);
    let first = classes.next()?;
    classes.all(|class| class == first).then_some(first)
}

/// The value of a metric, negated for the loss, so that larger is better; `None` when it is undefined.
pub fn rank(name: &str, values: &BTreeMap<&'static str, f64>) -> Option<f64> {
    values.get(name).map(|value| if name == "loss" { -value } else { *value })
}

/// The class of an answer: the index of the largest logit, the first one of equal logits.
pub fn predicted_class(answer: &Prediction) -> u32 {
    let mut best = 0;
    for (i, logit) in answer.logits.iter().enumerate() {
        if *logit > answer.logits[best] {
            best = i;
        }
    }
    best as u32
}

/// Answers all examples, and computes the metrics of those whose right answer is known.
///
/// # Errors
/// [`Error::NotFinite`] naming the example, [`Error::Device`].
pub fn score(inference: &mut Inference, task: &Task, examples: &Examples) -> Result<Scores> {
    let (ranges, _) = examples.batches();
    let mut answers = Vec::with_capacity(examples.all.len());
    for range in ranges {
        answers.extend(inference.answers(&pack(&examples.all[range])?)?);
    }
    if let Some(i) = answers.iter().position(|a| !a.loss.is_finite() || a.logits.iter().any(|x| !x.is_finite())) {
        let path = visible_path(&examples.path);
        return Err(Error::not_finite("answer", format!("example {} of {path}", i + 1)));
    }
    Ok(compute_scores(task, &examples.all, answers))
}

fn compute_scores(task: &Task, examples: &[EncodedExample], answers: Vec<Prediction>) -> Scores {
    let truth: Vec<Answer> = examples.iter().map(|example| example.answer).collect();
    let predicted: Vec<Answer> = answers.iter().map(|answer| answer_of(task, answer)).collect();
    let mut values = metrics::of_answers(task, &truth, &predicted);
    if one_class(examples).is_some() {
        // By convention 0, which would rank all epochs alike.
        values.remove("matthews");
    }
    let losses: Vec<f64> = truth
        .iter()
        .zip(&answers)
        .filter(|(truth, _)| **truth != Answer::Unknown)
        .map(|(_, answer)| f64::from(answer.loss))
        .collect();
    if !losses.is_empty() {
        values.insert("loss", losses.iter().sum::<f64>() / losses.len() as f64);
    }
    let confusion = match &task.answers {
        Answers::Labels(labels) => {
            let (truth, predicted) = metrics::known_classes(&truth, &predicted);
            metrics::confusion(&truth, &predicted, labels.len())
        }
        _ => Vec::new(),
    };
    let majority = if task.answers == Answers::Score { None } else { majority(examples) };
    Scores { values, confusion, majority, answers }
}

/// The answer that a prediction gives.
fn answer_of(task: &Task, prediction: &Prediction) -> Answer {
    match task.answers {
        Answers::Score => Answer::Score(prediction.logits[0]),
        _ => Answer::Class(predicted_class(prediction)),
    }
}

/// The text of predictions.tsv: one line per example, with its number from 0, the predicted label, and the probability of
/// each label. For choose, the index of the candidate and the probability of each candidate; for a score, the score.
pub fn predictions(task: &Task, answers: &[Prediction]) -> String {
    let columns: Vec<String> = match &task.answers {
        Answers::Score => Vec::new(),
        Answers::Labels(labels) => labels.iter().map(|label| field(label)).collect(),
        Answers::Candidate => {
            (0..answers.iter().map(|a| a.logits.len()).max().unwrap_or(0)).map(|i| i.to_string()).collect()
        }
    };
    let head = if task.answers == Answers::Score { "score" } else { "label" };
    let mut text = [&["example".to_string(), head.into()][..], &columns].concat().join("\t") + "\n";
    for (i, answer) in answers.iter().enumerate() {
        let mut line = vec![i.to_string()];
        match &task.answers {
            Answers::Score => line.push(answer.logits[0].to_string()),
            Answers::Labels(labels) => line.push(field(&labels[predicted_class(answer) as usize])),
            Answers::Candidate => line.push(predicted_class(answer).to_string()),
        }
        if task.answers != Answers::Score {
            let probabilities = softmax(&answer.logits);
            let missing = columns.len() - probabilities.len();
            line.extend(probabilities.iter().map(|p| format!("{p:.6}")));
            line.extend(std::iter::repeat_n(String::new(), missing));
        }
        text += &(line.join("\t") + "\n");
    }
    text
}

/// A label as a field of the table, without tabs and line breaks.
fn field(label: &str) -> String {
    label.replace(['\t', '\n', '\r'], " ")
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|x| f64::from(x - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// The accuracy of always answering the most frequent class; `None` for scores.
pub fn majority(examples: &[EncodedExample]) -> Option<f64> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    examples.iter().filter_map(class_of).for_each(|class| *counts.entry(class).or_default() += 1);
    let all: usize = counts.values().sum();
    counts.values().max().map(|most| *most as f64 / all as f64)
}

fn score_of(example: &EncodedExample) -> Option<f64> {
    if let Answer::Score(score) = example.answer { Some(f64::from(score)) } else { None }
}

fn class_of(example: &EncodedExample) -> Option<u32> {
    if let Answer::Class(class) = example.answer { Some(class) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(logits: &[f32]) -> Prediction {
        Prediction { loss: 0.0, logits: logits.to_vec() }
    }

    #[test]
    fn predictions_have_a_probability_per_label() {
        let labels = Answers::Labels(vec!["no".into(), "so\tso".into()]);
        let task = Task { kind: TaskKind::Classify, answers: labels };
        let text = predictions(&task, &[prediction(&[0.0, 3f32.ln()]), prediction(&[1.0, 1.0])]);
        assert_eq!(text, "example\tlabel\tno\tso so\n0\tso so\t0.250000\t0.750000\n1\tno\t0.500000\t0.500000\n");
        let task = Task { kind: TaskKind::Choose, answers: Answers::Candidate };
        let text = predictions(&task, &[prediction(&[0.0]), prediction(&[2.0, 2.0, -90.0])]);
        assert_eq!(text, "example\tlabel\t0\t1\t2\n0\t0\t1.000000\t\t\n1\t0\t0.500000\t0.500000\t0.000000\n");
        let task = Task { kind: TaskKind::Similar, answers: Answers::Score };
        assert_eq!(predictions(&task, &[prediction(&[2.5])]), "example\tscore\n0\t2.5\n");
    }

    #[test]
    fn scores_leave_out_unknown_answers_and_undefined_metrics() {
        let task = Task { kind: TaskKind::Entail, answers: Answers::Labels(vec!["a".into(), "b".into()]) };
        let example = |answer| EncodedExample { sequences: vec![vec![1]], answer };
        let examples = [Answer::Class(0), Answer::Unknown, Answer::Class(0), Answer::Class(1)].map(example);
        let answers =
            vec![prediction(&[1.0, 0.0]), prediction(&[0.0, 9.0]), prediction(&[0.0, 1.0]), prediction(&[0.0, 1.0])];
        let scores = compute_scores(&task, &examples, answers);
        assert_eq!((scores.values["accuracy"], scores.majority), (2.0 / 3.0, Some(2.0 / 3.0)));
        assert_eq!(scores.confusion, [[1, 1], [0, 1]]);
        assert_eq!(rank("loss", &scores.values), Some(-0.0));
        let task = Task { kind: TaskKind::Similar, answers: Answers::Score };
        let scores = compute_scores(&task, &[example(Answer::Score(1.0))], vec![prediction(&[2.0])]);
        assert_eq!(
            scores.values.keys().copied().collect::<Vec<_>>(),
            ["loss"],
            "the correlation of one pair is undefined"
        );
        let none = compute_scores(&task, &[example(Answer::Unknown)], vec![prediction(&[2.0])]);
        assert!(none.values.is_empty() && none.answers.len() == 1);
    }
}
