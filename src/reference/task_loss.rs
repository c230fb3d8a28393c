//! The loss of a task's examples, from the scores of their sequences.
//!
//! scores \[b,l\], a row a sequence; bias \[l\]; an example is (first sequence, end, answer). Logits z of an example:
//! classes: z\[j\] = Σ_s scores\[s,j\] + bias\[j\], loss = log Σ exp z − z\[answer\]; a score: the same with l = 1, loss =
//! (z − answer)²; candidates: z\[s\] = scores\[s,0\] + bias\[0\], cross-entropy over the example's sequences. The gradient is
//! that of the sum divided by `count`; an example without an answer has loss and gradient 0. Source: docs/spec.md section 3.

/// The right answer of an example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// One of the classes.
    Class(usize),
    /// A number.
    Score(f64),
    /// One of the example's sequences.
    Candidate(usize),
    /// Not known.
    Unknown,
}

/// Losses, logits and gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskLoss {
    /// Each example's loss.
    pub losses: Vec<f64>,
    /// \[b,l\]: in the row of the first sequence, or of each candidate; 0 elsewhere.
    pub logits: Vec<f64>,
    /// As `logits`.
    pub dlogits: Vec<f64>,
    /// \[b,l\].
    pub dscores: Vec<f64>,
}

/// Loss and gradients; with `candidates` each sequence is one of an example's answers.
pub fn task_loss(
    scores: &[f64],
    bias: &[f64],
    examples: &[(std::ops::Range<usize>, Answer)],
    candidates: bool,
    count: usize,
) -> TaskLoss {
    let (l, zero) = (bias.len(), vec![0.0; scores.len()]);
    let scale = 1.0 / count.max(1) as f64;
    let mut out = TaskLoss { losses: Vec::new(), logits: zero.clone(), dlogits: zero.clone(), dscores: zero };
    for (rows, answer) in examples {
        let places: Vec<usize> = if candidates {
            rows.clone().map(|s| s * l).collect()
        } else {
            (0..l).map(|j| rows.start * l + j).collect()
        };
        let z: Vec<f64> = match candidates {
            true => places.iter().map(|at| scores[*at] + bias[0]).collect(),
            false => (0..l).map(|j| bias[j] + rows.clone().map(|s| scores[s * l + j]).sum::<f64>()).collect(),
        };
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum_exp = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
        let (loss, dz): (f64, Vec<f64>) = match *answer {
            Answer::Unknown => (0.0, vec![0.0; z.len()]),
            Answer::Score(y) => ((z[0] - y).powi(2), vec![2.0 * (z[0] - y)]),
            Answer::Class(right) | Answer::Candidate(right) => {
                let dz = |(i, z): (usize, &f64)| (z - log_sum_exp).exp() - if i == right { 1.0 } else { 0.0 };
                (log_sum_exp - z[right], z.iter().enumerate().map(dz).collect())
            }
        };
        out.losses.push(loss);
        for (i, at) in places.iter().enumerate() {
            (out.logits[*at], out.dlogits[*at]) = (z[i], dz[i] * scale);
            if candidates {
                out.dscores[*at] = dz[i] * scale;
            } else {
                rows.clone().for_each(|s| out.dscores[s * l + i] = dz[i] * scale);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_gradient, normal};
    use super::*;

    /// Gradients by scores and by bias, against differences.
    fn check(l: usize, candidates: bool, examples: &[(std::ops::Range<usize>, Answer)]) {
        let b = examples.last().expect("one").0.end;
        let (scores, bias) = (normal(b * l, 1), normal(l, 2));
        let known = examples.iter().filter(|e| e.1 != Answer::Unknown).count();
        let loss = |scores: &[f64], bias: &[f64]| {
            task_loss(scores, bias, examples, candidates, known).losses.iter().sum::<f64>() / known as f64
        };
        let out = task_loss(&scores, &bias, examples, candidates, known);
        check_gradient("scores", &scores, &out.dscores, |s| loss(s, &bias));
        let dbias: Vec<f64> = (0..l).map(|j| (0..b).map(|s| out.dlogits[s * l + j]).sum()).collect();
        if !candidates {
            check_gradient("bias", &bias, &dbias, |x| loss(&scores, x));
        } else {
            assert!(dbias[0].abs() < 1e-12, "what is added to every candidate changes nothing");
        }
    }

    #[test]
    fn gradients_of_every_kind() {
        check(4, false, &[(0..1, Answer::Class(3)), (1..2, Answer::Unknown), (2..3, Answer::Class(0))]);
        check(3, false, &[(0..2, Answer::Class(1)), (2..4, Answer::Class(2))]);
        check(1, false, &[(0..2, Answer::Score(4.5)), (2..3, Answer::Unknown), (3..4, Answer::Score(-1.0))]);
        check(1, true, &[(0..4, Answer::Candidate(2)), (4..5, Answer::Candidate(0)), (5..8, Answer::Unknown)]);
    }

    #[test]
    fn equal_scores_have_the_loss_of_chance() {
        let out = task_loss(&[2.0; 4], &[7.0], &[(0..4, Answer::Candidate(1))], true, 1);
        assert!((out.losses[0] - 4f64.ln()).abs() < 1e-15 && out.logits == [9.0; 4]);
        let out = task_loss(&[1.0, 2.0], &[0.5], &[(0..2, Answer::Score(3.0))], false, 1);
        assert_eq!((out.losses[0], out.dscores, out.logits), (0.25, vec![1.0, 1.0], vec![3.5, 0.0]));
    }
}
