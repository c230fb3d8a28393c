//! The buffer on the device that batch layouts are written to.

use super::batch_layout::BatchLayout;
use super::capacity::{KINDS, LayoutCapacity};
use super::sections::{Section, Sections};
use crate::data::batch::{Batch, LossCounts};
use crate::gpu::{Buffer, Device, View};
use crate::ops::tiles::{self, TILE_WORDS};
use crate::ops::values::StepValues;
use crate::{Error, Result};

/// The attention tiles of one kind of attention in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileLists {
    /// The first word of the query tiles.
    pub query_start: u32,
    /// The first word of the key tiles.
    pub key_start: u32,
    /// Query tiles at capacity.
    pub most_queries: u32,
    /// Key tiles at capacity.
    pub most_keys: u32,
}

/// The integers of a batch on the device: one buffer, and a view of each list in it.
pub struct LayoutBuffer {
    /// All of it, as attention binds it.
    pub table: View,
    /// N token ids.
    pub ids: View,
    /// N positions.
    pub positions: View,
    /// N targets; `u32::MAX` is no target.
    pub targets: View,
    /// N numbers: the number of each row's sequence in the whole optimizer step.
    pub sequences: View,
    /// (id, first, end) for each distinct token id: its range in `token_rows`.
    pub token_owners: View,
    /// N rows, sorted by token id.
    pub token_rows: View,
    /// (position, first, end) for each distinct position: its range in `position_rows`.
    pub position_owners: View,
    /// N rows, sorted by position.
    pub position_rows: View,
    /// The first row of each compressed slot.
    pub slot_rows: View,
    /// The rows that fill no slot: those at the ends of sequences.
    pub tail_rows: View,
    /// A zero for each sequence that has a token: the row of the null key and value in their parameters.
    pub null_indices: View,
    /// The last row of each sequence, which a task's head reads.
    pub extract_rows: View,
    /// The positions of those rows.
    pub extract_positions: View,
    /// The number of each sequence in the whole optimizer step.
    pub extract_sequences: View,
    /// (first sequence, end, answer) for each example.
    pub examples: View,
    /// By [`kind_index`](super::kind_index).
    pub tiles: [TileLists; 3],
    capacity: LayoutCapacity,
}

impl LayoutBuffer {
    /// Words of the buffer at a capacity.
    pub fn words(capacity: &LayoutCapacity) -> usize {
        Sections::new(capacity).words
    }

    /// Allocates the buffer for batches up to `capacity`. The device decides the rows of an attention tile.
    ///
    /// # Errors
    /// [`Error::Device`] past the device's limits.
    pub fn new(device: &Device, capacity: LayoutCapacity) -> Result<LayoutBuffer> {
        let capacity = LayoutCapacity { tile_rows: tiles::tile_rows(device.caps(), capacity.positions), ..capacity };
        let sections = Sections::new(&capacity);
        let buffer = Buffer::new(device, "layout", sections.words)?;
        let view = |section: Section| buffer.range(section.name, section.start, section.words.max(1));
        Ok(LayoutBuffer {
            table: buffer.range("layout", 0, sections.words),
            ids: view(sections.ids),
            positions: view(sections.positions),
            targets: view(sections.targets),
            sequences: view(sections.sequences),
            token_owners: view(sections.token_owners),
            token_rows: view(sections.token_rows),
            position_owners: view(sections.position_owners),
            position_rows: view(sections.position_rows),
            slot_rows: view(sections.slot_rows),
            tail_rows: view(sections.tail_rows),
            null_indices: view(sections.null_indices),
            extract_rows: view(sections.extract_rows),
            extract_positions: view(sections.extract_positions),
            extract_sequences: view(sections.extract_sequences),
            examples: view(sections.examples),
            tiles: sections.tiles.map(|tiles| TileLists {
                query_start: tiles.queries.start as u32,
                key_start: tiles.keys.start as u32,
                most_queries: (tiles.queries.words / TILE_WORDS) as u32,
                most_keys: (tiles.keys.words / TILE_WORDS) as u32,
            }),
            capacity,
        })
    }

    /// The targets of `rows` rows from row `skip` on.
    pub fn targets_from(&self, skip: usize, rows: usize) -> View {
        self.targets.part(skip, rows)
    }

    /// Lays a batch out and writes it to the buffer.
    ///
    /// # Errors
    /// As [`LayoutCapacity::lay_out`].
    pub fn upload(&self, device: &Device, batch: &Batch) -> Result<StepValues> {
        self.write(device, &self.capacity.lay_out(batch)?)
    }

    /// Writes a batch layout to the buffer. Returns its sizes and loss counts; the caller sets the other values.
    ///
    /// # Errors
    /// [`Error::Value`] when the batch was laid out for another capacity.
    pub fn write(&self, device: &Device, batch: &BatchLayout) -> Result<StepValues> {
        if batch.capacity() != self.capacity {
            let (found, expected) = (batch.capacity(), self.capacity);
            return Err(Error::value(
                "capacity of a batch layout",
                format!("{found:?}"),
                format!("expected {expected:?}"),
            ));
        }
        self.table.write(device, batch.words())?;
        Ok(batch.values())
    }

    /// The capacity that batches are laid out for.
    pub fn capacity(&self) -> LayoutCapacity {
        self.capacity
    }

    /// The largest sizes that a batch can have.
    pub fn values_at_capacity(&self) -> StepValues {
        let LayoutCapacity { rows, sequences, vocab, positions, kv_factor, task, .. } = self.capacity;
        let compressed = |count: usize| if kv_factor.is_some() { count as u32 } else { 0 };
        let extracts = if task { sequences as u32 } else { 0 };
        StepValues {
            rows: rows as u32,
            slots: compressed(self.capacity.slots()),
            tail_rows: compressed(self.capacity.tail_rows()),
            null_keys: compressed(self.capacity.null_keys()),
            query_tiles: self.tiles.map(|tiles| tiles.most_queries),
            key_tiles: self.tiles.map(|tiles| tiles.most_keys),
            pairs: KINDS.map(|kind| self.capacity.most_pairs(kind)),
            token_owners: rows.min(vocab) as u32,
            position_owners: rows.min(positions) as u32,
            sequences: extracts,
            examples: extracts,
            loss_counts: LossCounts { targets: rows as u32, examples: sequences as u32 },
            step: 1,
            adam_step: 1,
            ..StepValues::default()
        }
    }
}
