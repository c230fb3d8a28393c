//! The order of a stream's windows: every epoch an offset and a permutation, every window once.
//!
//! A window is P+1 ids: P inputs and P targets. Windows step by P, so the last target of one is the first input of the
//! next and no token is predicted twice. Offset and permutation are words of the data stream, so a cursor of two
//! numbers is all that a checkpoint must hold.

use super::batch::Batch;
use crate::philox::{Stream, Words};
use crate::{Error, Result};
use std::ops::Range;

/// Where a run stands in its data: `index` windows of `epoch` are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Epochs done.
    pub epoch: u32,
    /// Windows done in this epoch.
    pub index: usize,
}

/// The windows of a stream of tokens, in the order of a seed.
#[derive(Clone, Debug)]
pub struct WindowOrder {
    n_tokens: usize,
    positions: usize,
    seed: u64,
    cursor: Cursor,
    /// First token of each window of the cursor's epoch.
    starts: Vec<usize>,
}

impl WindowOrder {
    /// The order of `n_tokens` tokens in windows of `positions` inputs, from the beginning.
    ///
    /// # Errors
    /// [`Error::Input`] when there are fewer tokens than one window has, or more than 32 bits count.
    pub fn new(n_tokens: usize, positions: usize, seed: u64) -> Result<Self> {
        if positions == 0 || n_tokens <= positions {
            return Err(Error::Input(format!(
                "{n_tokens} tokens hold no window of n_positions = {positions}: there must be {} or more",
                positions + 1
            )));
        }
        if u32::try_from(n_tokens).is_err() {
            return Err(Error::Input(format!("{n_tokens} tokens: a stream has at most {}", u32::MAX)));
        }
        let mut order = WindowOrder { n_tokens, positions, seed, cursor: Cursor::default(), starts: Vec::new() };
        order.starts = order.epoch(0);
        Ok(order)
    }

    /// Where the order stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to where a checkpoint stood.
    ///
    /// # Errors
    /// [`Error::Input`] when the epoch has fewer windows than the cursor says are done.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        let starts = self.epoch(cursor.epoch);
        if cursor.index > starts.len() {
            return Err(Error::Input(format!(
                "data cursor: window {} of epoch {}, which has {}: the data or n_positions must be those of the run",
                cursor.index,
                cursor.epoch,
                starts.len()
            )));
        }
        self.starts = starts;
        self.cursor = cursor;
        Ok(())
    }

    /// Windows in an epoch: the offset makes one more or less.
    pub fn windows(&self, epoch: u32) -> usize {
        self.windows_from(self.draw(epoch).1)
    }

    /// Windows in the first `epochs` epochs.
    pub fn windows_in(&self, epochs: u32) -> u64 {
        (0..epochs).map(|epoch| self.windows(epoch) as u64).sum()
    }

    /// The next `batch` windows, going on into the next epoch where one ends.
    ///
    /// # Errors
    /// [`Error::Input`] when `tokens` is not the stream that this order was made for.
    pub fn next_batch(&mut self, tokens: &[u32], batch: usize) -> Result<Batch> {
        if tokens.len() != self.n_tokens {
            return Err(Error::Input(format!("a stream of {} tokens: must have {}", tokens.len(), self.n_tokens)));
        }
        let mut out = Batch::default();
        for _ in 0..batch {
            while self.cursor.index == self.starts.len() {
                self.cursor = Cursor { epoch: self.cursor.epoch.wrapping_add(1), index: 0 };
                self.starts = self.epoch(self.cursor.epoch);
            }
            let start = self.starts[self.cursor.index];
            self.cursor.index += 1;
            push_window(&mut out, tokens, start..start + self.positions);
        }
        Ok(out)
    }

    /// An epoch's words, behind its offset: at most P-1, and one window always fits.
    fn draw(&self, epoch: u32) -> (Words, usize) {
        let mut words = Words::new(self.seed, Stream::Order, epoch, 0);
        let offset = words.below(self.positions.min(self.n_tokens - self.positions) as u32) as usize;
        (words, offset)
    }

    fn windows_from(&self, offset: usize) -> usize {
        (self.n_tokens - 1 - offset) / self.positions
    }

    fn epoch(&self, epoch: u32) -> Vec<usize> {
        let (mut words, offset) = self.draw(epoch);
        let mut starts: Vec<usize> =
            (0..self.windows_from(offset)).map(|window| offset + window * self.positions).collect();
        words.shuffle(&mut starts);
        starts
    }
}

/// Consecutive windows for evaluation, as ranges of inputs: the target of input i is token i+1, so each token but the
/// first is predicted exactly once. The last window may be shorter.
pub fn evaluation_windows(n_tokens: usize, positions: usize) -> impl Iterator<Item = Range<usize>> {
    let end = n_tokens.saturating_sub(1);
    (0..end).step_by(positions.max(1)).map(move |start| start..(start + positions.max(1)).min(end))
}

/// The evaluation windows of `tokens` in batches of `batch` windows.
pub fn evaluation_batches(tokens: &[u32], positions: usize, batch: usize) -> impl Iterator<Item = Batch> + '_ {
    let mut windows = evaluation_windows(tokens.len(), positions).peekable();
    std::iter::from_fn(move || {
        windows.peek()?;
        let mut out = Batch::default();
        windows.by_ref().take(batch.max(1)).for_each(|window| push_window(&mut out, tokens, window));
        Some(out)
    })
}

fn push_window(batch: &mut Batch, tokens: &[u32], inputs: Range<usize>) {
    batch.push(&tokens[inputs.clone()], &tokens[inputs.start + 1..inputs.end + 1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_window_once() {
        let tokens: Vec<u32> = (0..1000).collect();
        let mut order = WindowOrder::new(1000, 16, 7).expect("order");
        let mut offsets = std::collections::BTreeSet::new();
        for epoch in 0..20 {
            let count = order.windows(epoch);
            let batch = order.next_batch(&tokens, count).expect("batch");
            assert_eq!(order.cursor(), Cursor { epoch, index: count });
            batch.validate(1000, 16).expect("valid");
            assert!(batch.ids.iter().zip(&batch.targets).all(|(id, target)| id + 1 == *target));
            let mut seen = batch.ids.clone();
            seen.sort_unstable();
            assert_ne!(seen, batch.ids, "epoch {epoch} is not shuffled");
            let offset = seen[0];
            assert!(offset < 16 && 1000 - 1 - (offset as usize + seen.len()) < 16, "as many windows as fit");
            assert_eq!(seen, (offset..offset + 16 * count as u32).collect::<Vec<_>>());
            offsets.insert(offset);
        }
        assert!(offsets.len() > 5, "offsets are drawn: {offsets:?}");
        assert_eq!(order.windows_in(3), (0..3).map(|e| order.windows(e) as u64).sum::<u64>());
    }

    #[test]
    fn batches_go_on_across_epochs_and_from_a_cursor() {
        let tokens: Vec<u32> = (0..50).collect();
        let mut order = WindowOrder::new(50, 8, 1).expect("order");
        let mut batches = Vec::new();
        for _ in 0..12 {
            let cursor = order.cursor();
            batches.push((cursor, order.next_batch(&tokens, 4).expect("batch")));
            assert_eq!(batches.last().expect("one").1.sequence_numbers, [0, 1, 2, 3]);
        }
        assert!(order.cursor().epoch >= 6);
        for (cursor, batch) in batches {
            let json = serde_json::to_string(&cursor).expect("json");
            let mut again = WindowOrder::new(50, 8, 1).expect("order");
            again.seek(serde_json::from_str(&json).expect("cursor")).expect("seek");
            assert_eq!(again.next_batch(&tokens, 4).expect("batch"), batch);
        }
        assert!(order.seek(Cursor { epoch: 0, index: 8 }).is_err());
        assert!(order.next_batch(&tokens[1..], 1).is_err());
    }

    #[test]
    fn the_smallest_stream_has_one_window() {
        assert!(WindowOrder::new(8, 8, 0).is_err());
        let mut order = WindowOrder::new(9, 8, 0).expect("order");
        for epoch in 0..10 {
            assert_eq!(order.windows(epoch), 1);
        }
        let batch = order.next_batch(&(0..9).collect::<Vec<_>>(), 3).expect("batch");
        assert_eq!(batch.ids, [(0..8).collect::<Vec<_>>(), (0..8).collect(), (0..8).collect()].concat());
    }

    #[test]
    fn evaluation_predicts_each_token_but_the_first_once() {
        for (n, positions) in [(0, 4), (1, 4), (2, 4), (5, 4), (9, 4), (10, 4), (3, 1)] {
            let tokens: Vec<u32> = (0..n).collect();
            let batches: Vec<Batch> = evaluation_batches(&tokens, positions, 2).collect();
            let targets: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
            assert_eq!(targets, (1..n).collect::<Vec<_>>(), "{n} tokens");
            assert!(batches.iter().all(|b| b.validate(n as usize, positions).is_ok() && b.sequences() <= 2));
        }
        assert_eq!(evaluation_windows(10, 4).collect::<Vec<_>>(), [0..4, 4..8, 8..9]);
    }
}
