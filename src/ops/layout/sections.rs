//! Where each list of a batch is in the layout buffer.

use super::capacity::{KINDS, LayoutCapacity};
use crate::dims;
use crate::ops::tiles::TILE_WORDS;

/// One list in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section {
    pub name: &'static str,
    /// Its first word, a multiple of [`dims::PITCH`].
    pub start: usize,
    /// Its words at capacity.
    pub words: usize,
}

/// The lists of attention tiles of one kind of attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileSections {
    pub queries: Section,
    pub keys: Section,
}

/// All lists, in the order in which the buffer holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sections {
    pub ids: Section,
    pub positions: Section,
    pub targets: Section,
    pub sequences: Section,
    pub token_owners: Section,
    pub token_rows: Section,
    pub position_owners: Section,
    pub position_rows: Section,
    pub slot_rows: Section,
    pub tail_rows: Section,
    pub null_indices: Section,
    pub extract_rows: Section,
    pub extract_positions: Section,
    pub extract_sequences: Section,
    pub examples: Section,
    /// By `kind_index`.
    pub tiles: [TileSections; 3],
    /// Words of the whole buffer.
    pub words: usize,
}

impl Sections {
    pub(super) fn new(capacity: &LayoutCapacity) -> Self {
        let n = capacity.rows;
        let [slots, tail_rows, null_keys] = match capacity.kv_factor {
            None => [0; 3],
            Some(_) => [capacity.slots(), capacity.tail_rows(), capacity.null_keys()],
        };
        let extracts = if capacity.task { capacity.sequences } else { 0 };
        let mut next = 0;
        let mut section = |name, words: usize| {
            let start = next;
            next += words.max(1).next_multiple_of(dims::PITCH);
            Section { name, start, words }
        };
        // The fields of a struct expression are evaluated in the order in which they are written.
        let sections = Sections {
            ids: section("ids", n),
            positions: section("positions", n),
            targets: section("targets", n),
            sequences: section("sequences", n),
            token_owners: section("token owners", 3 * n.min(capacity.vocab)),
            token_rows: section("token rows", n),
            position_owners: section("position owners", 3 * n.min(capacity.positions)),
            position_rows: section("position rows", n),
            slot_rows: section("slot rows", slots),
            tail_rows: section("tail rows", tail_rows),
            null_indices: section("null indices", null_keys),
            extract_rows: section("extract rows", extracts),
            extract_positions: section("extract positions", extracts),
            extract_sequences: section("extract sequences", extracts),
            examples: section("examples", 3 * extracts),
            tiles: KINDS.map(|kind| {
                let most = capacity.most_tiles(kind);
                TileSections {
                    queries: section("query tiles", TILE_WORDS * most.queries),
                    keys: section("key tiles", TILE_WORDS * most.keys),
                }
            }),
            words: 0,
        };
        Sections { words: next, ..sections }
    }
}
