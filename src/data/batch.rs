//! A packed batch: sequences one after another without padding, and what each row is to predict.

use crate::{Error, Result};
use std::ops::Range;

/// The target of a row that predicts nothing (Hugging Face's -100).
pub const IGNORED: u32 = u32::MAX;

/// One sequence: its ids and, for each, the id that should come next or [`IGNORED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// T ids.
    pub ids: Vec<u32>,
    /// T targets.
    pub targets: Vec<u32>,
}

/// The right answer of a task's example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A class, or the candidate that is right, counted from 0.
    Class(u32),
    /// A number.
    Score(f32),
    /// Not known: no loss, no gradient.
    Unknown,
}

/// An example of a task in a batch: a head reads the last row of each of its sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Which sequences.
    pub sequences: Range<usize>,
    /// What is right.
    pub answer: Answer,
}

/// What a step has to learn from, over all its micro-batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Targets of the language model.
    pub targets: u32,
    /// Examples of a task whose answer is known.
    pub examples: u32,
}

impl From<u32> for LossCounts {
    fn from(targets: u32) -> Self {
        LossCounts { targets, examples: 0 }
    }
}

/// B sequences in N rows. Sequences of length 0 and 1 are ordinary.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// \[N\] ids.
    pub ids: Vec<u32>,
    /// \[N\] positions, counted from 0 inside each sequence.
    pub positions: Vec<u32>,
    /// \[N\] targets, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// \[B+1\] the row where each sequence begins, and last N.
    pub cu_seqlens: Vec<u32>,
    /// \[B\] each sequence's number in the whole step, over all micro-batches: dropout masks depend on it.
    pub sequence_numbers: Vec<u32>,
    /// Targets that are not [`IGNORED`].
    pub target_count: u32,
    /// A task's examples, which have all sequences between them, in order; none in pretraining.
    pub examples: Vec<Example>,
}

impl Example {
    /// The same in a batch of these sequences alone, if they are all there.
    fn within(&self, part: &Range<usize>) -> Option<Example> {
        let Range { start, end } = self.sequences;
        let inside = part.start <= start && end <= part.end;
        inside.then(|| Example { sequences: start - part.start..end - part.start, answer: self.answer })
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            ids: Vec::new(),
            positions: Vec::new(),
            targets: Vec::new(),
            cu_seqlens: vec![0],
            sequence_numbers: Vec::new(),
            target_count: 0,
            examples: Vec::new(),
        }
    }
}

impl Batch {
    /// Packs sequences, numbered from 0.
    ///
    /// # Errors
    /// [`Error::Value`] for a sequence with more or fewer targets than ids, and for more rows than 32 bits count.
    pub fn from_sequences(sequences: &[Sequence]) -> Result<Self> {
        let mut batch = Batch::default();
        for (i, Sequence { ids, targets }) in sequences.iter().enumerate() {
            if ids.len() != targets.len() {
                return Err(Error::input(format!(
                    "sequence {i} has {} ids and {} targets: must be as many",
                    ids.len(),
                    targets.len()
                )));
            }
            if batch.ids.len() + ids.len() >= u32::MAX as usize {
                return Err(Error::input(format!("sequence {i} brings the batch past 2^32 rows: give fewer")));
            }
            batch.push(ids, targets);
        }
        Ok(batch)
    }

    /// Adds a sequence with the next number; `ids` and `targets` are equally long.
    pub(crate) fn push(&mut self, ids: &[u32], targets: &[u32]) {
        let number = self.sequence_numbers.last().map_or(0, |last| last + 1);
        self.sequence_numbers.push(number);
        self.ids.extend(ids);
        self.targets.extend(targets);
        self.positions.extend(0..ids.len() as u32);
        self.cu_seqlens.push(self.ids.len() as u32);
        self.target_count += targets.iter().filter(|target| **target != IGNORED).count() as u32;
    }

    /// What there is to learn from.
    pub fn real(&self) -> LossCounts {
        let known = self.examples.iter().filter(|example| example.answer != Answer::Unknown);
        LossCounts { targets: self.target_count, examples: known.count() as u32 }
    }

    /// N, rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// B, sequences.
    pub fn sequences(&self) -> usize {
        self.sequence_numbers.len()
    }

    /// The rows of one sequence.
    pub fn rows_of(&self, sequence: usize) -> Range<usize> {
        self.cu_seqlens[sequence] as usize..self.cu_seqlens[sequence + 1] as usize
    }

    /// A micro-batch: some of the sequences, which keep their numbers in the step, and the examples that lie in them whole.
    pub fn part(&self, sequences: Range<usize>) -> Batch {
        let first = self.cu_seqlens[sequences.start];
        let rows = first as usize..self.cu_seqlens[sequences.end] as usize;
        let targets = self.targets[rows.clone()].to_vec();
        Batch {
            ids: self.ids[rows.clone()].to_vec(),
            positions: self.positions[rows].to_vec(),
            target_count: targets.iter().filter(|target| **target != IGNORED).count() as u32,
            targets,
            cu_seqlens: self.cu_seqlens[sequences.start..=sequences.end].iter().map(|row| row - first).collect(),
            examples: self.examples.iter().filter_map(|example| example.within(&sequences)).collect(),
            sequence_numbers: self.sequence_numbers[sequences].to_vec(),
        }
    }

    /// Checks a batch against a model: every length fits, every id and target is in the vocabulary, no sequence is
    /// longer than the positions, and every row has the position that its sequence gives it.
    ///
    /// # Errors
    /// [`Error::Value`] naming the sequence or row, what it has and what would be right.
    pub fn validate(&self, vocab: usize, positions: usize) -> Result<()> {
        let bad = |message: String| Err(Error::input(format!("batch: {message}")));
        let rows = self.ids.len();
        if self.targets.len() != rows || self.positions.len() != rows {
            return bad(format!(
                "{rows} ids, {} targets and {} positions: must be as many",
                self.targets.len(),
                self.positions.len()
            ));
        }
        if self.cu_seqlens.len() != self.sequence_numbers.len() + 1 {
            return bad(format!(
                "{} sequence numbers and {} borders: must be one border more",
                self.sequence_numbers.len(),
                self.cu_seqlens.len()
            ));
        }
        if self.cu_seqlens.first() != Some(&0) || self.cu_seqlens.last().is_none_or(|last| *last as usize != rows) {
            return bad(format!("borders must run from 0 to {rows}, the number of rows"));
        }
        let borders = || self.cu_seqlens.windows(2).enumerate();
        if let Some((b, border)) = borders().find(|(_, border)| border[1] < border[0]) {
            return bad(format!("sequence {b} ends at row {} before it begins at row {}", border[1], border[0]));
        }
        for (b, border) in borders() {
            let length = (border[1] - border[0]) as usize;
            if length > positions {
                return bad(format!("sequence {b} has {length} tokens: n_positions allows {positions}"));
            }
            for row in border[0]..border[1] {
                if self.positions[row as usize] != row - border[0] {
                    return bad(format!(
                        "row {row} has position {}: must be {}",
                        self.positions[row as usize],
                        row - border[0]
                    ));
                }
            }
        }
        if let Some(row) = self.ids.iter().position(|id| *id as usize >= vocab) {
            return bad(format!("row {row} has id {}: the vocabulary has {vocab} ids", self.ids[row]));
        }
        if let Some(row) = self.targets.iter().position(|t| *t != IGNORED && *t as usize >= vocab) {
            return bad(format!("row {row} has target {}: the vocabulary has {vocab} ids", self.targets[row]));
        }
        let real = self.targets.iter().filter(|target| **target != IGNORED).count();
        if real != self.target_count as usize {
            return bad(format!("target_count is {}: must be {real}", self.target_count));
        }
        self.validate_examples().or_else(bad)
    }

    fn validate_examples(&self) -> std::result::Result<(), String> {
        let mut next = 0;
        for (i, Example { sequences, answer }) in self.examples.iter().enumerate() {
            if sequences.start != next || sequences.is_empty() || sequences.end > self.sequences() {
                let all = self.sequences();
                return Err(format!("example {i} has sequences {sequences:?}: must begin at {next}, of {all}"));
            }
            if let Some(s) = sequences.clone().find(|s| self.rows_of(*s).is_empty()) {
                return Err(format!("sequence {s} of example {i} is empty: a head needs a token to read"));
            }
            if matches!(answer, Answer::Score(score) if !score.is_finite()) {
                return Err(format!("example {i} has an answer that is not finite"));
            }
            next = sequences.end;
        }
        match self.examples.is_empty() || next == self.sequences() {
            true => Ok(()),
            false => Err(format!("sequence {next} belongs to no example")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], targets: &[u32]) -> Sequence {
        Sequence { ids: ids.to_vec(), targets: targets.to_vec() }
    }

    fn four() -> Batch {
        Batch::from_sequences(&[
            sequence(&[5, 6, 7], &[6, 7, IGNORED]),
            sequence(&[], &[]),
            sequence(&[9], &[IGNORED]),
            sequence(&[1, 2], &[2, 3]),
        ])
        .expect("batch")
    }

    #[test]
    fn sequences_are_packed_in_order() {
        let batch = four();
        assert_eq!(batch.ids, [5, 6, 7, 9, 1, 2]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 0, 1]);
        assert_eq!(batch.cu_seqlens, [0, 3, 3, 4, 6]);
        assert_eq!(batch.sequence_numbers, [0, 1, 2, 3]);
        assert_eq!((batch.target_count, batch.rows(), batch.sequences()), (4, 6, 4));
        assert_eq!(batch.rows_of(2), 3..4);
        batch.validate(10, 3).expect("valid");
        let none = Batch::from_sequences(&[]).expect("batch");
        assert_eq!(none, Batch::default());
        none.validate(1, 1).expect("an empty batch is ordinary");
    }

    #[test]
    fn a_part_keeps_its_numbers() {
        let part = four().part(2..4);
        assert_eq!((part.ids.as_slice(), part.cu_seqlens.as_slice()), ([9, 1, 2].as_slice(), [0, 1, 3].as_slice()));
        assert_eq!(part.sequence_numbers, [2, 3]);
        assert_eq!(part.target_count, 2);
        part.validate(10, 3).expect("valid");
    }

    #[test]
    fn examples_stay_whole() {
        let example = |sequences, answer| Example { sequences, answer };
        let mut batch = four();
        batch.examples =
            vec![example(0..1, Answer::Class(1)), example(1..3, Answer::Unknown), example(3..4, Answer::Score(0.5))];
        let says = |batch: &Batch, what: &str| {
            let error = batch.validate(10, 3).expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        };
        says(&batch, "sequence 1 of example 1 is empty");
        assert_eq!(batch.real(), LossCounts { targets: 4, examples: 2 });
        assert_eq!(batch.part(2..4).examples, [example(1..2, Answer::Score(0.5))]);
        let mut batch =
            Batch::from_sequences(&[sequence(&[1], &[IGNORED]), sequence(&[2, 3], &[3, IGNORED])]).expect("two");
        batch.examples = vec![example(0..1, Answer::Class(0))];
        says(&batch, "sequence 1 belongs to no example");
        batch.examples = vec![example(0..2, Answer::Score(f32::NAN))];
        says(&batch, "not finite");
        batch.examples = vec![example(1..2, Answer::Class(0))];
        says(&batch, "must begin at 0");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(Batch::from_sequences(&[sequence(&[1], &[])]).expect_err("targets").to_string().contains("sequence 0"));
        let says = |change: fn(&mut Batch), what: &str| {
            let mut batch = four();
            change(&mut batch);
            let error = batch.validate(10, 3).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        };
        says(|b| b.ids[3] = 10, "row 3 has id 10");
        says(|b| b.targets[0] = 11, "row 0 has target 11");
        says(|b| b.positions[5] = 0, "row 5 has position 0");
        says(|b| b.cu_seqlens[4] = 5, "from 0 to 6");
        says(|b| b.cu_seqlens[2] = 2, "before it begins");
        says(|b| b.cu_seqlens[2] = 9, "before it begins");
        says(|b| b.target_count = 3, "must be 4");
        says(|b| b.targets.truncate(5), "5 targets");
        says(|b| b.sequence_numbers.truncate(3), "one border more");
        assert!(four().validate(10, 2).expect_err("long").to_string().contains("sequence 0 has 3 tokens"));
    }
}
