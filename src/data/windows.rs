//! How a corpus is cut in the sequences of batches.
//!
//! A window of a stream is P+1 ids: P inputs and P targets. Windows step by P, so the last target of one is the first
//! input of the next and no token is predicted twice. A document of T ids has T-1 targets; a longer one than P is cut in
//! consecutive windows, the last of which may be shorter. In evaluation a stream is cut as one document.

use super::batch::Batch;
use super::corpus::Corpus;
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// The sequences of a corpus, by number, as ranges of inputs: the target of input i is token i+1.
#[derive(Clone, Debug)]
pub struct Windows {
    corpus: Corpus,
    positions: usize,
    /// The number of each document's first window, and last how many there are; none for a stream.
    first: Option<Arc<[u32]>>,
}

impl Windows {
    /// Cuts in windows of at most `positions` inputs.
    ///
    /// # Errors
    /// [`Error::Value`] when there is no window, or are more than 32 bits count.
    pub fn new(corpus: Corpus, positions: usize) -> Result<Self> {
        let n = corpus.tokens().len();
        let too_many = || Error::input(format!("{n} tokens: a corpus has less than 2^32 windows"));
        if corpus.is_stream() {
            if positions == 0 || n <= positions {
                return Err(Error::input(format!(
                    "{n} tokens hold no window of n_positions = {positions}: there must be {} or more",
                    positions + 1
                )));
            }
            u32::try_from(n / positions).map_err(|_| too_many())?;
            return Ok(Windows { corpus, positions, first: None });
        }
        let mut first = Vec::with_capacity(corpus.document_count() + 1);
        let mut windows = 0u32;
        first.push(windows);
        for document in (0..corpus.document_count()).map(|i| corpus.document(i)) {
            let more = document.len().saturating_sub(1).div_ceil(positions.max(1));
            windows = u32::try_from(more).ok().and_then(|n| windows.checked_add(n)).ok_or_else(too_many)?;
            first.push(windows);
        }
        if windows == 0 || positions == 0 {
            return Err(Error::input(format!(
                "{} documents of {n} tokens: one at least must have 2 tokens or more",
                corpus.document_count()
            )));
        }
        Ok(Windows { corpus, positions, first: Some(first.into()) })
    }

    /// What is cut.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// P, inputs of a window at most.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// How many first tokens of a stream may be left out so that one window remains: offsets are below it.
    /// Documents begin where they begin, so 1.
    pub(super) fn offsets(&self) -> u32 {
        match self.first {
            Some(_) => 1,
            None => self.positions.min(self.corpus.tokens().len() - self.positions) as u32,
        }
    }

    /// How many there are behind an offset.
    pub(super) fn count(&self, offset: usize) -> usize {
        match &self.first {
            Some(first) => first.last().map_or(0, |all| *all as usize),
            None => (self.corpus.tokens().len() - 1 - offset) / self.positions,
        }
    }

    /// The inputs of a window.
    pub(super) fn inputs(&self, offset: usize, number: u32) -> Range<usize> {
        let Some(first) = &self.first else {
            let start = offset + number as usize * self.positions;
            return start..start + self.positions;
        };
        let i = first.partition_point(|window| *window <= number) - 1;
        let document = self.corpus.document(i);
        let start = document.start + (number - first[i]) as usize * self.positions;
        start..(start + self.positions).min(document.end - 1)
    }

    /// Adds a window to a batch.
    pub(super) fn push(&self, batch: &mut Batch, inputs: Range<usize>) {
        push(batch, self.corpus.tokens(), inputs);
    }
}

/// Consecutive windows for evaluation: each document's every token but its first is predicted exactly once. The last window
/// of a document may be shorter.
pub fn evaluation_windows(corpus: &Corpus, positions: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let positions = positions.max(1);
    (0..corpus.document_count()).flat_map(move |i| {
        let document = corpus.document(i);
        let end = document.end.saturating_sub(1);
        (document.start..end).step_by(positions).map(move |start| start..(start + positions).min(end))
    })
}

/// The evaluation windows of `corpus`, in order, in batches of at most `sequences` windows and at most `rows` rows
/// (but one window at least).
pub fn evaluation_batches(
    corpus: &Corpus,
    positions: usize,
    rows: usize,
    sequences: usize,
) -> impl Iterator<Item = Batch> + '_ {
    let mut windows = evaluation_windows(corpus, positions).peekable();
    std::iter::from_fn(move || {
        let mut batch = Batch::default();
        push(&mut batch, corpus.tokens(), windows.next()?);
        while batch.sequences() < sequences {
            let Some(window) = windows.next_if(|window| batch.rows() + window.len() <= rows) else { break };
            push(&mut batch, corpus.tokens(), window);
        }
        Some(batch)
    })
}

fn push(batch: &mut Batch, tokens: &[u32], inputs: Range<usize>) {
    batch.push(&tokens[inputs.clone()], &tokens[inputs.start + 1..inputs.end + 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluation_predicts_each_token_but_the_first_once() {
        for (n, positions) in [(0, 4), (1, 4), (2, 4), (5, 4), (9, 4), (10, 4), (3, 1)] {
            let corpus = Corpus::stream((0..n).collect::<Vec<u32>>());
            let batches: Vec<Batch> = evaluation_batches(&corpus, positions, 2 * positions, 2).collect();
            let targets: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
            assert_eq!(targets, (1..n).collect::<Vec<_>>(), "{n} tokens");
            assert!(batches.iter().all(|b| b.validate(n as usize, positions).is_ok() && b.sequences() <= 2));
        }
        let corpus = Corpus::stream((0..10).collect::<Vec<u32>>());
        assert_eq!(evaluation_windows(&corpus, 4).collect::<Vec<_>>(), [0..4, 4..8, 8..9]);
    }

    #[test]
    fn evaluation_takes_each_document_on_its_own() {
        let corpus = Corpus::documents((0..20).collect::<Vec<u32>>(), vec![1, 7, 7, 9, 20]).expect("documents");
        assert_eq!(evaluation_windows(&corpus, 4).collect::<Vec<_>>(), [1..5, 5..6, 7..8, 9..13, 13..17, 17..19]);
        let batches: Vec<Batch> = evaluation_batches(&corpus, 4, 6, 3).collect();
        assert_eq!(batches.iter().map(Batch::rows).collect::<Vec<_>>(), [6, 4, 6]);
        let targets: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
        assert_eq!(targets, [2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        // More rows than asked for rather than none.
        assert_eq!(evaluation_batches(&corpus, 4, 0, 0).count(), 6);
    }

    #[test]
    fn what_holds_no_window_is_named() {
        let stream = |n: u32, positions| Windows::new(Corpus::stream((0..n).collect::<Vec<_>>()), positions);
        assert!(stream(8, 8).expect_err("8").to_string().contains("there must be 9 or more"));
        assert!(stream(9, 8).is_ok() && stream(5, 0).is_err());
        let documents = Corpus::documents(vec![0, 1, 2], vec![1, 1, 2, 3]).expect("documents");
        assert!(Windows::new(documents, 8).expect_err("single").to_string().contains("4 documents of 3 tokens"));
    }
}
