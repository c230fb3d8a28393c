//! The order of a run's batches: every epoch a permutation of the windows (and, of a stream, an offset), every window once.
//!
//! Offset and permutation are words of the data stream, so a cursor of two numbers is all that a checkpoint must hold. A
//! step's batch is made whole, then cut in its micro-batches: together they give the gradient of their union. Where batches
//! are padded, windows of about one length come together.

use super::batch::Batch;
use super::batch_form::BatchForm;
use super::corpus::Corpus;
use super::windows::Windows;
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

/// What fills an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// So many windows.
    Windows(usize),
    /// Windows in the epoch's order until the next would pass so many rows; at least P.
    Rows(usize),
}

/// How updates are made of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// What fills an update.
    pub size: BatchSize,
    /// Micro-batches of an update: of as many windows each, or of about as many rows.
    pub micro_batches: usize,
    /// How windows of different lengths lie in it. [`BatchSize::Rows`] counts the windows' own rows in every form.
    pub form: BatchForm,
}

/// Updates whose windows are sorted by length together where batches are padded.
const BUCKET: usize = 50;

/// The largest micro-batch that comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// N, rows.
    pub rows: usize,
    /// B, windows.
    pub sequences: usize,
}

/// The batches of a corpus, in the order of a seed. It has all that it needs, so that another thread may prepare them.
#[derive(Clone, Debug)]
pub struct Order {
    windows: Windows,
    batching: Batching,
    seed: u64,
    cursor: Cursor,
    /// Tokens before the first window of the cursor's epoch.
    offset: usize,
    /// The windows of the cursor's epoch.
    permutation: Vec<u32>,
}

impl Order {
    /// The order of `corpus` in windows of `positions` inputs, from the beginning.
    ///
    /// # Errors
    /// As [`Windows::new`]; [`Error::Value`] for updates of nothing, or of fewer rows than a window may have.
    pub fn new(corpus: Corpus, positions: usize, batching: Batching, seed: u64) -> Result<Self> {
        let windows = Windows::new(corpus, positions)?;
        match batching.size {
            BatchSize::Windows(0) => return Err(Error::input("batch = 0: an update has 1 sequence or more")),
            BatchSize::Rows(rows) if rows < positions => {
                return Err(Error::input(format!(
                    "batch_tokens = {rows}: must be n_positions = {positions} or more, so that every sequence fits"
                )));
            }
            _ => {}
        }
        let mut order =
            Order { windows, batching, seed, cursor: Cursor::default(), offset: 0, permutation: Vec::new() };
        order.begin(0);
        Ok(order)
    }

    /// What is ordered.
    pub fn corpus(&self) -> &Corpus {
        self.windows.corpus()
    }

    /// Where the order stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to where a checkpoint stood.
    ///
    /// # Errors
    /// [`Error::Value`] when the epoch has fewer windows than the cursor says are done.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        let windows = self.windows_in_epoch(cursor.epoch);
        if cursor.index > windows {
            return Err(Error::input(format!(
                "data cursor: window {} of epoch {}, which has {windows}: the data or n_positions must be those of the run",
                cursor.index, cursor.epoch,
            )));
        }
        if cursor.epoch != self.cursor.epoch {
            self.begin(cursor.epoch);
        }
        self.cursor = cursor;
        Ok(())
    }

    /// Windows of an epoch; a stream's offset makes one more or less.
    pub fn windows_in_epoch(&self, epoch: u32) -> usize {
        self.windows.count(self.draw(epoch).1)
    }

    /// The next update's batch, over all of its micro-batches. It goes on into the next epoch where one ends.
    ///
    /// # Errors
    /// [`Error::Value`] past 2^32 epochs, and as [`BatchForm::borders`].
    pub fn next_batch(&mut self) -> Result<Batch> {
        let mut batch = Batch::default();
        for inputs in self.next_windows()? {
            self.windows.push(&mut batch, inputs);
        }
        self.batching.form.of(batch)
    }

    /// Cuts an update's batch in its micro-batches, which keep the numbers that their sequences have in the update. None
    /// is empty, so there may be fewer than asked for.
    pub fn micro_batches(&self, batch: Batch) -> Vec<Batch> {
        match self.cuts(&batch.cu_seqlens).as_slice() {
            [_] => vec![batch],
            cuts => cuts.iter().map(|sequences| batch.part(sequences.clone())).collect(),
        }
    }

    /// Updates that `epochs` epochs take; the last may go on into the next epoch. Where documents fill rows, the
    /// updates are gone through to count them.
    ///
    /// # Errors
    /// As [`Order::next_batch`].
    pub fn updates_in(&self, epochs: u32) -> Result<u64> {
        let windows = || -> u64 { (0..epochs).map(|epoch| self.windows_in_epoch(epoch) as u64).sum() };
        match self.batching.size {
            BatchSize::Windows(n) => Ok(windows().div_ceil(n as u64)),
            BatchSize::Rows(rows) if self.corpus().is_stream() => {
                Ok(windows().div_ceil((rows / self.windows.positions()) as u64))
            }
            BatchSize::Rows(_) => {
                let (mut walk, mut updates) = (self.restarted(), 0);
                let last = epochs.saturating_sub(1);
                while walk.cursor.epoch < last || (walk.cursor.epoch == last && !walk.epoch_is_done()) {
                    walk.next_windows()?;
                    updates += 1;
                }
                Ok(updates)
            }
        }
    }

    /// The most rows and the most windows of any micro-batch of the first `updates` updates: what a device must have
    /// room for. Documents are gone through for it; the windows of a stream are all alike.
    ///
    /// # Errors
    /// As [`Order::next_batch`].
    pub fn largest_micro_batch(&self, updates: u64) -> Result<Largest> {
        let mut walk = self.restarted();
        let mut largest = Largest::default();
        let updates = if self.corpus().is_stream() { updates.min(1) } else { updates };
        for _ in 0..updates {
            let lengths: Vec<usize> = walk.next_windows()?.into_iter().map(|window| window.len()).collect();
            let cu_seqlens = self.batching.form.borders(&lengths)?;
            for part in self.cuts(&cu_seqlens) {
                let rows = (cu_seqlens[part.end] - cu_seqlens[part.start]) as usize;
                largest.rows = largest.rows.max(rows);
                largest.sequences = largest.sequences.max(part.len());
            }
        }
        Ok(largest)
    }

    fn next_windows(&mut self) -> Result<Vec<Range<usize>>> {
        let mut windows: Vec<Range<usize>> = Vec::new();
        let mut rows = 0;
        while self.batching.size != BatchSize::Windows(windows.len()) {
            while self.epoch_is_done() {
                let next = self.cursor.epoch.checked_add(1);
                self.begin(next.ok_or_else(|| Error::input("the run is past 2^32 epochs: give fewer steps"))?);
            }
            let window = self.windows.inputs(self.offset, self.permutation[self.cursor.index]);
            rows += window.len();
            if matches!(self.batching.size, BatchSize::Rows(most) if rows > most) {
                break;
            }
            self.cursor.index += 1;
            windows.push(window);
        }
        Ok(windows)
    }

    /// The sequences of each micro-batch, from the rows where sequences begin and the number of all rows.
    fn cuts(&self, cu_seqlens: &[u32]) -> Vec<Range<usize>> {
        let (parts, sequences) = (self.batching.micro_batches.max(1), cu_seqlens.len() - 1);
        let rows = u64::from(cu_seqlens[sequences]);
        let border = |part: usize| match self.batching.size {
            BatchSize::Windows(_) => sequences * part / parts,
            BatchSize::Rows(_) => {
                // The border that is nearest to the part's share, of two as near the first.
                let share = rows * part as u64;
                let at = cu_seqlens.partition_point(|row| u64::from(*row) * (parts as u64) < share);
                let distance = |i: usize| (u64::from(cu_seqlens[i]) * parts as u64).abs_diff(share);
                if at > 0 && distance(at - 1) <= distance(at) { at - 1 } else { at }
            }
        };
        (0..parts).map(|part| border(part)..border(part + 1)).filter(|part| !part.is_empty()).collect()
    }

    fn epoch_is_done(&self) -> bool {
        self.cursor.index == self.permutation.len()
    }

    fn restarted(&self) -> Self {
        let mut walk = self.clone();
        if walk.cursor.epoch != 0 {
            walk.begin(0);
        }
        walk.cursor = Cursor::default();
        walk
    }

    /// An epoch's words, behind its offset: at most P-1, and one window always fits.
    fn draw(&self, epoch: u32) -> (Words, usize) {
        let mut words = Words::new(self.seed, Stream::Order, epoch, 0);
        let offset = words.below(self.windows.offsets()) as usize;
        (words, offset)
    }

    fn begin(&mut self, epoch: u32) {
        let (mut words, offset) = self.draw(epoch);
        self.permutation.clear();
        self.permutation.extend(0..self.windows.count(offset) as u32);
        words.shuffle(&mut self.permutation);
        self.offset = offset;
        self.cursor = Cursor { epoch, index: 0 };
        if self.batching.form != BatchForm::Packed && !self.corpus().is_stream() {
            self.sort_buckets();
        }
    }

    /// Sorts the epoch's windows by length, bucket by bucket, up and down in turn: so neighbours are about as long, wherever
    /// an update begins among them.
    fn sort_buckets(&mut self) {
        let windows = match self.batching.size {
            BatchSize::Windows(n) => n,
            BatchSize::Rows(rows) => rows / self.windows.positions(),
        };
        for (i, bucket) in self.permutation.chunks_mut(windows.max(1).saturating_mul(BUCKET)).enumerate() {
            bucket.sort_by_cached_key(|window| self.windows.inputs(self.offset, *window).len());
            if i % 2 == 1 {
                bucket.reverse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(n: usize) -> Batching {
        Batching { size: BatchSize::Windows(n), micro_batches: 1, form: BatchForm::Packed }
    }

    fn rows(n: usize, micro_batches: usize) -> Batching {
        Batching { size: BatchSize::Rows(n), micro_batches, form: BatchForm::Packed }
    }

    fn stream(n: u32) -> Corpus {
        Corpus::stream((0..n).collect::<Vec<u32>>())
    }

    /// Documents of lengths drawn from 0 to 40, every id another.
    fn documents(count: usize) -> Corpus {
        let mut random = Words::new(9, Stream::Sampling, 0, 0);
        let ends: Vec<u64> = (0..count)
            .scan(0, |at, _| {
                *at += u64::from(random.below(41));
                Some(*at)
            })
            .collect();
        let tokens = ends.last().map_or(0, |n| *n as u32);
        Corpus::documents((0..tokens).collect::<Vec<u32>>(), ends).expect("documents")
    }

    #[test]
    fn an_epoch_has_every_window_once() {
        let mut offsets = std::collections::BTreeSet::new();
        let whole = Order::new(stream(1000), 16, sequences(1), 7).expect("order");
        for epoch in 0..20 {
            let count = whole.windows_in_epoch(epoch);
            let mut order = Order::new(stream(1000), 16, sequences(count), 7).expect("order");
            order.seek(Cursor { epoch, index: 0 }).expect("seek");
            let batch = order.next_batch().expect("batch");
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
        let windows: u64 = (0..3).map(|e| whole.windows_in_epoch(e) as u64).sum();
        assert_eq!(whole.updates_in(3).expect("updates"), windows);
    }

    #[test]
    fn the_first_order_is_the_one_it_always_was() {
        let mut order = Order::new(stream(1000), 100, sequences(9), 7).expect("order");
        let firsts = |order: &mut Order| -> Vec<u32> {
            let batch = order.next_batch().expect("batch");
            (0..9).map(|i| batch.ids[batch.rows_of(i).start]).collect()
        };
        assert_eq!(firsts(&mut order), [583, 683, 283, 83, 383, 883, 783, 183, 483]);
    }

    #[test]
    fn batches_go_on_across_epochs_and_from_a_cursor() {
        for (corpus, batching, positions) in [
            (stream(50), sequences(4), 8),
            (stream(50), rows(33, 3), 8),
            (documents(12), sequences(4), 16),
            (documents(12), rows(50, 2), 16),
            (documents(12), Batching { form: BatchForm::Grouped, ..sequences(4) }, 16),
            (documents(12), Batching { form: BatchForm::Padded, ..rows(50, 2) }, 16),
        ] {
            let mut order = Order::new(corpus.clone(), positions, batching, 1).expect("order");
            let mut batches = Vec::new();
            while order.cursor().epoch < 6 {
                let cursor = order.cursor();
                batches.push((cursor, order.next_batch().expect("batch")));
                let mut numbers = batches.last().expect("one").1.sequence_numbers.clone();
                numbers.sort_unstable();
                assert!(numbers.iter().copied().eq(0..numbers.len() as u32));
            }
            for (cursor, batch) in batches {
                let json = serde_json::to_string(&cursor).expect("json");
                let mut again = Order::new(corpus.clone(), positions, batching, 1).expect("order");
                again.seek(serde_json::from_str(&json).expect("cursor")).expect("seek");
                assert_eq!(again.next_batch().expect("batch"), batch);
            }
            assert!(order.seek(Cursor { epoch: 0, index: 1000 }).is_err());
        }
    }

    #[test]
    fn the_smallest_stream_has_one_window() {
        let mut order = Order::new(stream(9), 8, sequences(3), 0).expect("order");
        assert!((0..10).all(|epoch| order.windows_in_epoch(epoch) == 1));
        let batch = order.next_batch().expect("batch");
        assert_eq!(batch.ids, [(0..8).collect::<Vec<_>>(), (0..8).collect(), (0..8).collect()].concat());
    }

    #[test]
    fn documents_never_see_each_other() {
        let corpus = documents(40);
        let mut order = Order::new(corpus.clone(), 16, sequences(5), 3).expect("order");
        let mut predicted: Vec<u32> = Vec::new();
        let per_epoch = order.windows_in_epoch(0);
        assert!(per_epoch.is_multiple_of(5) || per_epoch > 5);
        for _ in 0..order.updates_in(1).expect("updates") {
            let batch = order.next_batch().expect("batch");
            batch.validate(corpus.tokens().len(), 16).expect("valid");
            for i in 0..batch.sequences() {
                let rows = batch.rows_of(i);
                let (ids, targets) = (&batch.ids[rows.clone()], &batch.targets[rows]);
                let (first, last) = (ids[0] as usize, targets[targets.len() - 1] as usize);
                let holds = |d: &Range<usize>| d.start <= first && last < d.end;
                assert!(
                    (0..corpus.document_count()).map(|d| corpus.document(d)).any(|d| holds(&d)),
                    "{first} to {last}"
                );
                predicted.extend_from_slice(targets);
            }
        }
        // An epoch predicts every token but each document's first, once.
        let targets = |d: &[u32]| d.iter().skip(1).copied().collect::<Vec<_>>();
        let all: Vec<u32> = corpus.iter().flat_map(targets).collect();
        predicted.sort_unstable();
        predicted.dedup();
        assert_eq!(predicted, all);
    }

    #[test]
    fn rows_fill_a_batch_until_the_next_would_pass() {
        for (corpus, positions) in [(documents(60), 16), (stream(700), 16)] {
            let mut order = Order::new(corpus.clone(), positions, rows(50, 3), 5).expect("order");
            let mut windows = Order::new(corpus.clone(), positions, sequences(1), 5).expect("order");
            let (updates, largest) =
                (order.updates_in(4).expect("updates"), order.largest_micro_batch(1000).expect("walk"));
            let mut seen = Largest::default();
            for update in 0..updates {
                let begun = order.cursor();
                assert!(begun.epoch < 4 && begun != Cursor { epoch: 3, index: order.windows_in_epoch(3) }, "{update}");
                let batch = order.next_batch().expect("batch");
                let one_by_one: Vec<u32> =
                    (0..batch.sequences()).flat_map(|_| windows.next_batch().expect("window").ids).collect();
                assert_eq!(batch.ids, one_by_one);
                let next = windows.clone().next_batch().expect("window").rows();
                assert!(batch.rows() <= 50 && batch.rows() + next > 50, "{} and {next}", batch.rows());
                let parts = order.micro_batches(batch.clone());
                assert_eq!(parts.iter().flat_map(|p| p.ids.clone()).collect::<Vec<_>>(), batch.ids);
                assert_eq!(
                    parts.iter().flat_map(|p| p.sequence_numbers.clone()).collect::<Vec<_>>(),
                    batch.sequence_numbers
                );
                for part in &parts {
                    assert!(part.rows() > 0 && part.rows() <= batch.rows() / 3 + positions, "{}", part.rows());
                    seen.rows = seen.rows.max(part.rows());
                    seen.sequences = seen.sequences.max(part.sequences());
                }
            }
            assert!(order.cursor().epoch >= 4 || order.cursor().index == order.windows_in_epoch(3));
            assert_eq!(order.largest_micro_batch(updates).expect("walk"), seen);
            assert!(largest.rows >= seen.rows && largest.rows < 50);
        }
        assert!(Order::new(stream(50), 8, rows(7, 1), 0).expect_err("7").to_string().contains("batch_tokens = 7"));
    }

    #[test]
    fn micro_batches_have_as_many_windows() {
        let mut order = Order::new(stream(500), 8, Batching { micro_batches: 3, ..sequences(6) }, 0).expect("order");
        let batch = order.next_batch().expect("batch");
        let parts = order.micro_batches(batch.clone());
        assert_eq!(parts.iter().map(Batch::sequences).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(parts[2], batch.part(4..6));
        assert_eq!(order.largest_micro_batch(9).expect("walk"), Largest { rows: 16, sequences: 2 });
        assert_eq!(order.largest_micro_batch(0).expect("walk"), Largest::default());
    }

    #[test]
    fn padded_batches_are_of_windows_about_as_long() {
        let corpus = documents(600);
        for batching in [sequences(8), rows(160, 3)] {
            let of = |form| Order::new(corpus.clone(), 30, Batching { form, ..batching }, 5).expect("order");
            // The same windows in an epoch, each once, and the same updates' worth.
            let windows = |order: &Order| {
                let mut all = order.permutation.clone();
                all.sort_unstable();
                all
            };
            let packed = of(BatchForm::Packed);
            for form in [BatchForm::Grouped, BatchForm::Padded] {
                let mut order = of(form);
                assert_eq!(windows(&order), windows(&packed));
                let (updates, mut largest, mut real, mut all, mut plain) =
                    (order.updates_in(2).expect("updates"), Largest::default(), 0, 0, 0);
                let mut draw = packed.clone();
                for _ in 0..updates {
                    let batch = order.next_batch().expect("batch");
                    real += batch.target_count as usize;
                    all += batch.rows();
                    plain += form.of(draw.next_batch().expect("batch")).expect("formed").rows();
                    let rows = batch.rows();
                    let parts = order.micro_batches(batch);
                    assert_eq!(parts.iter().map(Batch::rows).sum::<usize>(), rows);
                    for part in parts {
                        largest.rows = largest.rows.max(part.rows());
                        largest.sequences = largest.sequences.max(part.sequences());
                    }
                }
                assert_eq!(order.largest_micro_batch(updates).expect("walk"), largest);
                let share = real as f64 / all as f64;
                assert!(share > 0.8 && all * 10 < plain * 9, "{form}: {share}, {all} rows, {plain} in the plain order");
            }
        }
    }
}
