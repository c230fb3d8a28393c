//! The integers of one batch, computed without a device.

use super::capacity::{KINDS, LayoutCapacity, kind_index};
use super::sections::{Section, Sections};
use crate::config::AttentionKind;
use crate::data::batch::{Answer, Batch, Example};
use crate::ops::tiles::{self, Run, Tile};
use crate::ops::values::StepValues;
use crate::{Error, Result};

/// The integers of one batch as the buffer will hold them, with the sizes that a program runs with.
#[derive(Clone, Debug)]
pub struct BatchLayout {
    words: Vec<u32>,
    values: StepValues,
    capacity: LayoutCapacity,
}

/// The word of an example whose answer is not known.
pub const UNKNOWN_ANSWER: u32 = u32::MAX;

impl LayoutCapacity {
    /// Computes the lists of a batch.
    ///
    /// # Errors
    /// [`Error::Value`] when the batch is larger than the capacity, or an id or position is beyond its table.
    pub fn lay_out(&self, batch: &Batch) -> Result<BatchLayout> {
        if batch.rows() > self.rows || batch.sequences() > self.sequences {
            return Err(Error::value(
                "batch",
                format!("{} sequences, {} tokens", batch.sequences(), batch.rows()),
                format!("expected at most {} sequences, {} tokens", self.sequences, self.rows),
            ));
        }
        batch.validate(self.vocab, self.positions)?;
        let sections = Sections::new(self);
        let values =
            StepValues { rows: batch.rows() as u32, loss_counts: batch.loss_counts(), ..StepValues::default() };
        let mut layout = BatchLayout { words: vec![0; sections.words], values, capacity: *self };
        layout.put_rows(&sections, batch);
        layout.put_owners(&sections, batch);
        if let Some(factor) = self.kv_factor {
            layout.put_slots(&sections, batch, factor);
        }
        if self.task && !batch.examples.is_empty() {
            layout.put_examples(&sections, batch);
        }
        for kind in KINDS.into_iter().filter(|kind| self.has(*kind)) {
            layout.put_tiles(&sections, batch, kind);
        }
        Ok(layout)
    }
}

impl BatchLayout {
    pub(super) fn words(&self) -> &[u32] {
        &self.words
    }

    pub(super) fn values(&self) -> StepValues {
        self.values
    }

    pub(super) fn capacity(&self) -> LayoutCapacity {
        self.capacity
    }

    fn put(&mut self, section: Section, data: &[u32]) {
        self.words[section.start..section.start + data.len()].copy_from_slice(data);
    }

    fn put_rows(&mut self, sections: &Sections, batch: &Batch) {
        self.put(sections.ids, &batch.ids);
        self.put(sections.positions, &batch.positions);
        self.put(sections.targets, &batch.targets);
        let mut sequence_of_row = Vec::with_capacity(batch.rows());
        for (s, number) in batch.sequence_numbers.iter().enumerate() {
            sequence_of_row.resize(batch.rows_of(s).end, *number);
        }
        self.put(sections.sequences, &sequence_of_row);
    }

    fn put_owners(&mut self, sections: &Sections, batch: &Batch) {
        let tokens = Owners::of(&batch.ids);
        self.put(sections.token_owners, tokens.ranges.as_flattened());
        self.put(sections.token_rows, &tokens.rows);
        self.values.token_owners = tokens.ranges.len() as u32;
        let positions = Owners::of(&batch.positions);
        self.put(sections.position_owners, positions.ranges.as_flattened());
        self.put(sections.position_rows, &positions.rows);
        self.values.position_owners = positions.ranges.len() as u32;
    }

    fn put_slots(&mut self, sections: &Sections, batch: &Batch, factor: usize) {
        let Slots { first_rows, tail_rows } = Slots::of(batch, factor);
        self.put(sections.slot_rows, &first_rows);
        self.put(sections.tail_rows, &tail_rows);
        self.values.slots = first_rows.len() as u32;
        self.values.tail_rows = tail_rows.len() as u32;
        self.values.null_keys = (0..batch.sequences()).filter(|s| !batch.rows_of(*s).is_empty()).count() as u32;
    }

    fn put_examples(&mut self, sections: &Sections, batch: &Batch) {
        let last_rows: Vec<u32> = (0..batch.sequences()).map(|s| batch.rows_of(s).end as u32 - 1).collect();
        let positions: Vec<u32> = last_rows.iter().map(|row| batch.positions[*row as usize]).collect();
        let examples: Vec<u32> = batch.examples.iter().flat_map(example_words).collect();
        self.put(sections.extract_rows, &last_rows);
        self.put(sections.extract_positions, &positions);
        self.put(sections.extract_sequences, &batch.sequence_numbers);
        self.put(sections.examples, &examples);
        self.values.sequences = batch.sequences() as u32;
        self.values.examples = batch.examples.len() as u32;
    }

    fn put_tiles(&mut self, sections: &Sections, batch: &Batch, kind: AttentionKind) {
        let (rule, index, tile_rows) = (self.capacity.rule(kind), kind_index(kind), self.capacity.tile_rows);
        let runs = runs(batch, kind, &self.capacity);
        let mut queries: Vec<Tile> = runs.iter().flat_map(|run| run.query_tiles(rule, tile_rows)).collect();
        let mut keys: Vec<Tile> = runs.iter().flat_map(|run| run.key_tiles(rule, tile_rows)).collect();
        tiles::sort_queries(&mut queries);
        tiles::sort_keys(&mut keys);
        self.put(sections.tiles[index].queries, queries.as_flattened());
        self.put(sections.tiles[index].keys, keys.as_flattened());
        self.values.query_tiles[index] = queries.len() as u32;
        self.values.key_tiles[index] = keys.len() as u32;
        self.values.pairs[index] = tiles::pairs(&queries);
    }
}

/// The runs of a kind of attention: sequences, which local attention cuts into blocks. Null rows and slots are numbered over
/// the sequences that have a token, in their order.
fn runs(batch: &Batch, kind: AttentionKind, capacity: &LayoutCapacity) -> Vec<Run> {
    let block = match (kind, capacity.local_block) {
        (AttentionKind::Local, Some(block)) => block.max(1),
        _ => usize::MAX,
    };
    let (mut all, mut slot, mut null) = (Vec::new(), 0, capacity.slots());
    for (s, sequence) in batch.sequence_numbers.iter().enumerate() {
        let rows = batch.rows_of(s);
        for row in rows.clone().step_by(block) {
            let run = Run {
                row,
                length: block.min(rows.end - row),
                t: 0,
                origin: row - rows.start,
                key_row: row,
                null_row: 0,
                sequence: *sequence,
            };
            all.push(match kind {
                AttentionKind::Compressed => Run { key_row: slot, null_row: null, ..run },
                _ => run,
            });
        }
        slot += rows.len() / capacity.kv_factor.unwrap_or(1).max(1);
        null += usize::from(!rows.is_empty());
    }
    all
}

fn example_words(example: &Example) -> [u32; 3] {
    let answer = match example.answer {
        Answer::Class(class) => class,
        Answer::Score(score) => score.to_bits(),
        Answer::Unknown => UNKNOWN_ANSWER,
    };
    [example.sequences.start as u32, example.sequences.end as u32, answer]
}

/// The compressed slots of a batch.
#[derive(Debug, PartialEq, Eq)]
struct Slots {
    /// The first row of each slot.
    first_rows: Vec<u32>,
    /// The rows that fill no slot.
    tail_rows: Vec<u32>,
}

impl Slots {
    fn of(batch: &Batch, factor: usize) -> Slots {
        let (mut first_rows, mut tail_rows, factor) = (Vec::new(), Vec::new(), factor.max(1));
        for s in 0..batch.sequences() {
            let rows = batch.rows_of(s);
            let tail = rows.start + rows.len() / factor * factor;
            first_rows.extend((rows.start..tail).step_by(factor).map(|row| row as u32));
            tail_rows.extend((tail..rows.end).map(|row| row as u32));
        }
        Slots { first_rows, tail_rows }
    }
}

/// The rows of each distinct value of a list.
#[derive(Debug, PartialEq, Eq)]
struct Owners {
    /// (value, first, end) of each distinct value, ascending: its range in `rows`.
    ranges: Vec<[u32; 3]>,
    /// All rows, sorted by value; rows of one value keep their order.
    rows: Vec<u32>,
}

impl Owners {
    fn of(values: &[u32]) -> Owners {
        let mut rows: Vec<u32> = (0..values.len() as u32).collect();
        rows.sort_by_key(|row| values[*row as usize]);
        let mut ranges: Vec<[u32; 3]> = Vec::new();
        for (i, row) in (0u32..).zip(&rows) {
            let value = values[*row as usize];
            match ranges.last_mut() {
                Some([owner, _, end]) if *owner == value => *end = i + 1,
                _ => ranges.push([value, i, i + 1]),
            }
        }
        Owners { ranges, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::super::capacity::SMALLEST_TILE;
    use super::*;
    use crate::data::batch::Sequence;

    fn batch(lengths: &[usize]) -> Batch {
        let sequence = |n: &usize| Sequence { ids: vec![3; *n], targets: vec![u32::MAX; *n] };
        Batch::from_sequences(&lengths.iter().map(sequence).collect::<Vec<_>>()).unwrap()
    }

    fn capacity(batch: &Batch, local_block: Option<usize>, kv_factor: Option<usize>) -> LayoutCapacity {
        let (rows, sequences) = (batch.rows(), batch.sequences());
        LayoutCapacity {
            rows,
            sequences,
            vocab: 9,
            positions: 1000,
            local_block,
            kv_factor,
            task: false,
            tile_rows: SMALLEST_TILE,
        }
    }

    #[test]
    fn runs_are_sequences_or_their_blocks() {
        let b = batch(&[130, 0, 1]);
        let bounds = |kind, w| {
            let all = runs(&b, kind, &capacity(&b, w, Some(4)));
            all.iter().map(|r| [r.row, r.length, r.origin, r.key_row]).collect::<Vec<_>>()
        };
        assert_eq!(bounds(AttentionKind::Full, None), [[0, 130, 0, 0], [130, 1, 0, 130]]);
        assert_eq!(bounds(AttentionKind::Local, Some(100)), [[0, 100, 0, 0], [100, 30, 100, 100], [130, 1, 0, 130]]);
        assert_eq!(bounds(AttentionKind::Local, Some(1)).len(), 131);
        assert_eq!(bounds(AttentionKind::Compressed, None), [[0, 130, 0, 0], [130, 1, 0, 32]]);
        let nulls = runs(&b, AttentionKind::Compressed, &capacity(&b, None, Some(4)));
        assert_eq!(nulls.iter().map(|r| r.null_row).collect::<Vec<_>>(), [32, 33]);
    }

    #[test]
    fn slots_hold_whole_windows() {
        let slots = Slots::of(&batch(&[7, 0, 2, 3]), 3);
        assert_eq!(slots, Slots { first_rows: vec![0, 3, 9], tail_rows: vec![6, 7, 8] });
    }

    #[test]
    fn every_batch_fits_its_capacity() {
        for lengths in [vec![0], vec![1], vec![200, 64, 1, 0, 65, 3], vec![1; 70], vec![191, 192, 193]] {
            let b = batch(&lengths);
            for (w, f) in [(1, 1), (7, 2), (64, 3), (1000, 4), (65, 400)] {
                let capacity = capacity(&b, Some(w), Some(f));
                for kind in KINDS {
                    let rule = capacity.rule(kind);
                    let runs = runs(&b, kind, &capacity);
                    let queries = runs.iter().flat_map(|run| run.query_tiles(rule, 64)).count();
                    let keys = runs.iter().flat_map(|run| run.key_tiles(rule, 64)).count();
                    let most = capacity.most_tiles(kind);
                    assert!(queries <= most.queries && keys <= most.keys, "{lengths:?} {kind:?} {w} {f}");
                }
                let slots = Slots::of(&b, f);
                assert!(slots.first_rows.len() <= capacity.slots());
                assert!(slots.tail_rows.len() <= capacity.tail_rows());
            }
        }
    }

    #[test]
    fn owners_keep_the_order_of_rows() {
        let owners = Owners::of(&[5, 2, 5, 9]);
        assert_eq!(owners, Owners { ranges: vec![[2, 0, 1], [5, 1, 3], [9, 3, 4]], rows: vec![1, 0, 2, 3] });
        assert_eq!(Owners::of(&[]), Owners { ranges: vec![], rows: vec![] });
    }
}
