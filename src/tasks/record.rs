//! An example of a task as text.

use crate::data::batch::Answer;

/// The texts of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One text.
    Classify(String),
    /// Premise and hypothesis.
    Entail(String, String),
    /// Two texts whose order does not matter.
    Similar(String, String),
    /// A context and its candidates.
    Choose(String, Vec<String>),
}

impl Texts {
    /// All texts, in order.
    pub fn all(&self) -> Vec<&str> {
        match self {
            Texts::Classify(text) => vec![text],
            Texts::Entail(first, second) | Texts::Similar(first, second) => vec![first, second],
            Texts::Choose(context, candidates) => {
                std::iter::once(context).chain(candidates).map(String::as_str).collect()
            }
        }
    }
}

/// An example: a row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its texts.
    pub texts: Texts,
    /// Its answer.
    pub answer: Answer,
}
