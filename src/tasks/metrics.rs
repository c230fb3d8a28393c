//! Metrics of a model's answers, as in scikit-learn and scipy, in f64. A metric that is not defined is `None`.

use crate::config::{Answers, Task};
use crate::data::batch::Answer;
use std::collections::BTreeMap;

/// The classes of those examples whose right answer is known: true and predicted ones.
pub fn known_classes(truth: &[Answer], predicted: &[Answer]) -> (Vec<u32>, Vec<u32>) {
    let pairs = truth.iter().zip(predicted).filter_map(|pair| match pair {
        (Answer::Class(truth), Answer::Class(predicted)) => Some((*truth, *predicted)),
        _ => None,
    });
    pairs.unzip()
}

/// The metrics of a task's answers by name, of those examples whose right answer is known, without those that are undefined.
pub fn of_answers(task: &Task, truth: &[Answer], predicted: &[Answer]) -> BTreeMap<&'static str, f64> {
    let values = if task.answers == Answers::Score {
        let pairs = truth.iter().zip(predicted).filter_map(|pair| match pair {
            (Answer::Score(truth), Answer::Score(predicted)) => Some((f64::from(*truth), f64::from(*predicted))),
            _ => None,
        });
        let (truth, predicted): (Vec<f64>, Vec<f64>) = pairs.unzip();
        vec![("pearson", pearson(&truth, &predicted)), ("spearman", spearman(&truth, &predicted))]
    } else {
        let (truth, predicted) = known_classes(truth, predicted);
        let mut values = vec![("accuracy", accuracy(&truth, &predicted))];
        if let Answers::Labels(labels) = &task.answers {
            values.push(("f1", f1(&truth, &predicted, labels.len())));
            values.push(("matthews", matthews(&truth, &predicted)));
        }
        values
    };
    values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The share of right answers. `None` without answers.
pub fn accuracy(truth: &[u32], predicted: &[u32]) -> Option<f64> {
    let right = truth.iter().zip(predicted).filter(|(t, p)| t == p).count();
    (!truth.is_empty()).then(|| right as f64 / truth.len() as f64)
}

/// The confusion matrix: the number of examples for each \[truth\]\[predicted\] of `labels` labels.
pub fn confusion(truth: &[u32], predicted: &[u32], labels: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; labels]; labels];
    for (t, p) in truth.iter().zip(predicted) {
        if let Some(count) = counts.get_mut(*t as usize).and_then(|row| row.get_mut(*p as usize)) {
            *count += 1;
        }
    }
    counts
}

/// F1 as in docs/spec.md section 3.3: of the second label if there are two labels, otherwise [`f1_macro`].
pub fn f1(truth: &[u32], predicted: &[u32], labels: usize) -> Option<f64> {
    if labels == 2 { f1_of(truth, predicted, 1) } else { f1_macro(truth, predicted) }
}

/// F1 of one label: 2·TP / (number of predictions + number of true answers). If there are neither, it is 0 (scikit-learn's
/// `zero_division = 0`). `None` without answers.
pub fn f1_of(truth: &[u32], predicted: &[u32], label: u32) -> Option<f64> {
    let count = |all: &[u32]| all.iter().filter(|l| **l == label).count();
    let hits = truth.iter().zip(predicted).filter(|(t, p)| t == p && **t == label).count();
    let all = count(truth) + count(predicted);
    (!truth.is_empty()).then(|| if all == 0 { 0.0 } else { 2.0 * hits as f64 / all as f64 })
}

/// The mean F1 of the labels that occur in `truth` or `predicted`.
pub fn f1_macro(truth: &[u32], predicted: &[u32]) -> Option<f64> {
    let mut labels = [truth, predicted].concat();
    labels.sort_unstable();
    labels.dedup();
    let each: Option<Vec<f64>> = labels.iter().map(|label| f1_of(truth, predicted, *label)).collect();
    each.filter(|each| !each.is_empty()).map(|each| each.iter().sum::<f64>() / each.len() as f64)
}

/// Matthews' correlation, for any number of labels. It is 0 if one side is constant, as in scikit-learn. `None` without
/// answers.
pub fn matthews(truth: &[u32], predicted: &[u32]) -> Option<f64> {
    let labels = truth.iter().chain(predicted).max()? + 1;
    let mut sums = vec![[0u64; 2]; labels as usize];
    truth.iter().for_each(|t| sums[*t as usize][0] += 1);
    predicted.iter().for_each(|p| sums[*p as usize][1] += 1);
    let n = truth.len() as f64;
    let right = truth.iter().zip(predicted).filter(|(t, p)| t == p).count() as f64;
    let dot = |i: usize, j: usize| sums.iter().map(|s| s[i] as f64 * s[j] as f64).sum::<f64>();
    let spread = (n * n - dot(0, 0)) * (n * n - dot(1, 1));
    Some(if spread == 0.0 { 0.0 } else { (right * n - dot(0, 1)) / spread.sqrt() })
}

/// Pearson's correlation. `None` for fewer than two points, for a constant side, and for numbers that are not finite.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let constant = |x: &[f64]| x.iter().all(|v| *v == x[0]);
    if x.len() < 2 || x.len() != y.len() || constant(x) || constant(y) {
        return None;
    }
    let (dx, dy) = (centered(x), centered(y));
    let (nx, ny) = (norm(&dx), norm(&dy));
    // Each factor is divided first, because the product of two norms may overflow.
    let r: f64 = dx.iter().zip(&dy).map(|(a, b)| (a / nx) * (b / ny)).sum();
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's correlation of the ranks. Equal numbers have their mean rank. `None` where Pearson's
/// correlation is.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.iter().chain(y).any(|v| !v.is_finite()) {
        return None;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Differences from the mean. The mean of the differences is subtracted again, because the first mean is not exact when it
/// is large and the spread is small.
fn centered(x: &[f64]) -> Vec<f64> {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let first = mean(x);
    let near: Vec<f64> = x.iter().map(|v| v - first).collect();
    let rest = mean(&near);
    near.iter().map(|v| v - rest).collect()
}

/// The Euclidean norm, scaled so that no square overflows.
fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    if largest == 0.0 { 0.0 } else { largest * x.iter().map(|v| (v / largest).powi(2)).sum::<f64>().sqrt() }
}

/// Ranks from 1.
fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]));
    let (mut ranks, mut before) = (vec![0.0; x.len()], 0);
    for equal in order.chunk_by(|a, b| x[*a] == x[*b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|i| ranks[*i] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_metrics_are_none() {
        assert_eq!(
            (accuracy(&[], &[]), f1(&[], &[], 2), f1(&[], &[], 3), matthews(&[], &[])),
            (None, None, None, None)
        );
        for (x, y) in [(&[][..], &[][..]), (&[1.0], &[2.0]), (&[3.0, 3.0], &[1.0, 2.0]), (&[1.0, 2.0], &[3.0, 3.0])] {
            assert_eq!((pearson(x, y), spearman(x, y)), (None, None), "{x:?} {y:?}");
        }
        for odd in [f64::NAN, f64::INFINITY] {
            assert_eq!((pearson(&[1.0, odd, 2.0], &[1.0, 2.0, 3.0]), spearman(&[1.0, odd], &[1.0, 2.0])), (None, None));
        }
    }

    #[test]
    fn metrics_agree_with_values_computed_by_hand() {
        let (truth, predicted) = ([0, 0, 1, 1, 1, 2], [0, 1, 1, 1, 0, 2]);
        assert_eq!(accuracy(&truth, &predicted), Some(4.0 / 6.0));
        assert_eq!(confusion(&truth, &predicted, 3), [[1, 1, 0], [1, 2, 0], [0, 0, 1]]);
        assert_eq!(f1_of(&truth, &predicted, 1), Some(4.0 / 6.0));
        assert_eq!(f1(&truth, &predicted, 3), Some((0.5 + 4.0 / 6.0 + 1.0) / 3.0));
        // 24 − 14 over √((36 − 14)(36 − 14)).
        assert!((matthews(&truth, &predicted).expect("a number") - 10.0 / 22.0).abs() < 1e-15);
        assert_eq!(f1(&[0, 0], &[0, 0], 2), Some(0.0), "the second label does not occur");
    }

    #[test]
    fn large_and_small_numbers_do_not_overflow() {
        let (x, y) = ([1e200, 2e200, 4e200], [1e-200, 2e-200, 4e-200]);
        assert!((pearson(&x, &y).expect("a number") - 1.0).abs() < 1e-15);
        let far: Vec<f64> = [1.0, 2.0, 4.0, 3.0].iter().map(|v| 1e9 + v).collect();
        let exact = pearson(&[1.0, 2.0, 4.0, 3.0], &[1.0, 3.0, 2.0, 4.0]).expect("a number");
        assert!((pearson(&far, &[1.0, 3.0, 2.0, 4.0]).expect("a number") - exact).abs() < 1e-12);
        assert_eq!(ranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
    }
}
