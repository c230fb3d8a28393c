//! The next batches, prepared by a thread while a step runs, so that the device never waits for the host.

use crate::data::data_loader::Cursor;
use crate::ops::layout::BatchLayout;
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, sync_channel};

/// Batches that lie ready at most, besides the one in the thread's hands.
const AHEAD: usize = 2;

/// A step's batch: assembled whole, then cut and laid out.
pub(crate) struct Ready {
    /// Its micro-batches.
    pub(super) parts: Vec<BatchLayout>,
    /// LossCounts targets of all of them.
    pub(super) targets: u32,
    /// Where the data stands behind it: what a checkpoint holds once the step is done.
    pub(super) cursor: Cursor,
}

/// A thread that makes batches ahead; it ends with this, or with its first error.
pub(crate) struct Prefetch {
    batches: Receiver<Result<Ready>>,
}

impl Prefetch {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`] where the system gives no thread.
    pub(in crate::train) fn new(mut make: impl FnMut() -> Result<Ready> + Send + 'static) -> Result<Self> {
        let (give, batches) = sync_channel(AHEAD);
        let work = move || {
            loop {
                let batch = make();
                let failed = batch.is_err();
                // Whoever does not listen any more needs no more batches.
                if give.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("batches".into()).spawn(work);
        thread.map_err(|e| Error::io("thread of batches", e))?;
        Ok(Prefetch { batches })
    }

    /// The next batch.
    ///
    /// # Errors
    /// What the thread met.
    pub(in crate::train) fn next(&self) -> Result<Ready> {
        let ended = |_| Error::device("the thread that prepares batches ended before its time");
        self.batches.recv().map_err(ended)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn batches_come_in_order_and_errors_reach_the_loop() {
        let mut made = 0;
        let batches = Prefetch::new(move || {
            made += 1;
            match made {
                4 => Err(Error::input("the text ends")),
                n => Ok(Ready { parts: vec![], targets: n, cursor: Cursor::default() }),
            }
        });
        let batches = batches.expect("thread");
        assert_eq!([(); 3].map(|()| batches.next().expect("batch").targets), [1, 2, 3]);
        assert_eq!(batches.next().err().expect("error").to_string(), "the text ends");
        assert!(batches.next().err().expect("ended").to_string().contains("before its time"));
    }

    #[test]
    fn the_thread_stays_a_few_batches_ahead_and_ends_with_its_owner() {
        let made = Arc::new(AtomicUsize::new(0));
        let alive = Arc::downgrade(&made);
        let batches = Prefetch::new(move || {
            made.fetch_add(1, Ordering::SeqCst);
            Ok(Ready { parts: vec![], targets: 0, cursor: Cursor::default() })
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
