//! A packed batch: sequences one after another, with the target of each row.

use crate::{Error, Result};
use std::ops::Range;

/// The target of a row that has none (-100 in PyTorch and Hugging Face).
pub const IGNORED: u32 = u32::MAX;

/// A sequence: its ids, and for each the next id or [`IGNORED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// T ids.
    pub ids: Vec<u32>,
    /// T targets.
    pub targets: Vec<u32>,
}

/// The true answer of an example of a task.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Answer {
    /// The index of a class, or of the right candidate, from 0.
    Class(u32),
    /// A number.
    Score(f32),
    /// Not known: the example has no loss and no gradient.
    Unknown,
}

/// An example of a task in a batch. The task head reads the last row of each of its sequences.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Example {
    /// Its sequences.
    pub sequences: Range<usize>,
    /// Its answer.
    pub answer: Answer,
}

/// Numbers that the losses of a step are divided by, over all micro-batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LossCounts {
    /// Targets of the language-model loss.
    pub targets: u32,
    /// Examples of a task with a known answer.
    pub examples: u32,
}

impl From<u32> for LossCounts {
    fn from(targets: u32) -> Self {
        LossCounts { targets, examples: 0 }
    }
}

/// B sequences in N rows. Sequences may have any length, also 0 and 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// \[N\] ids.
    pub ids: Vec<u32>,
    /// \[N\] positions, counted from 0 inside each sequence.
    pub positions: Vec<u32>,
    /// \[N\] targets, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// \[B+1\] the first row of each sequence, and last N.
    pub cu_seqlens: Vec<u32>,
    /// \[B\] the number of each sequence in the step, over all micro-batches. Dropout masks depend on it.
    pub sequence_numbers: Vec<u32>,
    /// Targets that are not [`IGNORED`].
    pub target_count: u32,
    /// The examples of a task, which divide the sequences among them, in order. None in pretraining.
    pub examples: Vec<Example>,
}

impl Example {
    /// The example in a batch of the sequences `part` alone, if all of its sequences are in it.
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
    /// [`Error::Value`] for a sequence with more or fewer targets than ids, and for more rows than 32 bits can count.
    pub fn from_sequences(sequences: &[Sequence]) -> Result<Self> {
        let mut batch = Batch::default();
        for (i, Sequence { ids, targets }) in sequences.iter().enumerate() {
            if ids.len() != targets.len() {
                let found = format!("{} ids and {} targets", ids.len(), targets.len());
                return Err(Error::value(format!("sequence {i}"), found, "expected the same number"));
            }
            if batch.ids.len() + ids.len() >= u32::MAX as usize {
                let found = format!("{i} sequences of more than 2^32 rows");
                return Err(Error::value("batch", found, "expected fewer"));
            }
            batch.push(ids, targets);
        }
        Ok(batch)
    }

    /// Adds a sequence with the next number. `ids` and `targets` have the same length.
    pub(crate) fn push(&mut self, ids: &[u32], targets: &[u32]) {
        let number = self.sequence_numbers.last().map_or(0, |last| last + 1);
        self.sequence_numbers.push(number);
        self.ids.extend(ids);
        self.targets.extend(targets);
        self.positions.extend(0..ids.len() as u32);
        self.cu_seqlens.push(self.ids.len() as u32);
        self.target_count += targets.iter().filter(|target| **target != IGNORED).count() as u32;
    }

    /// The targets and examples that have a loss.
    pub fn loss_counts(&self) -> LossCounts {
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

    /// A micro-batch: some of the sequences, which keep their numbers, and the examples all of whose sequences are in it.
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

    /// Checks a batch for a model: all lengths agree, every id and target is in the vocabulary, no sequence has more than
    /// `n_positions` rows, and every row has its position in the sequence.
    ///
    /// # Errors
    /// [`Error::Value`] with the sequence or row, what it has and what it should have.
    pub fn validate(&self, vocab_size: usize, n_positions: usize) -> Result<()> {
        self.validate_lengths()?;
        let wrong = |name: String, found: String, expected: String| Err(Error::value(name, found, expected));
        for b in 0..self.sequences() {
            let rows = self.rows_of(b);
            if rows.len() > n_positions {
                let expected = format!("expected at most n_positions = {n_positions}");
                return wrong(format!("length of sequence {b}"), rows.len().to_string(), expected);
            }
            for (position, row) in rows.enumerate() {
                if self.positions[row] as usize != position {
                    let found = self.positions[row].to_string();
                    return wrong(format!("position of row {row}"), found, format!("expected {position}"));
                }
            }
        }
        let in_vocabulary = |id: &u32| (*id as usize) < vocab_size;
        let expected = || format!("expected less than vocab_size = {vocab_size}");
        if let Some(row) = self.ids.iter().position(|id| !in_vocabulary(id)) {
            return wrong(format!("id of row {row}"), self.ids[row].to_string(), expected());
        }
        if let Some(row) = self.targets.iter().position(|target| *target != IGNORED && !in_vocabulary(target)) {
            return wrong(format!("target of row {row}"), self.targets[row].to_string(), expected());
        }
        let count = self.targets.iter().filter(|target| **target != IGNORED).count();
        if count != self.target_count as usize {
            return wrong("target_count".into(), self.target_count.to_string(), format!("expected {count}"));
        }
        self.validate_examples()
    }

    /// Checks that the lists of a batch have lengths that agree, and that `cu_seqlens` ascends from 0 to N.
    fn validate_lengths(&self) -> Result<()> {
        let (rows, cu_seqlens) = (self.ids.len(), &self.cu_seqlens);
        for (name, length) in [("targets", self.targets.len()), ("positions", self.positions.len())] {
            if length != rows {
                return Err(Error::value(format!("length of {name}"), length, format!("expected {rows}, as ids")));
            }
        }
        let expected = self.sequence_numbers.len() + 1;
        if cu_seqlens.len() != expected {
            let expected = format!("expected {expected}, one more than sequence_numbers");
            return Err(Error::value("length of cu_seqlens", cu_seqlens.len(), expected));
        }
        let (first, last) = (cu_seqlens[0], cu_seqlens[cu_seqlens.len() - 1] as usize);
        if first != 0 || last != rows {
            let expected = format!("expected 0 to {rows}, the number of rows");
            return Err(Error::value("cu_seqlens", format!("{first} to {last}"), expected));
        }
        match cu_seqlens.windows(2).position(|borders| borders[1] < borders[0]) {
            Some(b) => {
                let expected = format!("expected at least {}, its first row", cu_seqlens[b]);
                Err(Error::value(format!("end of sequence {b}"), cu_seqlens[b + 1], expected))
            }
            None => Ok(()),
        }
    }

    fn validate_examples(&self) -> Result<()> {
        let mut next = 0;
        for (i, Example { sequences, answer }) in self.examples.iter().enumerate() {
            if sequences.start != next || sequences.is_empty() || sequences.end > self.sequences() {
                let expected = format!("expected one or more from {next}, of {}", self.sequences());
                return Err(Error::value(format!("sequences of example {i}"), format!("{sequences:?}"), expected));
            }
            if let Some(s) = sequences.clone().find(|s| self.rows_of(*s).is_empty()) {
                let name = format!("length of sequence {s} of example {i}");
                return Err(Error::value(name, 0, "expected a token for the task head to read"));
            }
            if let Answer::Score(score) = answer
                && !score.is_finite()
            {
                return Err(Error::value(format!("answer of example {i}"), score, "expected a finite number"));
            }
            next = sequences.end;
        }
        if !self.examples.is_empty() && next != self.sequences() {
            return Err(Error::value("examples", format!("none with sequence {next}"), "expected one"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: &[u32], targets: &[u32]) -> Sequence {
        Sequence { ids: ids.to_vec(), targets: targets.to_vec() }
    }

    fn four_sequences() -> Batch {
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
        let batch = four_sequences();
        assert_eq!(batch.ids, [5, 6, 7, 9, 1, 2]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 0, 1]);
        assert_eq!(batch.cu_seqlens, [0, 3, 3, 4, 6]);
        assert_eq!(batch.sequence_numbers, [0, 1, 2, 3]);
        assert_eq!((batch.target_count, batch.rows(), batch.sequences()), (4, 6, 4));
        assert_eq!(batch.rows_of(2), 3..4);
        batch.validate(10, 3).expect("valid");
        let none = Batch::from_sequences(&[]).expect("batch");
        assert_eq!(none, Batch::default());
        none.validate(1, 1).expect("an empty batch");
    }

    #[test]
    fn a_part_keeps_the_numbers_of_its_sequences() {
        let part = four_sequences().part(2..4);
        assert_eq!((part.ids.as_slice(), part.cu_seqlens.as_slice()), ([9, 1, 2].as_slice(), [0, 1, 3].as_slice()));
        assert_eq!(part.sequence_numbers, [2, 3]);
        assert_eq!(part.target_count, 2);
        part.validate(10, 3).expect("valid");
    }

    #[test]
    fn a_part_keeps_whole_examples() {
        let example = |sequences, answer| Example { sequences, answer };
        let mut batch = four_sequences();
        batch.examples =
            vec![example(0..1, Answer::Class(1)), example(1..3, Answer::Unknown), example(3..4, Answer::Score(0.5))];
        let refused = |batch: &Batch, what: &str| {
            let error = batch.validate(10, 3).expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(&batch, "length of sequence 1 of example 1 = 0");
        assert_eq!(batch.loss_counts(), LossCounts { targets: 4, examples: 2 });
        assert_eq!(batch.part(2..4).examples, [example(1..2, Answer::Score(0.5))]);
        let mut batch =
            Batch::from_sequences(&[sequence(&[1], &[IGNORED]), sequence(&[2, 3], &[3, IGNORED])]).expect("two");
        batch.examples = vec![example(0..1, Answer::Class(0))];
        refused(&batch, "none with sequence 1");
        batch.examples = vec![example(0..2, Answer::Score(f32::NAN))];
        refused(&batch, "answer of example 0 = NaN");
        batch.examples = vec![example(1..2, Answer::Class(0))];
        refused(&batch, "one or more from 0");
    }

    #[test]
    fn an_error_names_the_row_or_sequence() {
        assert!(Batch::from_sequences(&[sequence(&[1], &[])]).expect_err("targets").to_string().contains("sequence 0"));
        let refused = |change: fn(&mut Batch), what: &str| {
            let mut batch = four_sequences();
            change(&mut batch);
            let error = batch.validate(10, 3).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
        };
        refused(|b| b.ids[3] = 10, "id of row 3 = 10");
        refused(|b| b.targets[0] = 11, "target of row 0 = 11");
        refused(|b| b.positions[5] = 0, "position of row 5 = 0");
        refused(|b| b.cu_seqlens[4] = 5, "expected 0 to 6");
        refused(|b| b.cu_seqlens[2] = 2, "end of sequence 1 = 2");
        refused(|b| b.cu_seqlens[2] = 9, "end of sequence 2 = 4");
        refused(|b| b.target_count = 3, "expected 4");
        refused(|b| b.targets.truncate(5), "length of targets = 5");
        refused(|b| b.sequence_numbers.truncate(3), "one more than sequence_numbers");
        assert!(four_sequences().validate(10, 2).expect_err("long").to_string().contains("length of sequence 0 = 3"));
    }
}
