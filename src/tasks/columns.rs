//! The columns of a file of examples, and its rows as records: texts, and the id of the answer.

use super::example_file::{ExampleFile, Row};
use super::record::{Record, Texts};
use crate::config::{Answers, Task, TaskKind};
use crate::data::batch::Answer;
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
        /// The second text.
        hypothesis: String,
    },
    /// similar
    Similar {
        /// The first text.
        a: String,
        /// The second text.
        b: String,
    },
    /// choose
    Choose {
        /// The text before every candidate.
        context: String,
        /// A list of candidates. Rows may have different numbers of them.
        choices: String,
    },
}

/// The column that holds the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerColumn {
    /// A label, which is a word or a number; for choose the index of the right candidate, from 0, or its text.
    Label(String),
    /// A number to predict. Only similar has scores.
    Score(String),
}

/// The columns of a file of examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The columns of the texts.
    pub inputs: Inputs,
    /// The column of the answer; `None` where only the texts are needed.
    pub answer: Option<AnswerColumn>,
}

/// The number of labels that an error lists at most.
const LISTED: usize = 20;

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
                    return Err(row.error(format!("`{choices}` has {n} candidates")).expected("expected 2 or more"));
                }
                Ok(Texts::Choose(text(context)?, candidates))
            }
        }
    }
}

impl Columns {
    /// Reads the training file, which determines the labels of the task. Their ids are in ascending order: of numbers, if
    /// all labels are numbers, or else of text.
    ///
    /// # Errors
    /// [`Error::File`] with file and line, as [`ExampleFile::read`], and for a missing column, an empty text, a score that
    /// is not a number, a candidate that is not in the row, or fewer than two labels. [`Error::Value`] without a column for
    /// the answer, or with columns that the task does not have.
    pub fn read_training(&self, path: &Path) -> Result<(Task, Vec<Record>)> {
        let file = ExampleFile::read(path)?;
        let kind = self.inputs.kind();
        let answers = match (kind, &self.answer) {
            (_, None) => {
                let expected = "expected a column for the answer";
                return Err(Error::value("task", kind, expected));
            }
            (TaskKind::Choose, Some(AnswerColumn::Label(_))) => Answers::Candidate,
            (_, Some(AnswerColumn::Label(column))) => {
                let labels = file.rows().map(|row| row.label(column)).collect::<Result<BTreeSet<_>>>()?;
                Answers::Labels(in_order(labels))
            }
            (_, Some(AnswerColumn::Score(_))) => Answers::Score,
        };
        let task = Task { kind, answers };
        self.check(&task)?;
        let records = self.records(&file, &task)?;
        // Checked last, so that an error in a line is reported first.
        task.validate().map_err(|e| Error::file(path, e))?;
        Ok((task, records))
    }

    /// Reads a file of examples for a model that is fine-tuned for a task.
    ///
    /// # Errors
    /// As [`Columns::read_training`]; for a label that the training file does not have, and for columns of another task.
    pub fn read(&self, path: &Path, task: &Task) -> Result<Vec<Record>> {
        self.check(task)?;
        self.records(&ExampleFile::read(path)?, task)
    }

    /// Checks that these are the columns of the task.
    fn check(&self, task: &Task) -> Result<()> {
        let (kind, own) = (task.kind, self.inputs.kind());
        if own != kind {
            let expected = format!("expected the columns of {kind}, the model's task");
            return Err(Error::value("columns", format!("those of {own}"), expected));
        }
        let expected = match (&task.answers, &self.answer) {
            (Answers::Score, Some(AnswerColumn::Label(_))) => "expected a score: the model's answers are numbers",
            (_, Some(AnswerColumn::Score(_))) if kind != TaskKind::Similar => {
                "expected a label: only similar has scores"
            }
            (Answers::Labels(_) | Answers::Candidate, Some(AnswerColumn::Score(_))) => {
                "expected a label: the model's answers are labels"
            }
            _ => return Ok(()),
        };
        let found = match self.answer {
            Some(AnswerColumn::Score(_)) => "a score",
            _ => "a label",
        };
        Err(Error::value("answer", found, expected))
    }

    fn records(&self, file: &ExampleFile, task: &Task) -> Result<Vec<Record>> {
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
                    let unknown = || row.error(format!("`{column}` is {label:?}")).expected(known(labels));
                    Answer::Class(*ids.get(label.as_str()).ok_or_else(unknown)?)
                }
            };
            Ok(Record { line: row.line, texts, answer })
        };
        file.rows().map(record).collect()
    }
}

/// The index of the right candidate. A string is the text of a candidate, or else an index.
fn candidate(row: Row<'_>, column: &str, candidates: &[String]) -> Result<u32> {
    let label = row.label(column)?;
    let by_text = || candidates.iter().position(|c| c.trim() == label).filter(|_| !row.is_number(column));
    let index = by_text().or_else(|| label.parse().ok().filter(|index| *index < candidates.len()));
    let expected = || format!("expected the index of a candidate, 0 to {}, or its text", candidates.len() - 1);
    let wrong = || row.error(format!("`{column}` is {label:?}")).expected(expected());
    index.map(|index| index as u32).ok_or_else(wrong)
}

/// Labels in the order of their ids.
fn in_order(labels: BTreeSet<String>) -> Vec<String> {
    let number = |label: &String| label.parse::<f64>().ok().filter(|n| n.is_finite());
    let numbers: Option<Vec<f64>> = labels.iter().map(number).collect();
    let labels: Vec<String> = labels.into_iter().collect();
    match numbers {
        None => labels,
        Some(numbers) => {
            let mut sorted: Vec<(f64, String)> = numbers.into_iter().zip(labels).collect();
            // The sort is stable: the same number written in two ways stays in the order of text.
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            sorted.into_iter().map(|(_, label)| label).collect()
        }
    }
}

/// The known labels, for an error.
fn known(labels: &[String]) -> String {
    let more = labels.len().saturating_sub(LISTED);
    let shown = labels[..labels.len() - more].join(", ");
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("expected a label of the training file: {shown}{rest}")
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

    /// The message of an error without the folder.
    fn message_of<T: std::fmt::Debug>(result: Result<T>) -> String {
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
    fn other_files_must_have_labels_of_the_training_file() {
        let task = Task { kind: TaskKind::Entail, answers: Answers::Labels(vec!["no".into(), "yes".into()]) };
        let columns =
            |answer| Columns { inputs: Inputs::Entail { premise: "p".into(), hypothesis: "h".into() }, answer };
        let file = File::new("x.csv", "l,p,h\nyes,\"a, b\",c\nmaybe,d,e\n");
        assert_eq!(
            message_of(columns(label("l")).read(&file.path(), &task)),
            "x.csv: line 3: `l` is \"maybe\": expected a label of the training file: no, yes"
        );
        let records = columns(None).read(&file.path(), &task).expect("no answers");
        assert_eq!(answers(&records), [Answer::Unknown; 2]);
        assert_eq!(records[0].texts, Texts::Entail("a, b".into(), "c".into()));
        assert_eq!(
            message_of(columns(label("z")).read(&file.path(), &task)),
            "x.csv: line 1: no column `z`: the columns are `l`, `p`, `h`"
        );
        assert_eq!(
            message_of(classify(None).read(&file.path(), &task)),
            "columns = those of classify: expected the columns of entail, the model's task"
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
            message_of(similar(label("s")).read(&file.path(), &task)),
            "answer = a label: expected a score: the model's answers are numbers"
        );
        let words = Task { kind: TaskKind::Similar, answers: Answers::Labels(vec!["0".into(), "1".into()]) };
        assert_eq!(
            message_of(score.read(&file.path(), &words)),
            "answer = a score: expected a label: the model's answers are labels"
        );
        let wrong = classify(Some(AnswerColumn::Score("s".into())));
        assert_eq!(
            message_of(wrong.read_training(&file.path())),
            "answer = a score: expected a label: only similar has scores"
        );
    }

    #[test]
    fn a_candidate_is_given_by_its_index_or_its_text() {
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
            (line("2", r#"["a", "b"]"#), "`l` is \"2\": expected the index of a candidate, 0 to 1, or its text"),
            (line("-1", r#"["a", "b"]"#), "`l` is \"-1\": expected the index of a candidate, 0 to 1, or its text"),
            (line("0.0", r#"["a", "b"]"#), "`l` is \"0.0\": expected the index of a candidate, 0 to 1, or its text"),
            (line("0", r#"["a"]"#), "`ch` has 1 candidates: expected 2 or more"),
            (line("0", "\"a\""), "`ch` is a string: expected a list of strings"),
        ] {
            let file = File::new("x.jsonl", &bad);
            assert_eq!(message_of(choose(label("l")).read(&file.path(), &task)), format!("x.jsonl: line 1: {message}"));
        }
        let table = File::new("x.tsv", "c\tch\tl\nk\ta|b\t0\n");
        let message = message_of(choose(label("l")).read_training(&table.path()));
        assert!(message.starts_with("x.tsv: line 2: `ch` is a cell of a table: expected a list"), "{message}");
    }

    #[test]
    fn one_label_and_no_answer_column_are_refused() {
        let file = File::new("x.tsv", "t\tl\na\t1\nb\t1\n");
        assert_eq!(
            message_of(classify(label("l")).read_training(&file.path())),
            "x.tsv: labels of task classify = 1: must be 2 to 65536"
        );
        assert_eq!(
            message_of(classify(None).read_training(&file.path())),
            "task = classify: expected a column for the answer"
        );
        let empty = File::new("x.tsv", "t\tl\na\t1\nb\t \n");
        assert_eq!(
            message_of(classify(label("l")).read_training(&empty.path())),
            "x.tsv: line 3: `l` is empty: expected a word or a number"
        );
    }
}
