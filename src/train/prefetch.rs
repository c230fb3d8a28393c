//! Prepares the next batches on a thread while the device works, so that the device does not wait for the host.

use super::objective::{Batches, StepBatch};
use crate::data::batch::{Batch, LossCounts};
use crate::data::data_loader::Cursor;
use crate::ops::layout::{BatchLayout, LayoutCapacity};
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, sync_channel};

/// Most finished batches that wait, besides the one that the thread is working on.
const AHEAD: usize = 2;

/// The batch of one step, dealt to the ranks.
pub struct ReadyBatch {
    /// The part of rank 0, laid out.
    pub own: Vec<BatchLayout>,
    /// The micro-batches of each of the others; there may be none.
    pub others: Vec<Vec<Batch>>,
    /// Targets of each rank.
    pub rank_tokens: Vec<u64>,
    /// Targets and examples of all of them.
    pub counts: LossCounts,
    /// The epoch of its data, counted from 0.
    pub epoch: u32,
    /// The cursor behind its data, which a checkpoint after this step stores.
    pub next: Cursor,
}

/// Deals batches to ranks of this capacity, in order and in equal numbers of micro-batches, and lays out those of rank 0.
pub(super) fn dealt(
    mut batches: Batches,
    ranks: usize,
    capacity: LayoutCapacity,
) -> impl FnMut() -> Result<ReadyBatch> + Send + 'static {
    move || {
        let StepBatch { micro_batches, epoch, next } = batches()?;
        let (mut counts, mut rank_tokens) = (LossCounts::default(), vec![0; ranks]);
        let mut shares: Vec<Vec<Batch>> = vec![Vec::new(); ranks];
        let parts = micro_batches.len();
        for (i, batch) in micro_batches.into_iter().enumerate() {
            let LossCounts { targets, examples } = batch.loss_counts();
            (counts.targets, counts.examples) = (counts.targets + targets, counts.examples + examples);
            let rank = i * ranks / parts;
            rank_tokens[rank] += u64::from(targets);
            shares[rank].push(batch);
        }
        let others = shares.split_off(shares.len().min(1));
        let own = shares.iter().flatten();
        let own = own.map(|batch| capacity.lay_out(batch)).collect::<Result<_>>()?;
        Ok(ReadyBatch { own, others, rank_tokens, counts, epoch, next })
    }
}

/// A thread that makes batches ahead. It ends when this value is dropped, or after its first error.
pub(super) struct Prefetch {
    batches: Receiver<Result<ReadyBatch>>,
}

impl Prefetch {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`] when the system cannot start a thread.
    pub(super) fn new(mut make: impl FnMut() -> Result<ReadyBatch> + Send + 'static) -> Result<Self> {
        let (sender, batches) = sync_channel(AHEAD);
        let work = move || {
            loop {
                let batch = make();
                let failed = batch.is_err();
                // Sending fails when the receiver was dropped: no more batches are needed.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(work);
        thread.map_err(|e| Error::io("thread that prepares batches", e))?;
        Ok(Prefetch { batches })
    }

    /// The next batch.
    ///
    /// # Errors
    /// The error of the thread.
    pub(super) fn next(&self) -> Result<ReadyBatch> {
        let ended = |_| Error::Ended("the thread that prepares batches".into());
        self.batches.recv().map_err(ended)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn batch(targets: u32) -> ReadyBatch {
        let (own, others, rank_tokens) = Default::default();
        ReadyBatch { own, others, rank_tokens, counts: targets.into(), epoch: 0, next: Cursor::default() }
    }

    #[test]
    fn batches_come_in_order_and_errors_reach_the_loop() {
        let mut made = 0;
        let batches = Prefetch::new(move || {
            made += 1;
            match made {
                4 => Err(Error::Ended("the text".into())),
                n => Ok(batch(n)),
            }
        });
        let batches = batches.expect("thread");
        assert_eq!([(); 3].map(|()| batches.next().expect("batch").counts.targets), [1, 2, 3]);
        assert_eq!(batches.next().err().expect("error").to_string(), "the text ended early");
        assert!(batches.next().err().expect("ended").to_string().contains("ended early"));
    }

    #[test]
    fn the_thread_stays_a_few_batches_ahead_and_ends_with_its_owner() {
        let made = Arc::new(AtomicUsize::new(0));
        let alive = Arc::downgrade(&made);
        let batches = Prefetch::new(move || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(batch(0))
        });
        let batches = batches.expect("thread");
        for taken in 1..50 {
            batches.next().expect("batch");
            let made = alive.upgrade().expect("alive").load(Ordering::SeqCst);
            assert!(made <= taken + AHEAD + 1, "{made} made, {taken} taken");
        }
        drop(batches);
        while alive.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
