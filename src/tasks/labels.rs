//! Warnings about the labels of a training file that probably are not the classes that the user meant.

use super::example_file::{EXACT, visible};
use super::record::Record;
use crate::config::{Answers, Task, TaskKind};
use crate::data::batch::Answer;
use std::collections::BTreeMap;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// The number of labels or groups that a warning lists at most.
const LISTED: usize = 5;
/// Numbers that are classes have this many examples each, at least on average.
const EXAMPLES_PER_CLASS: usize = 5;
/// So many examples have every candidate as an answer at times.
const ENOUGH: usize = 10;
/// So few labels may always be classes.
const FEW: usize = 5;

/// Warnings about labels that differ in spelling alone, about labels that look like numbers to predict, and about labels with
/// one example. `path` is the training file.
pub fn warnings(path: &Path, task: &Task, records: &[Record]) -> Vec<String> {
    let Answers::Labels(labels) = &task.answers else { return never_first(path, records).into_iter().collect() };
    let mut counts = vec![0usize; labels.len()];
    for record in records {
        if let Answer::Class(class) = record.answer {
            counts[class as usize] += 1;
        }
    }
    let path = path.display();
    let mut all = Vec::new();
    let groups = alike(labels);
    if !groups.is_empty() {
        let groups = listed(groups.iter().map(|group| quoted(group).collect::<Vec<_>>().join(" and ")));
        all.push(format!(
            "{path}: labels that may mean the same are different classes: {groups}; write each label in one way"
        ));
    }
    if look_like_scores(labels, records.len()) {
        let how = match task.kind {
            TaskKind::Similar => "to predict a number, use --score in place of --label",
            _ => "a number can be predicted by `wgpt finetune similar --score` alone",
        };
        all.push(format!(
            "{path}: {} labels are numbers ({}), and each is a class of its own; {how}",
            labels.len(),
            listed(quoted(labels))
        ));
    } else {
        let single = labels.iter().zip(&counts).filter(|(_, count)| **count == 1).map(|(label, _)| label);
        let single: Vec<&String> = single.collect();
        if !single.is_empty() {
            let (n, all_labels) = (single.len(), labels.len());
            let labels = listed(quoted(&single));
            all.push(format!("{path}: {n} of {all_labels} labels have one example each: {labels}"));
        }
    }
    all
}

/// The warning that the first candidate is never the answer, as when indices are counted from 1.
fn never_first(path: &Path, records: &[Record]) -> Option<String> {
    let is_later = |record: &Record| matches!(record.answer, Answer::Class(1..));
    (records.len() >= ENOUGH && records.iter().all(is_later)).then(|| {
        format!("{}: the answer is never candidate 0; indices of candidates are counted from 0", path.display())
    })
}

fn quoted<T: AsRef<str>>(labels: &[T]) -> impl Iterator<Item = String> {
    labels.iter().map(|label| format!("{:?}", label.as_ref()))
}

/// The first items of a list, and how many more there are.
fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(LISTED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    items[..items.len() - more].join(", ") + &rest
}

fn number(label: &str) -> Option<f64> {
    // Adding 0 makes -0 the same as 0.
    label.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// Groups of labels that differ in case, in blanks, in characters without width, in the Unicode form of a character, in quotes
/// around them or in the form of a number alone; `true` and `false` are 1 and 0.
fn alike(labels: &[String]) -> Vec<Vec<&str>> {
    let meaning = |label: &str| {
        let seen = visible(label).nfkc().collect::<String>().to_lowercase();
        let seen = seen.split_whitespace().collect::<Vec<_>>().join(" ");
        let unquoted = seen.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(String::from);
        let seen = unquoted.unwrap_or(seen);
        let number = match seen.as_str() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            // Larger whole numbers, such as ids, would be rounded.
            text => number(text).filter(|number| number.abs() < EXACT),
        };
        number.map_or(seen, |number| number.to_string())
    };
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    labels.iter().for_each(|label| groups.entry(meaning(label)).or_default().push(label));
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// Whether labels are numbers of a scale and not classes: more than a few, and fractions, or about as many as examples.
fn look_like_scores(labels: &[String], examples: usize) -> bool {
    let numbers: Option<Vec<f64>> = labels.iter().map(|label| number(label)).collect();
    let Some(numbers) = numbers.filter(|numbers| numbers.len() > FEW) else { return false };
    numbers.iter().any(|number| number.fract() != 0.0) || labels.len() * EXAMPLES_PER_CLASS > examples
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::Texts;

    fn of(labels: &[&str], examples_each: usize) -> Vec<String> {
        let records: Vec<Record> = (0..labels.len() * examples_each)
            .map(|i| {
                let class = (i % labels.len()) as u32;
                Record { line: i + 2, texts: Texts::Classify("text".into()), answer: Answer::Class(class) }
            })
            .collect();
        let answers = Answers::Labels(labels.iter().map(|label| label.to_string()).collect());
        warnings(Path::new("x.tsv"), &Task { kind: TaskKind::Classify, answers }, &records)
    }

    #[test]
    fn labels_that_differ_in_spelling_alone_are_named() {
        let message = |groups: &str| {
            format!("x.tsv: labels that may mean the same are different classes: {groups}; write each label in one way")
        };
        for (labels, groups) in [
            (&["0", "1", "1.0"][..], r#""1" and "1.0""#),
            (&["-0", "0", "007", "7"], r#""-0" and "0", "007" and "7""#),
            (&["1", "True", "true", "x"], r#""1" and "True" and "true""#),
            (&["Yes", "no", "yes"], r#""Yes" and "yes""#),
            (&["cafe\u{301}", "café", "\u{ff11}", "1"], "\"\u{ff11}\" and \"1\", \"cafe\\u{301}\" and \"café\""),
            (&["\"yes\"", "yes", "no"], r#""\"yes\"" and "yes""#),
            (&["a\u{200b}", "a", "b"], r#""a\u{200b}" and "a""#),
            (&["a  b", "a b", "c"], r#""a  b" and "a b""#),
            (&["9007199254740992", "9007199254740993", "a", "A"], r#""a" and "A""#),
        ] {
            assert_eq!(of(labels, 9), [message(groups)], "{labels:?}");
        }
        for good in [&["0", "1"][..], &["no", "yes", "maybe"], &["1", "2", "3", "4", "5"], &["0.5", "1"]] {
            assert_eq!(of(good, 9), [""; 0], "{good:?}");
        }
    }

    #[test]
    fn answers_counted_from_1_are_named() {
        let of = |classes: &[u32]| {
            let texts = Texts::Choose("c".into(), vec!["a".into(), "b".into(), "c".into()]);
            let record = |class: &u32| Record { line: 2, texts: texts.clone(), answer: Answer::Class(*class) };
            let task = Task { kind: TaskKind::Choose, answers: Answers::Candidate };
            warnings(Path::new("x.jsonl"), &task, &classes.iter().map(record).collect::<Vec<_>>())
        };
        let warning = "x.jsonl: the answer is never candidate 0; indices of candidates are counted from 0";
        assert_eq!(of(&[1, 2, 1, 2, 2, 1, 1, 1, 2, 2]), [warning]);
        assert_eq!((of(&[1, 2, 1]), of(&[1, 2, 1, 2, 2, 1, 1, 1, 2, 0])), (vec![], vec![]));
    }

    #[test]
    fn numbers_to_predict_and_single_examples_are_named() {
        let many: Vec<String> = (0..100).map(|i| format!("{:.2}", f64::from(i) / 20.0)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            of(&many, 1),
            [
                "x.tsv: 100 labels are numbers (\"0.00\", \"0.05\", \"0.10\", \"0.15\", \"0.20\" and 95 more), and each is \
              a class of its own; a number can be predicted by `wgpt finetune similar --score` alone"
            ]
        );
        let ids: Vec<String> = (0..77).map(|i| i.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!((of(&ids, 3).len(), of(&ids, 9).len()), (1, 0), "class ids have several examples each");
        let single = "x.tsv: 2 of 2 labels have one example each: \"no\", \"yes\"";
        assert_eq!(of(&["no", "yes"], 1), [single]);
    }
}
