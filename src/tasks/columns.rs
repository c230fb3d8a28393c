//! The columns of a task's file by name, and its rows as records: texts, and an answer by its id.

use super::Answer;
use crate::config::{Answers, Task, TaskKind};
use crate::data::task_file::{Row, TaskFile};
use crate::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// The columns that hold a task's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// classify
    Classify {
        /// The text.
        text: String,
    },
    /// entail
    Entail {
        /// The first text.
        premise: String,
        /// The second.
        hypothesis: String,
    },
    /// similar
    Similar {
        /// One text.
        a: String,
        /// The other.
        b: String,
    },
    /// choose
    Choose {
        /// What every candidate follows.
        context: String,
        /// A list of candidates, as many as each row likes.
        choices: String,
    },
}

/// The column that holds the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerColumn {
    /// A label, a word or a number; for choose the right candidate's place from 0, or its text.
    Label(String),
    /// A number to come near to; similar alone has it.
    Score(String),
}

/// What a command line says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Where the texts are.
    pub inputs: Inputs,
    /// Where the answer is; none where only the texts are wanted.
    pub answer: Option<AnswerColumn>,
}

/// The texts of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Texts {
    /// One text.
    Classify(String),
    /// Premise and hypothesis.
    Entail(String, String),
    /// Two texts in no order.
    Similar(String, String),
    /// A context and its candidates.
    Choose(String, Vec<String>),
}

impl Texts {
    /// All of them.
    pub fn all(&self) -> Vec<&str> {
        match self {
            Texts::Classify(text) => vec![text],
            Texts::Entail(one, other) | Texts::Similar(one, other) => vec![one, other],
            Texts::Choose(context, candidates) => {
                std::iter::once(context).chain(candidates).map(String::as_str).collect()
            }
        }
    }
}

/// A row of a file as an example.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its line in the file, from 1.
    pub line: usize,
    /// Its texts.
    pub texts: Texts,
    /// What is right.
    pub answer: Answer,
}

/// Labels that an error writes out at most.
const SHOWN: usize = 20;

impl Inputs {
    /// The task that has these columns.
    pub fn kind(&self) -> TaskKind {
        match self {
            Inputs::Classify { .. } => TaskKind::Classify,
            Inputs::Entail { .. } => TaskKind::Entail,
            Inputs::Similar { .. } => TaskKind::Similar,
            Inputs::Choose { .. } => TaskKind::Choose,
        }
    }

    fn texts(&self, row: Row<'_>) -> Result<Texts> {
        let text = |column: &String| row.text(column).map(String::from);
        match self {
            Inputs::Classify { text: column } => Ok(Texts::Classify(text(column)?)),
            Inputs::Entail { premise, hypothesis } => Ok(Texts::Entail(text(premise)?, text(hypothesis)?)),
            Inputs::Similar { a, b } => Ok(Texts::Similar(text(a)?, text(b)?)),
            Inputs::Choose { context, choices } => {
                let candidates: Vec<String> = row.list(choices)?.into_iter().map(String::from).collect();
                if candidates.len() < 2 {
                    let n = candidates.len();
                    return Err(row.error(format!("its `{choices}` has {n} candidates: must have 2 or more")));
                }
                Ok(Texts::Choose(text(context)?, candidates))
            }
        }
    }
}

impl Columns {
    /// Reads the file that a model is trained on: what its answers are is learned from it. Labels get their ids in order:
    /// numbers by size where all of them are numbers, else words by their characters.
    ///
    /// # Errors
    /// [`Error::File`]: those of [`TaskFile::read`], a missing column, an empty text, a score that is no number, a
    /// candidate that is none of the row's, fewer than two labels, each with file and line; no answer's column.
    pub fn read_training(&self, path: &Path) -> Result<(Task, Vec<Record>)> {
        let file = TaskFile::read(path)?;
        let kind = self.inputs.kind();
        let answers = match (kind, &self.answer) {
            (_, None) => return Err(Error::input(format!("task {kind}: no column is named for the answer"))),
            (TaskKind::Choose, Some(AnswerColumn::Label(_))) => Answers::Candidate,
            (_, Some(AnswerColumn::Label(column))) => {
                let labels = file.rows().map(|row| row.label(column)).collect::<Result<BTreeSet<_>>>()?;
                Answers::Labels(ordered(labels))
            }
            (_, Some(AnswerColumn::Score(_))) => Answers::Score,
        };
        let task = Task { kind, answers };
        self.check(&task)?;
        let records = self.records(&file, &task)?;
        // Last, so that what is wrong in a line is told first.
        task.validate().map_err(|e| Error::file(path, e))?;
        Ok((task, records))
    }

    /// Reads a file for a model that has its task.
    ///
    /// # Errors
    /// As [`Columns::read_training`]; a label that the model does not know, with those it knows; columns of another task.
    pub fn read(&self, path: &Path, task: &Task) -> Result<Vec<Record>> {
        self.check(task)?;
        self.records(&TaskFile::read(path)?, task)
    }

    /// Whether these are the columns of the task.
    fn check(&self, task: &Task) -> Result<()> {
        let (kind, given) = (task.kind, self.inputs.kind());
        if given != kind {
            return Err(Error::input(format!("the model's task is {kind}: the columns are those of {given}")));
        }
        let right = match (&task.answers, &self.answer) {
            (Answers::Score, Some(AnswerColumn::Label(_))) => "a score, the model's answer is a number",
            (_, Some(AnswerColumn::Score(_))) if kind != TaskKind::Similar => "a label: only similar has scores",
            (Answers::Labels(_) | Answers::Candidate, Some(AnswerColumn::Score(_))) => {
                "a label, as the model's answers"
            }
            _ => return Ok(()),
        };
        Err(Error::input(format!("task {kind}: the answer's column must be {right}")))
    }

    fn records(&self, file: &TaskFile, task: &Task) -> Result<Vec<Record>> {
        let labels = match &task.answers {
            Answers::Labels(labels) => labels.as_slice(),
            Answers::Score | Answers::Candidate => &[],
        };
        let ids: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
        let record = |row: Row<'_>| {
            let texts = self.inputs.texts(row)?;
            let answer = match (&self.answer, &texts) {
                (None, _) => Answer::Unknown,
                (Some(AnswerColumn::Score(column)), _) => Answer::Score(row.number(column)?),
                (Some(AnswerColumn::Label(column)), Texts::Choose(_, candidates)) => {
                    Answer::Class(candidate(row, column, candidates)?)
                }
                (Some(AnswerColumn::Label(column)), _) => {
                    let label = row.label(column)?;
                    let unknown = || row.error(format!("its `{column}` is {label:?}: {}", known(labels)));
                    Answer::Class(*ids.get(label.as_str()).ok_or_else(unknown)?)
                }
            };
            Ok(Record { line: row.line, texts, answer })
        };
        file.rows().map(record).collect()
    }
}

/// The right candidate's place: a number says it, a text is the candidate's own or else a number.
fn candidate(row: Row<'_>, column: &str, candidates: &[String]) -> Result<u32> {
    let label = row.label(column)?;
    let named = || candidates.iter().position(|c| c.trim() == label).filter(|_| !row.is_number(column));
    let place = named().or_else(|| label.parse().ok().filter(|place| *place < candidates.len()));
    let last = candidates.len() - 1;
    let wrong =
        || row.error(format!("its `{column}` is {label:?}: must be a candidate's place, 0 to {last}, or its text"));
    place.map(|place| place as u32).ok_or_else(wrong)
}

/// Labels in the order of their ids.
fn ordered(labels: BTreeSet<String>) -> Vec<String> {
    let number = |label: &String| label.parse::<f64>().ok().filter(|n| n.is_finite());
    let numbers: Option<Vec<f64>> = labels.iter().map(number).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    match numbers {
        None => labels,
        Some(numbers) => {
            let mut sorted: Vec<(f64, String)> = numbers.into_iter().zip(labels).collect();
            // Stable: the same number written twice stays in the order of characters.
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            sorted.into_iter().map(|(_, label)| label).collect()
        }
    }
}

/// What an error says of the labels that there are.
fn known(labels: &[String]) -> String {
    let more = labels.len().saturating_sub(SHOWN);
    let shown = labels[..labels.len() - more].join(", ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the training file's labels are {shown}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(tempfile::TempDir, &'static str);

    impl File {
        fn new(name: &'static str, text: &str) -> Self {
            let file = File(tempfile::tempdir().expect("folder"), name);
            std::fs::write(file.path(), text).expect("write");
            file
        }

        fn path(&self) -> std::path::PathBuf {
            self.0.path().join(self.1)
        }
    }

    fn label(column: &str) -> Option<AnswerColumn> {
        Some(AnswerColumn::Label(column.into()))
    }

    fn classify(answer: Option<AnswerColumn>) -> Columns {
        Columns { inputs: Inputs::Classify { text: "t".into() }, answer }
    }

    fn choose(answer: Option<AnswerColumn>) -> Columns {
        Columns { inputs: Inputs::Choose { context: "c".into(), choices: "ch".into() }, answer }
    }

    fn similar(answer: Option<AnswerColumn>) -> Columns {
        Columns { inputs: Inputs::Similar { a: "a".into(), b: "b".into() }, answer }
    }

    fn answers(records: &[Record]) -> Vec<Answer> {
        records.iter().map(|record| record.answer).collect()
    }

    /// An error's words behind the folder: one line, exit code 2.
    fn says<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.expect_err("an error");
        let message = error.to_string();
        assert!(error.is_invalid_input() && message.lines().count() == 1, "{message}");
        message.rfind("x.").map_or(message.clone(), |at| message[at..].to_string())
    }

    #[test]
    fn labels_have_ids_in_order() {
        let train = File::new("x.tsv", "t\tl\none\tno\ntwo\tYes\nthree\tmaybe\nfour\tno\n");
        let (task, records) = classify(label("l")).read_training(&train.path()).expect("read");
        let labels = vec!["Yes".to_string(), "maybe".into(), "no".into()];
        assert_eq!(task, Task { kind: TaskKind::Classify, answers: Answers::Labels(labels) });
        assert_eq!(answers(&records), [2, 0, 1, 2].map(Answer::Class));
        assert_eq!((records[1].line, &records[1].texts), (3, &Texts::Classify("two".into())));
        let numbers = File::new("x.tsv", "t\tl\na\t10\nb\t9\nc\t-1\nd\t9.0\ne\t10\n");
        let (task, records) = classify(label("l")).read_training(&numbers.path()).expect("read");
        assert_eq!(task.answers, Answers::Labels(["-1", "9", "9.0", "10"].map(String::from).to_vec()));
        assert_eq!(answers(&records), [3, 1, 0, 2, 3].map(Answer::Class));
        let words = File::new("x.tsv", "t\tl\na\t10\nb\t9\nc\tnan\n");
        let (task, _) = classify(label("l")).read_training(&words.path()).expect("read");
        assert_eq!(task.answers, Answers::Labels(["10", "9", "nan"].map(String::from).to_vec()), "nan is a word");
    }

    #[test]
    fn other_files_have_the_training_files_labels() {
        let task = Task { kind: TaskKind::Entail, answers: Answers::Labels(vec!["no".into(), "yes".into()]) };
        let columns =
            |answer| Columns { inputs: Inputs::Entail { premise: "p".into(), hypothesis: "h".into() }, answer };
        let file = File::new("x.csv", "l,p,h\nyes,\"a, b\",c\nmaybe,d,e\n");
        assert_eq!(
            says(columns(label("l")).read(&file.path(), &task)),
            "x.csv: line 3: its `l` is \"maybe\": the training file's labels are no, yes"
        );
        let records = columns(None).read(&file.path(), &task).expect("no answers");
        assert_eq!(answers(&records), [Answer::Unknown; 2]);
        assert_eq!(records[0].texts, Texts::Entail("a, b".into(), "c".into()));
        assert_eq!(
            says(columns(label("z")).read(&file.path(), &task)),
            "x.csv: line 1: has no column `z`: its columns are l, p, h"
        );
        assert_eq!(
            says(classify(None).read(&file.path(), &task)),
            "the model's task is entail: the columns are those of classify"
        );
        assert!(known(&vec!["x".to_string(); 23]).ends_with("x, x and 3 more"));
    }

    #[test]
    fn scores_are_numbers() {
        let score = similar(Some(AnswerColumn::Score("s".into())));
        let file =
            File::new("x.jsonl", "{\"a\":\"x\",\"b\":\"y\",\"s\":4.5}\n{\"a\":\"x\",\"b\":\"z\",\"s\":\"-1\"}\n");
        let (task, records) = score.read_training(&file.path()).expect("read");
        assert_eq!(
            (task.answers.clone(), answers(&records)),
            (Answers::Score, vec![Answer::Score(4.5), Answer::Score(-1.0)])
        );
        assert_eq!(
            says(similar(label("s")).read(&file.path(), &task)),
            "task similar: the answer's column must be a score, the model's answer is a number"
        );
        let words = Task { kind: TaskKind::Similar, answers: Answers::Labels(vec!["0".into(), "1".into()]) };
        assert_eq!(
            says(score.read(&file.path(), &words)),
            "task similar: the answer's column must be a label, as the model's answers"
        );
        let wrong = classify(Some(AnswerColumn::Score("s".into())));
        assert_eq!(
            says(wrong.read_training(&file.path())),
            "task classify: the answer's column must be a label: only similar has scores"
        );
    }

    #[test]
    fn a_candidate_is_named_by_its_place_or_its_text() {
        let line = |label: &str, choices: &str| format!("{{\"c\": \"k\", \"ch\": {choices}, \"l\": {label}}}\n");
        let text = [
            line("1", r#"["a", "b"]"#),
            line("\"c\"", r#"["a", "b ", "c"]"#),
            line("\"b\"", r#"["a", "b ", "c"]"#),
            line("\"0\"", r#"["a", "b"]"#),
            line("\"0\"", r#"["1", "0"]"#),
            line("0", r#"["1", "0"]"#),
        ]
        .concat();
        let file = File::new("x.jsonl", &text);
        let (task, records) = choose(label("l")).read_training(&file.path()).expect("read");
        assert_eq!(task.answers, Answers::Candidate);
        assert_eq!(answers(&records), [1, 2, 1, 0, 1, 0].map(Answer::Class));
        assert_eq!(records[0].texts, Texts::Choose("k".into(), vec!["a".into(), "b".into()]));
        for (bad, message) in [
            (line("2", r#"["a", "b"]"#), "its `l` is \"2\": must be a candidate's place, 0 to 1, or its text"),
            (line("-1", r#"["a", "b"]"#), "its `l` is \"-1\": must be a candidate's place, 0 to 1, or its text"),
            (line("0.0", r#"["a", "b"]"#), "its `l` is \"0.0\": must be a candidate's place, 0 to 1, or its text"),
            (line("0", r#"["a"]"#), "its `ch` has 1 candidates: must have 2 or more"),
            (line("0", "\"a\""), "its `ch` is a text: must be a list of texts"),
        ] {
            let file = File::new("x.jsonl", &bad);
            assert_eq!(says(choose(label("l")).read(&file.path(), &task)), format!("x.jsonl: line 1: {message}"));
        }
        let table = File::new("x.tsv", "c\tch\tl\nk\ta|b\t0\n");
        let message = says(choose(label("l")).read_training(&table.path()));
        assert!(message.starts_with("x.tsv: line 2: a table's `ch` is no list: must be a .jsonl with"), "{message}");
    }

    #[test]
    fn too_few_labels_and_none() {
        let file = File::new("x.tsv", "t\tl\na\t1\nb\t1\n");
        assert_eq!(
            says(classify(label("l")).read_training(&file.path())),
            "x.tsv: task classify: 1 labels, must be 2 to 65536"
        );
        assert_eq!(
            says(classify(None).read_training(&file.path())),
            "task classify: no column is named for the answer"
        );
        let empty = File::new("x.tsv", "t\tl\na\t1\nb\t \n");
        assert_eq!(
            says(classify(label("l")).read_training(&empty.path())),
            "x.tsv: line 3: its `l` is empty: must be a word or a number"
        );
    }
}
