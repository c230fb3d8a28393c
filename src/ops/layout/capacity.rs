//! The largest batch that a layout buffer holds.

use crate::config::AttentionKind;
use crate::ops::tiles::{self, Rule, Run};

/// The largest batch that a layout buffer holds. It fixes the sections of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutCapacity {
    /// N
    pub rows: usize,
    /// B
    pub sequences: usize,
    /// V
    pub vocab: usize,
    /// P
    pub positions: usize,
    /// W of local attention, if any layer has it.
    pub local_block: Option<usize>,
    /// f of memory-compressed attention, if any layer has it.
    pub kv_factor: Option<usize>,
    /// Whether a task's head reads the last row of each sequence.
    pub task: bool,
    /// Rows of an attention tile: [`SMALLEST_TILE`], unless [`LayoutBuffer::new`](super::LayoutBuffer::new) takes more for
    /// its device.
    pub tile_rows: usize,
}

/// The fewest rows of an attention tile on any adapter. Sections hold the tiles of this size.
pub const SMALLEST_TILE: usize = 64;

/// The kinds of attention, in the order of [`kind_index`].
pub const KINDS: [AttentionKind; 3] = [AttentionKind::Full, AttentionKind::Local, AttentionKind::Compressed];

/// The index of a kind of attention in [`KINDS`], in the tile lists of a [`LayoutBuffer`](super::LayoutBuffer) and in the
/// tile counts of [`StepValues`](crate::ops::StepValues).
pub fn kind_index(kind: AttentionKind) -> usize {
    match kind {
        AttentionKind::Full => 0,
        AttentionKind::Local => 1,
        AttentionKind::Compressed => 2,
    }
}

/// How many tiles of queries and of keys one kind of attention has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TileCounts {
    pub queries: usize,
    pub keys: usize,
}

impl LayoutCapacity {
    /// Rows of a matrix of compressed keys, or of values: first all slots, then a null row for each sequence that has a
    /// token. The null rows start at row [`LayoutCapacity::slots`].
    pub fn slot_rows(&self) -> usize {
        self.slots() + self.null_keys()
    }

    /// The largest number of null keys: one for each sequence that has a token.
    pub fn null_keys(&self) -> usize {
        self.sequences.min(self.rows)
    }

    /// The largest number of compressed slots: ⌊N / f⌋, and at least 1.
    pub fn slots(&self) -> usize {
        self.kv_factor.map_or(0, |f| self.rows / f.max(1)).max(1)
    }

    /// The largest number of rows that fill no slot.
    pub fn tail_rows(&self) -> usize {
        self.kv_factor.map_or(0, |f| self.rows.min(self.sequences * (f.max(1) - 1)))
    }

    /// Which keys a query sees in a kind of attention.
    pub fn rule(&self, kind: AttentionKind) -> Rule {
        match kind {
            AttentionKind::Full | AttentionKind::Local => Rule::CAUSAL,
            AttentionKind::Compressed => Rule::compressed(self.kv_factor.unwrap_or(1)),
        }
    }

    /// Whether any layer has this kind of attention. Lists for full attention always exist.
    pub(super) fn has(&self, kind: AttentionKind) -> bool {
        match kind {
            AttentionKind::Full => true,
            AttentionKind::Local => self.local_block.is_some(),
            AttentionKind::Compressed => self.kv_factor.is_some(),
        }
    }

    /// The largest number of pairs of a query and a key that tiles visit: that of sequences as long as possible.
    pub(super) fn most_pairs(&self, kind: AttentionKind) -> f64 {
        if !self.has(kind) {
            return 0.0;
        }
        let longest = if kind == AttentionKind::Local { self.local_block.unwrap_or(1) } else { self.positions };
        let length = longest.min(self.rows).max(1);
        let run = Run { row: 0, length, t: 0, origin: 0, key_row: 0, null_row: 0, sequence: 0 };
        let tiles: Vec<_> = run.query_tiles(self.rule(kind), self.tile_rows.max(1)).collect();
        tiles::pairs(&tiles) * self.rows as f64 / length as f64
    }

    /// The largest numbers of tiles of a kind of attention.
    pub(super) fn most_tiles(&self, kind: AttentionKind) -> TileCounts {
        if !self.has(kind) {
            return TileCounts::default();
        }
        let runs = match (kind, self.local_block) {
            (AttentionKind::Local, Some(w)) => self.rows.div_ceil(w.max(1)) + self.sequences,
            _ => self.sequences,
        };
        let tiles = |rows: usize| rows.div_ceil(SMALLEST_TILE) + runs;
        let key_rows = if kind == AttentionKind::Compressed { self.slot_rows() } else { self.rows };
        TileCounts { queries: tiles(self.rows), keys: tiles(key_rows) }
    }
}
