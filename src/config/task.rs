//! The task of a fine-tuned model (docs/spec.md section 3): its kind, its head, and the meaning of the head's outputs.

use super::choice::choice;
use super::parameters::{ParameterKind, ParameterShape};
use crate::{Error, Result};
use std::collections::HashSet;

choice! {
    /// GPT-1's four kinds of tasks: how an example becomes token sequences.
    TaskKind {
        /// One text: start text extract.
        Classify = "classify",
        /// An ordered pair: start premise delimiter hypothesis extract.
        Entail = "entail",
        /// An unordered pair, encoded in both orders; the two hidden states at extract are added.
        Similar = "similar",
        /// A context and several candidates, one sequence each: start context delimiter candidate extract.
        Choose = "choose",
    }
}

/// The meaning of a head's outputs, and the loss that follows from it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Answers {
    /// Classes, in the order of the outputs: cross-entropy.
    Labels(Vec<String>),
    /// One score: squared error.
    Score,
    /// One score a candidate, with a softmax over an example's candidates: cross-entropy.
    Candidate,
}

/// A task: how examples are encoded, and what is predicted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// How an example becomes token sequences.
    pub kind: TaskKind,
    /// The meaning of the head's outputs.
    pub answers: Answers,
}

/// The largest number of labels.
const MAX_LABELS: usize = 1 << 16;

impl Task {
    /// The three tokens that fine-tuning appends to a vocabulary of V ids, under the original's names: start (id V),
    /// delimiter (V+1) and extract (V+2).
    pub const TOKENS: [&'static str; 3] = ["_start_", "_delimiter_", "_classify_"];

    /// Number of outputs of the head: that of the labels, or 1.
    pub fn outputs(&self) -> usize {
        match &self.answers {
            Answers::Labels(labels) => labels.len(),
            Answers::Score | Answers::Candidate => 1,
        }
    }

    /// The head's tensors: a weight `[outputs, C]`, and a bias `[outputs]` if Hugging Face's class has one.
    pub fn parameters(&self, n_embd: usize) -> Vec<ParameterShape> {
        let (weight, bias) = match self.kind {
            TaskKind::Classify | TaskKind::Entail => ("score.weight", None),
            TaskKind::Similar => ("similarity_head.weight", Some("similarity_head.bias")),
            TaskKind::Choose => ("multiple_choice_head.summary.weight", Some("multiple_choice_head.summary.bias")),
        };
        let outputs = self.outputs();
        let shape = |name: &str, rows, columns, kind| ParameterShape { name: name.into(), rows, columns, kind };
        let mut all = vec![shape(weight, outputs, n_embd, ParameterKind::Weight)];
        all.extend(bias.map(|name| shape(name, 1, outputs, ParameterKind::Bias)));
        all
    }

    /// Checks that the answers fit the task.
    ///
    /// # Errors
    /// [`Error::Value`] for too few or too many labels, a repeated label, or the answers of another kind of task.
    pub fn validate(&self) -> Result<()> {
        let of_task = |what: &str| format!("{what} of task {}", self.kind);
        let labels = match (&self.answers, self.kind) {
            (Answers::Candidate, TaskKind::Choose) => return Ok(()),
            (Answers::Candidate, _) => {
                return Err(Error::value(of_task("answers"), "one score a candidate", "must be labels or a score"));
            }
            (_, TaskKind::Choose) => {
                let found = if self.answers == Answers::Score { "a score" } else { "labels" };
                return Err(Error::value(of_task("answers"), found, "must be one score a candidate"));
            }
            (Answers::Score, _) => return Ok(()),
            (Answers::Labels(labels), _) => labels,
        };
        if labels.len() < 2 || labels.len() > MAX_LABELS {
            return Err(Error::value(of_task("labels"), labels.len(), format!("must be 2 to {MAX_LABELS}")));
        }
        let mut seen = HashSet::new();
        match labels.iter().find(|label| !seen.insert(*label)) {
            Some(label) => Err(Error::value(of_task("labels"), format!("{label:?} twice"), "must be distinct")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;

    fn labels(n: usize) -> Answers {
        Answers::Labels((0..n).map(|i| i.to_string()).collect())
    }

    #[test]
    fn heads_have_hugging_faces_shapes() {
        let names = |kind, answers| {
            let config = ModelConfig { task: Some(Task { kind, answers }), ..ModelConfig::default() };
            config.validate().expect("valid");
            let body = ModelConfig::default().parameters().len();
            let head = config.head().expect("a head");
            assert_eq!(head.start, body);
            config.parameters()[head].iter().map(|p| (p.name.clone(), p.dimensions())).collect::<Vec<_>>()
        };
        assert_eq!(names(TaskKind::Entail, labels(3)), [("score.weight".into(), vec![3, 128])]);
        assert_eq!(
            names(TaskKind::Similar, Answers::Score),
            [("similarity_head.weight".into(), vec![1, 128]), ("similarity_head.bias".into(), vec![1])]
        );
        assert_eq!(
            names(TaskKind::Choose, Answers::Candidate),
            [
                ("multiple_choice_head.summary.weight".into(), vec![1, 128]),
                ("multiple_choice_head.summary.bias".into(), vec![1])
            ]
        );
        assert_eq!(ModelConfig::default().head(), None);
    }

    #[test]
    fn answers_must_fit_the_task() {
        let refused = |kind, answers, what: &str| {
            let error = Task { kind, answers }.validate().expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        };
        refused(TaskKind::Choose, Answers::Score, "answers of task choose = a score: must be one score a candidate");
        refused(
            TaskKind::Entail,
            Answers::Candidate,
            "answers of task entail = one score a candidate: must be labels or a score",
        );
        refused(TaskKind::Classify, labels(1), "labels of task classify = 1: must be 2 to 65536");
        let twice = Answers::Labels(vec!["yes".into(), "no".into(), "yes".into()]);
        refused(TaskKind::Classify, twice, "= \"yes\" twice: must be distinct");
    }
}
