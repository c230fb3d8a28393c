//! What a model is fine-tuned for (SPEC 3): the task, the head on top of the decoder, and what its answers mean.

use super::{ParameterKind, ParameterShape};
use crate::{Error, Result};

choice! {
    /// GPT-1's four tasks: how an example becomes token sequences.
    TaskKind {
        /// A text: start text extract.
        Classify = "classify",
        /// A pair in its order: start premise delimiter hypothesis extract.
        Entail = "entail",
        /// A pair in both orders, whose two states at extract are added.
        Similar = "similar",
        /// A context with each of some candidates: start context delimiter candidate extract.
        Choose = "choose",
    }
}

/// What a head's outputs stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Classes, in the order of the outputs: cross-entropy.
    Labels(Vec<String>),
    /// One number: squared error.
    Score,
    /// One number a candidate, a softmax over an example's candidates: cross-entropy.
    Candidate,
}

/// A task and its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// How an example becomes sequences.
    pub kind: TaskKind,
    /// What the head's outputs are.
    pub answers: Answers,
}

/// Labels at most.
const MOST_LABELS: usize = 1 << 16;

impl Task {
    /// The three tokens that fine-tuning adds behind the vocabulary, as tokenizer.json and the original call them. Their
    /// ids are V, V+1, V+2 for a vocabulary of V before.
    pub const TOKENS: [&'static str; 3] = ["_start_", "_delimiter_", "_classify_"];

    /// Columns of the head: labels, or 1.
    pub fn outputs(&self) -> usize {
        match &self.answers {
            Answers::Labels(labels) => labels.len(),
            Answers::Score | Answers::Candidate => 1,
        }
    }

    /// The head's tensors: weight [outputs, C], and a bias [outputs] where Hugging Face's class has one.
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

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`Error::Value`]: too few or too many labels, a label twice, or answers of another task.
    pub fn validate(&self) -> Result<()> {
        let kind = self.kind;
        match (&self.answers, kind) {
            (Answers::Candidate, TaskKind::Choose) => Ok(()),
            (Answers::Candidate, _) | (_, TaskKind::Choose) => {
                Err(Error::input(format!("task {kind}: choose has one output, a candidate's, and no other task has")))
            }
            (Answers::Score, _) => Ok(()),
            (Answers::Labels(labels), _) => {
                if labels.len() < 2 || labels.len() > MOST_LABELS {
                    let n = labels.len();
                    return Err(Error::input(format!("task {kind}: {n} labels, must be 2 to {MOST_LABELS}")));
                }
                let mut sorted: Vec<&String> = labels.iter().collect();
                sorted.sort_unstable();
                match sorted.windows(2).find(|two| two[0] == two[1]) {
                    Some(two) => Err(Error::input(format!("task {kind}: the label {:?} stands there twice", two[0]))),
                    None => Ok(()),
                }
            }
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
    fn answers_must_fit() {
        let says = |kind, answers, what: &str| {
            let error = Task { kind, answers }.validate().expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        };
        says(TaskKind::Choose, Answers::Score, "choose has one output");
        says(TaskKind::Entail, Answers::Candidate, "choose has one output");
        says(TaskKind::Classify, labels(1), "1 labels, must be 2");
        let twice = Answers::Labels(vec!["yes".into(), "no".into(), "yes".into()]);
        says(TaskKind::Classify, twice, "\"yes\" stands there twice");
    }
}
