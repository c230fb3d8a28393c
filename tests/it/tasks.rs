//! Real files of tasks: every row is read with its answer and fits in a model.

use crate::common::files::shared_data;
use wgpt::config::{Answers, Task, TaskKind};
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::tasks::{Answer, AnswerColumn, Columns, Inputs, Record, Texts, encode, pack};

fn named(name: &str) -> String {
    name.to_string()
}

/// Reads a training file and another one, and gives the task, the rows of both, and the largest share of a class.
fn read(columns: &Columns, train: &str, other: &str) -> Option<(Task, [Vec<Record>; 2], f64)> {
    let (train, other) = (shared_data(train)?, shared_data(other)?);
    let (task, records) = columns.read_training(&train).expect("the training file");
    let others = columns.read(&other, &task).expect("the other file");
    let classes = others.iter().filter_map(|record| match record.answer {
        Answer::Class(class) => Some(class as usize),
        _ => None,
    });
    let mut counts = [0; 8];
    classes.for_each(|class| counts[class] += 1);
    let share = counts.into_iter().max().map_or(0.0, |most| f64::from(most) / others.len() as f64);
    Some((task, [records, others], share))
}

/// Encodes the first of the records, and gives the rows of their batch, and how many were cut.
fn packed(records: &[Record], n_positions: usize) -> (usize, usize) {
    let tokenizer = Tokenizer::train("the cat and the hat", 256, Pretokenizer::Bytes).expect("train");
    let tokenizer = tokenizer.with_task_tokens(256).expect("tokens");
    let encoded = encode(&records[..100], &tokenizer, n_positions).expect("examples");
    let batch = pack(&encoded.examples).expect("a batch");
    batch.validate(259, n_positions).expect("valid");
    (batch.rows(), encoded.truncated)
}

fn labels(labels: &[&str]) -> Answers {
    Answers::Labels(labels.iter().map(|label| named(label)).collect())
}

#[test]
fn sst2() {
    let answer = Some(AnswerColumn::Label(named("label")));
    let columns = Columns { inputs: Inputs::Classify { text: named("sentence") }, answer };
    let Some((task, [train, dev], share)) = read(&columns, "sst2/train.tsv", "sst2/dev.tsv") else { return };
    assert_eq!((train.len(), dev.len(), &task.answers), (67_349, 872, &labels(&["0", "1"])));
    assert!((share - 444.0 / 872.0).abs() < 1e-9, "{share}");
    // A byte a token: a row a byte and two for each sentence.
    let (rows, cut) = packed(&train, 512);
    let text = std::fs::read_to_string(shared_data("sst2/train.tsv").expect("there")).expect("read");
    let bytes: usize = text.lines().skip(1).take(100).map(|line| line.split('\t').next().map_or(0, str::len)).sum();
    assert_eq!((rows, cut), (bytes + 200, 0));
}

#[test]
fn sick() {
    let (a, b) = (named("sentence_A"), named("sentence_B"));
    let inputs = Inputs::Entail { premise: a.clone(), hypothesis: b.clone() };
    let columns = Columns { inputs, answer: Some(AnswerColumn::Label(named("entailment_judgment"))) };
    let Some((task, [train, dev], share)) = read(&columns, "sick/train.tsv", "sick/dev.tsv") else { return };
    assert_eq!((train.len(), dev.len()), (4500, 500));
    assert_eq!(task.answers, labels(&["CONTRADICTION", "ENTAILMENT", "NEUTRAL"]));
    assert!((0.5..0.6).contains(&share), "{share}");
    let columns =
        Columns { inputs: Inputs::Similar { a, b }, answer: Some(AnswerColumn::Score(named("relatedness_score"))) };
    let Some((task, [train, _], _)) = read(&columns, "sick/train.tsv", "sick/dev.tsv") else { return };
    assert_eq!((task.answers, train[0].answer, train[0].line), (Answers::Score, Answer::Score(4.5), 2));
    let (rows, cut) = packed(&train, 128);
    assert!(rows <= 200 * 128 && cut > 0, "{rows}, {cut}");
}

#[test]
fn msr_paraphrase() {
    let inputs = Inputs::Similar { a: named("#1 String"), b: named("#2 String") };
    let columns = Columns { inputs, answer: Some(AnswerColumn::Label(named("Quality"))) };
    let files = ("msr-paraphrase/train.tsv", "msr-paraphrase/val.tsv");
    let Some((task, [train, dev], _)) = read(&columns, files.0, files.1) else { return };
    assert_eq!((train.len(), dev.len()), (3576, 500));
    assert_eq!(task, Task { kind: TaskKind::Similar, answers: labels(&["0", "1"]) });
    let quoted =
        r#"Amrozi accused his brother, whom he called "the witness", of deliberately distorting his evidence."#;
    assert!(matches!(&train[0].texts, Texts::Similar(a, _) if a == quoted), "{:?}", train[0].texts);
}

#[test]
fn mctest() {
    let inputs = Inputs::Choose { context: named("context"), choices: named("choices") };
    let columns = Columns { inputs, answer: Some(AnswerColumn::Label(named("label"))) };
    let Some((task, [train, dev], share)) = read(&columns, "mctest/train.jsonl", "mctest/dev.jsonl") else { return };
    assert_eq!((train.len(), dev.len(), task.answers), (1200, 200, Answers::Candidate));
    assert!((0.2..0.4).contains(&share), "{share}");
    let (rows, cut) = packed(&train, 64);
    assert_eq!((rows, cut), (100 * 4 * 64, 100));
}
