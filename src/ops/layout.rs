//! The integers of a batch in one buffer, one upload: ids, positions, targets, each row's sequence number; owners of token
//! and position rows; work lists of attention tiles for every kind of attention, longest first; the rows of compressed slots.

use super::tiles::{self, Rule, Run, Tile};
use super::values::StepValues;
use crate::config::AttentionKind;
use crate::data::batch::{Answer, Batch, Example, LossCounts};
use crate::gpu::{Device, View};
use crate::{Error, Result, dims};

/// A batch's integers as the buffer will hold them: made without a device, by any thread.
#[derive(Clone, Debug)]
pub struct BatchLayout {
    words: Vec<u32>,
    values: StepValues,
    capacity: LayoutCapacity,
}

/// What fixes the buffer's sections.
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
    /// Whether a head reads the last row of each sequence, for a task's examples.
    pub task: bool,
    /// Rows of an attention tile: [`SMALLEST_TILE`], unless a device's [`LayoutBuffer`] says more.
    pub tile_rows: usize,
}

/// The fewest rows of a tile on any adapter: what sections have room for.
pub const SMALLEST_TILE: usize = 64;

impl LayoutCapacity {
    /// Rows of a matrix of compressed keys, or values: slots, and from [`LayoutCapacity::slots`] on a null row for each sequence with a token.
    pub fn slot_rows(&self) -> usize {
        self.slots() + self.nulls()
    }

    /// Null keys at most: one for each sequence with a token.
    pub fn nulls(&self) -> usize {
        self.sequences.min(self.rows)
    }

    /// Compressed slots at most: ⌊N / f⌋, and room for one always.
    pub fn slots(&self) -> usize {
        self.kv_factor.map_or(0, |f| self.rows / f.max(1)).max(1)
    }

    /// Rows that no slot stands for, at most.
    pub fn tails(&self) -> usize {
        self.kv_factor.map_or(0, |f| self.rows.min(self.sequences * (f.max(1) - 1)))
    }

    /// The rule of a kind of attention.
    pub fn rule(&self, kind: AttentionKind) -> Rule {
        match kind {
            AttentionKind::Full | AttentionKind::Local => Rule::CAUSAL,
            AttentionKind::Compressed => Rule::compressed(self.kv_factor.unwrap_or(1)),
        }
    }

    fn has(&self, kind: AttentionKind) -> bool {
        match kind {
            AttentionKind::Full => true,
            AttentionKind::Local => self.local_block.is_some(),
            AttentionKind::Compressed => self.kv_factor.is_some(),
        }
    }

    /// Query tiles and key tiles of a kind, at most.
    fn most_tiles(&self, kind: AttentionKind) -> [usize; 2] {
        if !self.has(kind) {
            return [0, 0];
        }
        let runs = match (kind, self.local_block) {
            (AttentionKind::Local, Some(w)) => self.rows.div_ceil(w.max(1)) + self.sequences,
            _ => self.sequences,
        };
        let tiles = |rows: usize| rows.div_ceil(SMALLEST_TILE) + runs;
        [tiles(self.rows), tiles(if kind == AttentionKind::Compressed { self.slot_rows() } else { self.rows })]
    }
}

/// The tables of one kind of attention: word offsets of its query tiles and key tiles, and how many there are at capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Query tiles.
    pub queries: u32,
    /// Key tiles.
    pub keys: u32,
    /// Query tiles and key tiles at capacity.
    pub capacity: [u32; 2],
}

/// The buffer and its named sections.
pub struct LayoutBuffer {
    /// All of it, as attention binds it.
    pub table: View,
    /// N token ids.
    pub ids: View,
    /// N positions.
    pub positions: View,
    /// N targets, u32::MAX for none.
    pub targets: View,
    /// The number of each row's sequence in the whole step.
    pub sequences: View,
    /// (id, first, end) in `token_rows`.
    pub token_owners: View,
    /// N rows, sorted by id.
    pub token_rows: View,
    /// (position, first, end) in `position_rows`.
    pub position_owners: View,
    /// N rows, sorted by position.
    pub position_rows: View,
    /// The first row of each compressed slot.
    pub slot_rows: View,
    /// The rows that no slot stands for: the tails of sequences.
    pub tail_rows: View,
    /// Zeros: the row of the null key and value among their parameters, for each sequence with a token.
    pub nulls: View,
    /// The last row of each sequence: what a task's head reads.
    pub extract_rows: View,
    /// The positions of those rows.
    pub extract_positions: View,
    /// The number of each sequence in the whole step.
    pub extract_sequences: View,
    /// (first sequence, end, answer) of each example.
    pub examples: View,
    /// By [`kind_index`].
    pub tiles: [Tiles; 3],
    capacity: LayoutCapacity,
}

/// The answer of an example, in the layout, that is not known.
pub const UNKNOWN: u32 = u32::MAX;

/// The kinds of attention, in the order of [`kind_index`].
pub const KINDS: [AttentionKind; 3] = [AttentionKind::Full, AttentionKind::Local, AttentionKind::Compressed];

/// The index of an attention kind in `LayoutBuffer::tiles` and the tile counts of [`StepValues`].
pub fn kind_index(kind: AttentionKind) -> usize {
    match kind {
        AttentionKind::Full => 0,
        AttentionKind::Local => 1,
        AttentionKind::Compressed => 2,
    }
}

impl LayoutCapacity {
    /// Lays a batch out.
    ///
    /// # Errors
    /// [`Error::Value`] when the batch passes the capacity, or an id or position the tables.
    pub fn lay_out(&self, batch: &Batch) -> Result<BatchLayout> {
        let capacity = self;
        if batch.rows() > capacity.rows || batch.sequences() > capacity.sequences {
            return Err(Error::input(format!(
                "a batch of {} sequences and {} tokens: room was made for {} and {}",
                batch.sequences(),
                batch.rows(),
                capacity.sequences,
                capacity.rows
            )));
        }
        batch.validate(capacity.vocab, capacity.positions)?;
        let (sections, words) = LayoutBuffer::sections(capacity);
        let mut table = vec![0u32; words];
        let mut put = |i: usize, data: &[u32]| table[sections[i].1..sections[i].1 + data.len()].copy_from_slice(data);
        put(0, &batch.ids);
        put(1, &batch.positions);
        put(2, &batch.targets);
        let mut sequence_of_row = Vec::with_capacity(batch.rows());
        for (s, number) in batch.sequence_numbers.iter().enumerate() {
            sequence_of_row.resize(batch.rows_of(s).end, *number);
        }
        put(3, &sequence_of_row);
        let mut values =
            StepValues { rows: batch.rows() as u32, loss_counts: batch.loss_counts(), ..StepValues::default() };
        let (owners, rows) = owners(&batch.ids);
        put(4, &owners);
        put(5, &rows);
        values.token_owners = (owners.len() / 3) as u32;
        let (owners, rows) = self::owners(&batch.positions);
        put(6, &owners);
        put(7, &rows);
        values.position_owners = (owners.len() / 3) as u32;
        if let Some(factor) = capacity.kv_factor {
            let (slot_rows, tail_rows) = slots(batch, factor);
            put(8, &slot_rows);
            put(9, &tail_rows);
            values.slots = slot_rows.len() as u32;
            values.tail_rows = tail_rows.len() as u32;
            values.null_keys = (0..batch.sequences()).filter(|s| !batch.rows_of(*s).is_empty()).count() as u32;
        }
        if capacity.task && !batch.examples.is_empty() {
            let last: Vec<u32> = (0..batch.sequences()).map(|s| batch.rows_of(s).end as u32 - 1).collect();
            put(EXTRACTS, &last);
            put(EXTRACTS + 1, &last.iter().map(|row| batch.positions[*row as usize]).collect::<Vec<_>>());
            put(EXTRACTS + 2, &batch.sequence_numbers);
            put(EXTRACTS + 3, &batch.examples.iter().flat_map(example_words).collect::<Vec<_>>());
            values.sequences = batch.sequences() as u32;
            values.examples = batch.examples.len() as u32;
        }
        for kind in KINDS.into_iter().filter(|kind| capacity.has(*kind)) {
            let (rule, k) = (capacity.rule(kind), kind_index(kind));
            let runs = runs(batch, kind, capacity);
            let mut queries: Vec<Tile> = runs.iter().flat_map(|run| run.query_tiles(rule, self.tile_rows)).collect();
            let mut keys: Vec<Tile> = runs.iter().flat_map(|run| run.key_tiles(rule, self.tile_rows)).collect();
            tiles::sort_queries(&mut queries);
            tiles::sort_keys(&mut keys);
            put(TILES + 2 * k, queries.as_flattened());
            put(TILES + 1 + 2 * k, keys.as_flattened());
            values.query_tiles[k] = queries.len() as u32;
            values.key_tiles[k] = keys.len() as u32;
            values.pairs[k] = tiles::pairs(&queries);
        }
        Ok(BatchLayout { words: table, values, capacity: *capacity })
    }
}

struct Sections {
    next: usize,
}

impl Sections {
    fn take(&mut self, words: usize) -> usize {
        let at = self.next;
        self.next += words.max(1).next_multiple_of(dims::PITCH);
        at
    }
}

/// The first of the sections of a task's head: four.
const EXTRACTS: usize = 11;
/// The first of the sections with tiles: two a kind.
const TILES: usize = EXTRACTS + 4;

impl LayoutBuffer {
    /// Words of the buffer at a capacity.
    pub fn words(capacity: &LayoutCapacity) -> usize {
        Self::sections(capacity).1
    }

    fn sections(capacity: &LayoutCapacity) -> ([(&'static str, usize, usize); TILES + 6], usize) {
        let n = capacity.rows;
        let [full, local, compressed] = KINDS.map(|kind| capacity.most_tiles(kind));
        let [slots, tails, nulls] = match capacity.kv_factor {
            None => [0; 3],
            Some(_) => [capacity.slots(), capacity.tails(), capacity.nulls()],
        };
        let heads = if capacity.task { capacity.sequences } else { 0 };
        let mut sections = Sections { next: 0 };
        let mut place = |name, words| (name, sections.take(words), words);
        let all = [
            place("ids", n),
            place("positions", n),
            place("targets", n),
            place("sequences", n),
            place("token owners", 3 * n.min(capacity.vocab)),
            place("token rows", n),
            place("position owners", 3 * n.min(capacity.positions)),
            place("position rows", n),
            place("slot rows", slots),
            place("tail rows", tails),
            place("nulls", nulls),
            place("extract rows", heads),
            place("extract positions", heads),
            place("extract sequences", heads),
            place("examples", 3 * heads),
            place("full query tiles", 8 * full[0]),
            place("full key tiles", 8 * full[1]),
            place("local query tiles", 8 * local[0]),
            place("local key tiles", 8 * local[1]),
            place("compressed query tiles", 8 * compressed[0]),
            place("compressed key tiles", 8 * compressed[1]),
        ];
        (all, sections.next)
    }

    /// Room for a batch of this capacity, its tiles as the device likes them.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(device: &Device, capacity: LayoutCapacity) -> Result<LayoutBuffer> {
        let capacity = LayoutCapacity { tile_rows: tiles::tile_rows(device.caps(), capacity.positions), ..capacity };
        let (sections, words) = Self::sections(&capacity);
        let buffer = crate::gpu::Buffer::new(device, "layout", words)?;
        let view = |i: usize| buffer.range(sections[i].0, sections[i].1, sections[i].2.max(1));
        let tiles = |i: usize| Tiles {
            queries: sections[i].1 as u32,
            keys: sections[i + 1].1 as u32,
            capacity: [i, i + 1].map(|i| (sections[i].2 / 8) as u32),
        };
        Ok(LayoutBuffer {
            table: buffer.range("layout", 0, words),
            ids: view(0),
            positions: view(1),
            targets: view(2),
            sequences: view(3),
            token_owners: view(4),
            token_rows: view(5),
            position_owners: view(6),
            position_rows: view(7),
            slot_rows: view(8),
            tail_rows: view(9),
            nulls: view(10),
            extract_rows: view(EXTRACTS),
            extract_positions: view(EXTRACTS + 1),
            extract_sequences: view(EXTRACTS + 2),
            examples: view(EXTRACTS + 3),
            tiles: [tiles(TILES), tiles(TILES + 2), tiles(TILES + 4)],
            capacity,
        })
    }

    /// Targets of rows from `skip` on, `rows` of them.
    pub fn targets_from(&self, skip: usize, rows: usize) -> View {
        self.targets.part(skip, rows)
    }

    /// Lays a batch out and uploads it.
    ///
    /// # Errors
    /// As [`LayoutCapacity::lay_out`].
    pub fn upload(&self, device: &Device, batch: &Batch) -> Result<StepValues> {
        self.write(device, &self.capacity.lay_out(batch)?)
    }

    /// Uploads a batch that [`LayoutCapacity::lay_out`] laid out. Sets the sizes of the live numbers; the rest of them is the
    /// caller's.
    ///
    /// # Errors
    /// [`Error::Value`] when it was laid out for another capacity.
    pub fn write(&self, device: &Device, laid: &BatchLayout) -> Result<StepValues> {
        if laid.capacity != self.capacity {
            let (got, expected) = (laid.capacity, self.capacity);
            return Err(Error::input(format!("a batch laid out for {got:?}: expected {expected:?}")));
        }
        self.table.write(device, &laid.words)?;
        Ok(laid.values)
    }

    /// The capacity that batches are laid out for.
    pub fn capacity(&self) -> LayoutCapacity {
        self.capacity
    }

    /// The largest live sizes.
    pub fn values_at_capacity(&self) -> StepValues {
        let compressed = self.capacity.kv_factor.is_some();
        StepValues {
            rows: self.capacity.rows as u32,
            slots: if compressed { self.capacity.slots() as u32 } else { 0 },
            tail_rows: self.capacity.tails() as u32,
            null_keys: if compressed { self.capacity.nulls() as u32 } else { 0 },
            query_tiles: self.tiles.map(|t| t.capacity[0]),
            key_tiles: self.tiles.map(|t| t.capacity[1]),
            token_owners: self.capacity.rows.min(self.capacity.vocab) as u32,
            position_owners: self.capacity.rows.min(self.capacity.positions) as u32,
            sequences: if self.capacity.task { self.capacity.sequences as u32 } else { 0 },
            examples: if self.capacity.task { self.capacity.sequences as u32 } else { 0 },
            loss_counts: LossCounts { targets: self.capacity.rows as u32, examples: self.capacity.sequences as u32 },
            step: 1,
            adam_step: 1,
            ..StepValues::default()
        }
    }
}

/// The runs of a kind of attention: sequences, for local attention cut in blocks. Null rows and slots are those of the
/// sequences that have a token, in their order.
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
        Answer::Unknown => UNKNOWN,
    };
    [example.sequences.start as u32, example.sequences.end as u32, answer]
}

/// The first row of every slot, and the rows that fill none.
fn slots(batch: &Batch, factor: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut slot_rows, mut tail_rows, factor) = (Vec::new(), Vec::new(), factor.max(1));
    for s in 0..batch.sequences() {
        let rows = batch.rows_of(s);
        let tail = rows.start + rows.len() / factor * factor;
        slot_rows.extend((rows.start..tail).step_by(factor).map(|row| row as u32));
        tail_rows.extend((tail..rows.end).map(|row| row as u32));
    }
    (slot_rows, tail_rows)
}

/// (value, first, end) of each distinct value, ascending, and the rows sorted by value, in order within one.
fn owners(values: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut rows: Vec<u32> = (0..values.len() as u32).collect();
    rows.sort_by_key(|r| values[*r as usize]);
    let mut owners: Vec<u32> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let value = values[*row as usize];
        if owners.len() < 3 || owners[owners.len() - 3] != value {
            owners.extend([value, i as u32, i as u32]);
        }
        if let Some(end) = owners.last_mut() {
            *end = i as u32 + 1;
        }
    }
    (owners, rows)
}

#[cfg(test)]
mod tests {
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
        assert_eq!(slots(&batch(&[7, 0, 2, 3]), 3), (vec![0, 3, 9], vec![6, 7, 8]));
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
                    let [most_queries, most_keys] = capacity.most_tiles(kind);
                    assert!(queries <= most_queries && keys <= most_keys, "{lengths:?} {kind:?} {w} {f}");
                }
                let (slots, tails) = slots(&b, f);
                assert!(slots.len() <= capacity.slots() && tails.len() <= capacity.tails());
            }
        }
    }

    #[test]
    fn owners_keep_the_order_of_rows() {
        assert_eq!(owners(&[5, 2, 5, 9]), (vec![2, 0, 1, 5, 1, 3, 9, 3, 4], vec![1, 0, 2, 3]));
        assert_eq!(owners(&[]), (vec![], vec![]));
    }
}
