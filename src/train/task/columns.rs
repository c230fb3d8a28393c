//! The columns of a task's files, from the settings that name them.

use crate::config::TaskKind;
use crate::tasks::{AnswerColumn, Columns, Inputs};
use crate::train::settings::TaskSettings;
use crate::{Error, Result};

/// The keys that name the columns of a task.
pub(crate) fn column_keys(kind: TaskKind) -> &'static [&'static str] {
    match kind {
        TaskKind::Classify => &["text", "label"],
        TaskKind::Entail => &["premise", "hypothesis", "label"],
        TaskKind::Similar => &["a", "b", "label", "score"],
        TaskKind::Choose => &["context", "choices", "label"],
    }
}

impl TaskSettings {
    /// The columns of a task.
    ///
    /// # Errors
    /// [`Error::Value`] for a column that is missing, or that the task does not have.
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
        let names = column_keys(kind);
        if let Some((name, Some(column))) = all.iter().find(|(name, column)| column.is_some() && !names.contains(name))
        {
            return Err(Error::value(*name, column, format!("{kind} has the columns {}", names.join(", "))));
        }
        let set: Vec<(&str, &String)> =
            all.iter().filter_map(|(name, column)| Some((*name, column.as_ref()?))).collect();
        for (i, (name, column)) in set.iter().enumerate() {
            if let Some((other, _)) = set[..i].iter().find(|(_, before)| before == column) {
                return Err(Error::value(*name, column, format!("is the column of {other} already: must be another")));
            }
        }
        let need = |name: &str, column: &Option<String>| {
            let missing = || Error::missing(name, format!("must name a column of the examples for {kind}"));
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
            (Some(label), Some(score)) => {
                return Err(Error::value("score", score, format!("cannot be combined with label = {label}")));
            }
            (Some(label), None) => Some(AnswerColumn::Label(label.clone())),
            (None, score) => score.clone().map(AnswerColumn::Score),
        };
        Ok(Columns { inputs, answer })
    }
}
