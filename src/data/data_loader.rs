//! The batches of a training run, in a shuffled order: each epoch is a permutation of the windows, and every window
//! occurs once. For a stream, each epoch also begins at a random offset.
//!
//! Offset and permutation are drawn from the random numbers of the epoch, so a checkpoint stores only a [`Cursor`]. The
//! batch of a step is made as a whole and then divided into micro-batches; together they give the gradient of the whole
//! batch. Where batches are padded, windows of about the same length are put together.

use super::batch::Batch;
use super::corpus::Corpus;
use super::padding::Padding;
use super::windows::Windows;
use crate::philox::{Stream, Words};
use crate::{Error, Result};
use std::ops::Range;

/// The position of a run in its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The current epoch, from 0.
    pub epoch: u32,
    /// Windows of this epoch that are used.
    pub index: usize,
}

/// The size of the batch of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// A number of windows.
    Windows(usize),
    /// Windows in the epoch's order, until the next one would exceed this number of rows; at least P.
    Rows(usize),
}

/// How batches are made of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// The size of the batch of a step.
    pub size: BatchSize,
    /// Micro-batches of a step, with the same number of windows each, or with about the same number of rows.
    pub micro_batches: usize,
    /// How windows of different lengths are padded. [`BatchSize::Rows`] never counts rows of padding.
    pub padding: Padding,
}

impl Batching {
    /// Batches of `count` windows, in one micro-batch without padding.
    pub fn windows(count: usize) -> Self {
        Batching { size: BatchSize::Windows(count), micro_batches: 1, padding: Padding::Packed }
    }
}

/// Steps whose windows are sorted by length together, where batches are padded.
const BUCKET_STEPS: usize = 50;

/// The size of a micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MicroBatchSize {
    /// N, rows.
    pub rows: usize,
    /// B, windows.
    pub sequences: usize,
}

/// The batches of a corpus, in an order that a seed determines. It owns all that it needs, so it can move to another
/// thread.
#[derive(Clone, Debug)]
pub struct DataLoader {
    windows: Windows,
    batching: Batching,
    seed: u64,
    cursor: Cursor,
    /// Tokens before the first window of the current epoch.
    offset: usize,
    /// The windows of the current epoch.
    permutation: Vec<u32>,
}

impl DataLoader {
    /// The batches of `corpus` in windows of `n_positions` inputs, from the beginning.
    ///
    /// # Errors
    /// As [`Windows::new`]; [`Error::Value`] for empty batches, or for fewer rows than a window may have.
    pub fn new(corpus: Corpus, n_positions: usize, batching: Batching, seed: u64) -> Result<Self> {
        let windows = Windows::new(corpus, n_positions)?;
        match batching.size {
            BatchSize::Windows(0) => return Err(Error::value("batch", 0, "expected 1 sequence or more")),
            BatchSize::Rows(rows) if rows < n_positions => {
                let expected = format!("expected n_positions = {n_positions} or more, so that every sequence fits");
                return Err(Error::value("batch_tokens", rows, expected));
            }
            _ => {}
        }
        let mut loader =
            DataLoader { windows, batching, seed, cursor: Cursor::default(), offset: 0, permutation: Vec::new() };
        loader.begin_epoch(0);
        Ok(loader)
    }

    /// The text.
    pub fn corpus(&self) -> &Corpus {
        self.windows.corpus()
    }

    /// The position in the data.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Sets the position in the data, such as that of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Value`] when the epoch has fewer windows than the cursor has used.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        let Cursor { epoch, index } = cursor;
        let windows = self.windows_in_epoch(epoch);
        if index > windows {
            let found = format!("window {index} of epoch {epoch}");
            let expected = format!("expected {windows} windows at most: data and n_positions must be those of the run");
            return Err(Error::value("data cursor", found, expected));
        }
        if epoch != self.cursor.epoch {
            self.begin_epoch(epoch);
        }
        self.cursor = cursor;
        Ok(())
    }

    /// Windows of an epoch. The offset of a stream may leave one fewer.
    pub fn windows_in_epoch(&self, epoch: u32) -> usize {
        self.windows.count(self.draw(epoch).1)
    }

    /// The batch of the next step, over all of its micro-batches. At the end of an epoch it continues with the next epoch.
    ///
    /// # Errors
    /// [`Error::Value`] after 2^32 epochs, and as [`Padding::cu_seqlens`].
    pub fn next_batch(&mut self) -> Result<Batch> {
        let mut batch = Batch::default();
        for inputs in self.next_windows()? {
            self.windows.push(&mut batch, inputs);
        }
        self.batching.padding.apply(batch)
    }

    /// Divides the batch of a step into micro-batches. Their sequences keep their numbers. None is empty, so there may be
    /// fewer than [`Batching::micro_batches`].
    pub fn micro_batches(&self, batch: Batch) -> Vec<Batch> {
        match self.divide(&batch.cu_seqlens).as_slice() {
            [_] => vec![batch],
            parts => parts.iter().map(|sequences| batch.part(sequences.clone())).collect(),
        }
    }

    /// Steps that `epochs` epochs take. The last one may continue into the next epoch. Where documents fill rows, the
    /// batches are gone through to count them.
    ///
    /// # Errors
    /// As [`DataLoader::next_batch`].
    pub fn steps_in(&self, epochs: u32) -> Result<u64> {
        let windows = || -> u64 { (0..epochs).map(|epoch| self.windows_in_epoch(epoch) as u64).sum() };
        match self.batching.size {
            BatchSize::Windows(n) => Ok(windows().div_ceil(n as u64)),
            BatchSize::Rows(rows) if self.corpus().is_stream() => {
                Ok(windows().div_ceil((rows / self.windows.n_positions()) as u64))
            }
            BatchSize::Rows(_) => {
                let (mut loader, mut steps) = (self.restarted(), 0);
                let last = epochs.saturating_sub(1);
                while loader.cursor.epoch < last || (loader.cursor.epoch == last && !loader.epoch_is_done()) {
                    loader.next_windows()?;
                    steps += 1;
                }
                Ok(steps)
            }
        }
    }

    /// The largest number of rows and of windows in a micro-batch of the first `steps` steps: the capacity that a device
    /// needs. The batches of documents are gone through for it; those of a stream all have the same size.
    ///
    /// # Errors
    /// As [`DataLoader::next_batch`].
    pub fn largest_micro_batch(&self, steps: u64) -> Result<MicroBatchSize> {
        let mut loader = self.restarted();
        let mut largest = MicroBatchSize::default();
        let steps = if self.corpus().is_stream() { steps.min(1) } else { steps };
        for _ in 0..steps {
            let lengths: Vec<usize> = loader.next_windows()?.into_iter().map(|window| window.len()).collect();
            let cu_seqlens = self.batching.padding.cu_seqlens(&lengths)?;
            for part in self.divide(&cu_seqlens) {
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
                let past = || Error::value("steps", "more than 2^32 epochs", "expected fewer");
                self.begin_epoch(next.ok_or_else(past)?);
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

    /// The sequences of each micro-batch, given the first row of each sequence and the number of all rows.
    fn divide(&self, cu_seqlens: &[u32]) -> Vec<Range<usize>> {
        let (parts, sequences) = (self.batching.micro_batches.max(1), cu_seqlens.len() - 1);
        let rows = u64::from(cu_seqlens[sequences]);
        let border = |part: usize| match self.batching.size {
            BatchSize::Windows(_) => sequences * part / parts,
            BatchSize::Rows(_) => {
                // The sequence border nearest to this share of the rows; of two equally near, the first.
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

    /// The same batches from the beginning.
    fn restarted(&self) -> Self {
        let mut loader = self.clone();
        if loader.cursor.epoch != 0 {
            loader.begin_epoch(0);
        }
        loader.cursor = Cursor::default();
        loader
    }

    /// The offset of an epoch (at most P-1, and one window always fits), and the random numbers after it.
    fn draw(&self, epoch: u32) -> (Words, usize) {
        let mut random = Words::new(self.seed, Stream::Order, epoch, 0);
        let offset = random.below(self.windows.offsets()) as usize;
        (random, offset)
    }

    fn begin_epoch(&mut self, epoch: u32) {
        let (mut random, offset) = self.draw(epoch);
        self.permutation.clear();
        self.permutation.extend(0..self.windows.count(offset) as u32);
        random.shuffle(&mut self.permutation);
        self.offset = offset;
        self.cursor = Cursor { epoch, index: 0 };
        if self.batching.padding != Padding::Packed && !self.corpus().is_stream() {
            self.sort_buckets();
        }
    }

    /// Sorts the windows of the epoch by length, bucket by bucket, ascending and descending in turn. So neighbors have
    /// about the same length, also across two buckets.
    fn sort_buckets(&mut self) {
        let windows = match self.batching.size {
            BatchSize::Windows(n) => n,
            BatchSize::Rows(rows) => rows / self.windows.n_positions(),
        };
        for (i, bucket) in self.permutation.chunks_mut(windows.max(1).saturating_mul(BUCKET_STEPS)).enumerate() {
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
        Batching { size: BatchSize::Windows(n), micro_batches: 1, padding: Padding::Packed }
    }

    fn rows(n: usize, micro_batches: usize) -> Batching {
        Batching { size: BatchSize::Rows(n), micro_batches, padding: Padding::Packed }
    }

    fn stream(n: u32) -> Corpus {
        Corpus::stream((0..n).collect::<Vec<u32>>())
    }

    /// Documents with random lengths from 0 to 40. All ids differ.
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
        let whole = DataLoader::new(stream(1000), 16, sequences(1), 7).expect("loader");
        for epoch in 0..20 {
            let count = whole.windows_in_epoch(epoch);
            let mut loader = DataLoader::new(stream(1000), 16, sequences(count), 7).expect("loader");
            loader.seek(Cursor { epoch, index: 0 }).expect("seek");
            let batch = loader.next_batch().expect("batch");
            assert_eq!(loader.cursor(), Cursor { epoch, index: count });
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
        assert_eq!(whole.steps_in(3).expect("steps"), windows);
    }

    #[test]
    fn the_order_of_a_seed_never_changes() {
        let mut loader = DataLoader::new(stream(1000), 100, sequences(9), 7).expect("loader");
        let firsts = |loader: &mut DataLoader| -> Vec<u32> {
            let batch = loader.next_batch().expect("batch");
            (0..9).map(|i| batch.ids[batch.rows_of(i).start]).collect()
        };
        assert_eq!(firsts(&mut loader), [583, 683, 283, 83, 383, 883, 783, 183, 483]);
    }

    #[test]
    fn batches_continue_across_epochs_and_from_a_cursor() {
        for (corpus, batching, positions) in [
            (stream(50), sequences(4), 8),
            (stream(50), rows(33, 3), 8),
            (documents(12), sequences(4), 16),
            (documents(12), rows(50, 2), 16),
            (documents(12), Batching { padding: Padding::Grouped, ..sequences(4) }, 16),
            (documents(12), Batching { padding: Padding::Padded, ..rows(50, 2) }, 16),
        ] {
            let mut loader = DataLoader::new(corpus.clone(), positions, batching, 1).expect("loader");
            let mut batches = Vec::new();
            while loader.cursor().epoch < 6 {
                let cursor = loader.cursor();
                batches.push((cursor, loader.next_batch().expect("batch")));
                let mut numbers = batches.last().expect("one").1.sequence_numbers.clone();
                numbers.sort_unstable();
                assert!(numbers.iter().copied().eq(0..numbers.len() as u32));
            }
            for (cursor, batch) in batches {
                let json = serde_json::to_string(&cursor).expect("json");
                let mut again = DataLoader::new(corpus.clone(), positions, batching, 1).expect("loader");
                again.seek(serde_json::from_str(&json).expect("cursor")).expect("seek");
                assert_eq!(again.next_batch().expect("batch"), batch);
            }
            assert!(loader.seek(Cursor { epoch: 0, index: 1000 }).is_err());
        }
    }

    #[test]
    fn the_smallest_stream_has_one_window() {
        let mut loader = DataLoader::new(stream(9), 8, sequences(3), 0).expect("loader");
        assert!((0..10).all(|epoch| loader.windows_in_epoch(epoch) == 1));
        let batch = loader.next_batch().expect("batch");
        assert_eq!(batch.ids, [(0..8).collect::<Vec<_>>(), (0..8).collect(), (0..8).collect()].concat());
    }

    #[test]
    fn windows_do_not_cross_documents() {
        let corpus = documents(40);
        let mut loader = DataLoader::new(corpus.clone(), 16, sequences(5), 3).expect("loader");
        let mut predicted: Vec<u32> = Vec::new();
        let per_epoch = loader.windows_in_epoch(0);
        assert!(per_epoch.is_multiple_of(5) || per_epoch > 5);
        for _ in 0..loader.steps_in(1).expect("steps") {
            let batch = loader.next_batch().expect("batch");
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
        // An epoch predicts every token except the first of each document, once.
        let targets = |d: &[u32]| d.iter().skip(1).copied().collect::<Vec<_>>();
        let all: Vec<u32> = corpus.iter().flat_map(targets).collect();
        predicted.sort_unstable();
        predicted.dedup();
        assert_eq!(predicted, all);
    }

    #[test]
    fn rows_fill_a_batch_until_the_next_window_would_exceed_them() {
        for (corpus, positions) in [(documents(60), 16), (stream(700), 16)] {
            let mut loader = DataLoader::new(corpus.clone(), positions, rows(50, 3), 5).expect("loader");
            let mut windows = DataLoader::new(corpus.clone(), positions, sequences(1), 5).expect("loader");
            let (steps, largest) =
                (loader.steps_in(4).expect("steps"), loader.largest_micro_batch(1000).expect("size"));
            let mut seen = MicroBatchSize::default();
            for step in 0..steps {
                let begun = loader.cursor();
                assert!(begun.epoch < 4 && begun != Cursor { epoch: 3, index: loader.windows_in_epoch(3) }, "{step}");
                let batch = loader.next_batch().expect("batch");
                let one_by_one: Vec<u32> =
                    (0..batch.sequences()).flat_map(|_| windows.next_batch().expect("window").ids).collect();
                assert_eq!(batch.ids, one_by_one);
                let next = windows.clone().next_batch().expect("window").rows();
                assert!(batch.rows() <= 50 && batch.rows() + next > 50, "{} and {next}", batch.rows());
                let parts = loader.micro_batches(batch.clone());
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
            assert!(loader.cursor().epoch >= 4 || loader.cursor().index == loader.windows_in_epoch(3));
            assert_eq!(loader.largest_micro_batch(steps).expect("size"), seen);
            assert!(largest.rows >= seen.rows && largest.rows < 50);
        }
        assert!(DataLoader::new(stream(50), 8, rows(7, 1), 0).expect_err("7").to_string().contains("batch_tokens = 7"));
    }

    #[test]
    fn micro_batches_have_the_same_number_of_windows() {
        let mut loader =
            DataLoader::new(stream(500), 8, Batching { micro_batches: 3, ..sequences(6) }, 0).expect("loader");
        let batch = loader.next_batch().expect("batch");
        let parts = loader.micro_batches(batch.clone());
        assert_eq!(parts.iter().map(Batch::sequences).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(parts[2], batch.part(4..6));
        assert_eq!(loader.largest_micro_batch(9).expect("size"), MicroBatchSize { rows: 16, sequences: 2 });
        assert_eq!(loader.largest_micro_batch(0).expect("size"), MicroBatchSize::default());
    }

    #[test]
    fn padded_batches_hold_windows_of_about_the_same_length() {
        let corpus = documents(600);
        for batching in [sequences(8), rows(160, 3)] {
            let loader_with =
                |padding| DataLoader::new(corpus.clone(), 30, Batching { padding, ..batching }, 5).expect("loader");
            // An epoch has the same windows, each once.
            let windows = |loader: &DataLoader| {
                let mut all = loader.permutation.clone();
                all.sort_unstable();
                all
            };
            let packed = loader_with(Padding::Packed);
            for padding in [Padding::Grouped, Padding::Padded] {
                let mut loader = loader_with(padding);
                assert_eq!(windows(&loader), windows(&packed));
                let (steps, mut largest, mut real, mut all, mut unsorted) =
                    (loader.steps_in(2).expect("steps"), MicroBatchSize::default(), 0, 0, 0);
                let mut draw = packed.clone();
                for _ in 0..steps {
                    let batch = loader.next_batch().expect("batch");
                    real += batch.target_count as usize;
                    all += batch.rows();
                    unsorted += padding.apply(draw.next_batch().expect("batch")).expect("padded").rows();
                    let rows = batch.rows();
                    let parts = loader.micro_batches(batch);
                    assert_eq!(parts.iter().map(Batch::rows).sum::<usize>(), rows);
                    for part in parts {
                        largest.rows = largest.rows.max(part.rows());
                        largest.sequences = largest.sequences.max(part.sequences());
                    }
                }
                assert_eq!(loader.largest_micro_batch(steps).expect("size"), largest);
                let share = real as f64 / all as f64;
                assert!(share > 0.8 && all * 10 < unsorted * 9, "{padding}: {share}, {all} rows, {unsorted} unsorted");
            }
        }
    }
}
