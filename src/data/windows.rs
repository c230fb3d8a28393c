//! Dividing a corpus into the sequences of batches (docs/spec.md section 6.2).
//!
//! A window of a stream is P+1 ids: P inputs and P targets. Windows advance by P, so the last target of one is the first
//! input of the next, and no token is predicted twice. A document of T ids has T-1 targets. A document with more than P
//! targets is divided into consecutive windows, of which the last may be shorter. In evaluation a stream is divided like
//! one document.

use super::batch::Batch;
use super::corpus::Corpus;
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// The windows of a corpus, by number, as ranges of inputs: the target of input i is token i+1.
#[derive(Clone, Debug)]
pub struct Windows {
    corpus: Corpus,
    n_positions: usize,
    /// The number of each document's first window, and last the number of all windows. `None` for a stream.
    first: Option<Arc<[u32]>>,
}

impl Windows {
    /// Windows of at most `n_positions` inputs.
    ///
    /// # Errors
    /// [`Error::Value`] for a corpus without a window, or with 2^32 windows or more.
    pub fn new(corpus: Corpus, n_positions: usize) -> Result<Self> {
        let n = corpus.tokens().len();
        let tokens = |count: usize| format!("{count} tokens");
        let too_many = || Error::value("data", tokens(n), "expected fewer than 2^32 windows");
        if corpus.is_stream() {
            if n_positions == 0 || n <= n_positions {
                let expected =
                    format!("expected {} or more, for a window of n_positions = {n_positions}", n_positions + 1);
                return Err(Error::value("data", tokens(n), expected));
            }
            u32::try_from(n / n_positions).map_err(|_| too_many())?;
            return Ok(Windows { corpus, n_positions, first: None });
        }
        let mut first = Vec::with_capacity(corpus.document_count() + 1);
        let mut windows = 0u32;
        first.push(windows);
        for document in (0..corpus.document_count()).map(|i| corpus.document(i)) {
            let more = document.len().saturating_sub(1).div_ceil(n_positions.max(1));
            windows = u32::try_from(more).ok().and_then(|n| windows.checked_add(n)).ok_or_else(too_many)?;
            first.push(windows);
        }
        if windows == 0 || n_positions == 0 {
            let found = format!("{} documents of {n} tokens", corpus.document_count());
            return Err(Error::value("data", found, "expected a document of 2 tokens or more"));
        }
        Ok(Windows { corpus, n_positions, first: Some(first.into()) })
    }

    /// The text.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// P, the largest number of inputs in a window.
    pub fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// The number of possible offsets: tokens to leave out at the beginning of a stream so that a window remains. Documents
    /// have the offset 0 alone.
    pub(super) fn offsets(&self) -> u32 {
        match self.first {
            Some(_) => 1,
            None => self.n_positions.min(self.corpus.tokens().len() - self.n_positions) as u32,
        }
    }

    /// The number of windows after an offset.
    pub(super) fn count(&self, offset: usize) -> usize {
        match &self.first {
            Some(first) => first.last().map_or(0, |all| *all as usize),
            None => (self.corpus.tokens().len() - 1 - offset) / self.n_positions,
        }
    }

    /// The inputs of a window.
    pub(super) fn inputs(&self, offset: usize, number: u32) -> Range<usize> {
        let Some(first) = &self.first else {
            let start = offset + number as usize * self.n_positions;
            return start..start + self.n_positions;
        };
        let i = first.partition_point(|window| *window <= number) - 1;
        let document = self.corpus.document(i);
        let start = document.start + (number - first[i]) as usize * self.n_positions;
        start..(start + self.n_positions).min(document.end - 1)
    }

    /// Adds a window to a batch.
    pub(super) fn push(&self, batch: &mut Batch, inputs: Range<usize>) {
        push(batch, self.corpus.tokens(), inputs);
    }
}

/// Consecutive windows for evaluation: every token except the first of each document is predicted exactly once. The last
/// window of a document may be shorter than `n_positions`.
pub fn evaluation_windows(corpus: &Corpus, n_positions: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let n_positions = n_positions.max(1);
    (0..corpus.document_count()).flat_map(move |i| {
        let document = corpus.document(i);
        let end = document.end.saturating_sub(1);
        (document.start..end).step_by(n_positions).map(move |start| start..(start + n_positions).min(end))
    })
}

/// The evaluation windows of `corpus`, in order, in batches of at most `sequences` windows and at most `rows` rows
/// (but one window at least).
pub fn evaluation_batches(
    corpus: &Corpus,
    n_positions: usize,
    rows: usize,
    sequences: usize,
) -> impl Iterator<Item = Batch> + '_ {
    let mut windows = evaluation_windows(corpus, n_positions).peekable();
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
    fn evaluation_predicts_each_token_except_the_first_once() {
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
    fn evaluation_windows_do_not_cross_documents() {
        let corpus = Corpus::documents((0..20).collect::<Vec<u32>>(), vec![1, 7, 7, 9, 20]).expect("documents");
        assert_eq!(evaluation_windows(&corpus, 4).collect::<Vec<_>>(), [1..5, 5..6, 7..8, 9..13, 13..17, 17..19]);
        let batches: Vec<Batch> = evaluation_batches(&corpus, 4, 6, 3).collect();
        assert_eq!(batches.iter().map(Batch::rows).collect::<Vec<_>>(), [6, 4, 6]);
        let targets: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
        assert_eq!(targets, [2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        // A batch has one window at least.
        assert_eq!(evaluation_batches(&corpus, 4, 0, 0).count(), 6);
    }

    #[test]
    fn a_corpus_without_a_window_is_refused() {
        let stream = |n: u32, positions| Windows::new(Corpus::stream((0..n).collect::<Vec<_>>()), positions);
        assert!(stream(8, 8).expect_err("8").to_string().contains("expected 9 or more"));
        assert!(stream(9, 8).is_ok() && stream(5, 0).is_err());
        let documents = Corpus::documents(vec![0, 1, 2], vec![1, 1, 2, 3]).expect("documents");
        assert!(Windows::new(documents, 8).expect_err("single").to_string().contains("4 documents of 3 tokens"));
    }
}
