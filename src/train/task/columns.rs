//! The columns of a task's files, from the settings that name them.

use crate::config::TaskKind;
use crate::tasks::{AnswerColumn, Columns, Inputs};
use crate::train::settings::TaskSettings;
use crate::{Error, Result};

impl TaskSettings {
    /// The columns of a task.
    ///
    /// # Errors
    /// [`Error::Value`] for one that is missing, or is another task's.
    pub fn columns(&self, kind: TaskKind) -> Result<Columns> {
        let TaskSettings { text, label, premise, hypothesis, a, b, score, context, choices, .. } = self;
        let all = [
            ("text", text),
            ("label", label),
            ("premise", premise),
            ("hypothesis", hypothesis),
            ("a", a),
            ("b", b),
            ("score", score),
            ("context", context),
            ("choices", choices),
        ];
        let own: &[&str] = match kind {
            TaskKind::Classify => &["text", "label"],
            TaskKind::Entail => &["premise", "hypothesis", "label"],
            TaskKind::Similar => &["a", "b", "label", "score"],
            TaskKind::Choose => &["context", "choices", "label"],
        };
        if let Some((name, _)) = all.iter().find(|(name, column)| column.is_some() && !own.contains(name)) {
            let own = own.iter().map(|name| format!("--{name}")).collect::<Vec<_>>().join(" ");
            return Err(Error::input(format!("--{name}: {kind} has no such column, it has {own}")));
        }
        let need = |name: &str, column: &Option<String>| {
            let missing = || Error::input(format!("{kind} needs --{name} COLUMN"));
            column.clone().ok_or_else(missing)
        };
        let inputs = match kind {
            TaskKind::Classify => Inputs::Classify { text: need("text", text)? },
            TaskKind::Entail => {
                Inputs::Entail { premise: need("premise", premise)?, hypothesis: need("hypothesis", hypothesis)? }
            }
            TaskKind::Similar => Inputs::Similar { a: need("a", a)?, b: need("b", b)? },
            TaskKind::Choose => {
                Inputs::Choose { context: need("context", context)?, choices: need("choices", choices)? }
            }
        };
        let answer = match (label, score) {
            (Some(_), Some(_)) => {
                return Err(Error::input("--label and --score: an answer is one of them"));
            }
            (Some(label), None) => Some(AnswerColumn::Label(label.clone())),
            (None, score) => score.clone().map(AnswerColumn::Score),
        };
        Ok(Columns { inputs, answer })
    }
}
