//! The integers of a batch in one buffer, one upload: ids, positions, targets, each row's sequence number; owners of token
//! and position rows; work lists of attention tiles for full and for local attention, longest first.

use super::Live;
use crate::config::AttentionKind;
use crate::data::batch::Batch;
use crate::gpu::{Device, View};
use crate::{Error, Result, dims};

/// Rows of an attention tile.
pub const TILE: usize = 64;

/// A batch's integers as the buffer will hold them: made without a device, by any thread.
#[derive(Clone, Debug)]
pub struct Laid {
    words: Vec<u32>,
    live: Live,
    capacity: Capacity,
}

/// What fixes the buffer's sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
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
}

/// The tables of one kind of attention: word offsets of its query tiles and key tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Query tiles.
    pub queries: u32,
    /// Key tiles.
    pub keys: u32,
    /// Tiles at capacity.
    pub capacity: u32,
}

/// The buffer and its named sections.
pub struct Layout {
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
    /// Full and local attention.
    pub tiles: [Tiles; 2],
    /// Word offsets of positions and sequences in the table.
    pub offsets: [u32; 2],
    capacity: Capacity,
}

/// The index of an attention kind in `Layout::tiles` and the tile counts of [`Live`].
pub fn kind_index(kind: AttentionKind) -> usize {
    match kind {
        AttentionKind::Full => 0,
        AttentionKind::Local => 1,
    }
}

fn tile_capacity(capacity: &Capacity, block: Option<usize>) -> usize {
    let runs = match block {
        None => capacity.sequences,
        Some(w) => capacity.rows.div_ceil(w) + capacity.sequences,
    };
    capacity.rows.div_ceil(TILE) + runs
}

impl Capacity {
    /// Lays a batch out.
    ///
    /// # Errors
    /// [`Error::Input`] when the batch passes the capacity, or an id or position the tables.
    pub fn lay(&self, batch: &Batch) -> Result<Laid> {
        let capacity = self;
        if batch.rows() > capacity.rows || batch.sequences() > capacity.sequences {
            return Err(Error::Input(format!(
                "a batch of {} sequences and {} tokens: room was made for {} and {}",
                batch.sequences(),
                batch.rows(),
                capacity.sequences,
                capacity.rows
            )));
        }
        batch.validate(capacity.vocab, capacity.positions)?;
        let (sections, words) = Layout::sections(capacity);
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
        let mut live = Live { rows: batch.rows() as u32, ..Live::default() };
        let (owners, rows) = owners(&batch.ids);
        put(4, &owners);
        put(5, &rows);
        live.token_owners = (owners.len() / 3) as u32;
        let (owners, rows) = self::owners(&batch.positions);
        put(6, &owners);
        put(7, &rows);
        live.position_owners = (owners.len() / 3) as u32;
        let kinds = [Some(usize::MAX), capacity.local_block];
        for (kind, block) in kinds.into_iter().enumerate() {
            let Some(block) = block else { continue };
            let tiles = tiles(batch, block);
            let sorted = |cost: fn(&[u32; 4]) -> u32| {
                let mut sorted = tiles.clone();
                sorted.sort_by_key(|t| std::cmp::Reverse(cost(t)));
                sorted.concat()
            };
            put(8 + 2 * kind, &sorted(|t| t[1] - t[2]));
            put(9 + 2 * kind, &sorted(|t| t[3] - t[0]));
            live.query_tiles[kind] = tiles.len() as u32;
            live.key_tiles[kind] = tiles.len() as u32;
        }
        Ok(Laid { words: table, live, capacity: *capacity })
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

impl Layout {
    /// Words of the buffer at a capacity.
    pub fn words(capacity: &Capacity) -> usize {
        Self::sections(capacity).1
    }

    fn sections(capacity: &Capacity) -> ([(&'static str, usize, usize); 12], usize) {
        let n = capacity.rows;
        let (full, local) = (tile_capacity(capacity, None), capacity.local_block);
        let local = local.map_or(1, |w| tile_capacity(capacity, Some(w)));
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
            place("full query tiles", 4 * full),
            place("full key tiles", 4 * full),
            place("local query tiles", 4 * local),
            place("local key tiles", 4 * local),
        ];
        (all, sections.next)
    }

    /// Room for a batch of this capacity.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn new(device: &Device, capacity: Capacity) -> Result<Layout> {
        let (sections, words) = Self::sections(&capacity);
        let buffer = crate::gpu::Buffer::new(device, "layout", words)?;
        let view = |i: usize| buffer.range(sections[i].0, sections[i].1, sections[i].2.max(1));
        let tiles = |i: usize| Tiles {
            queries: sections[i].1 as u32,
            keys: sections[i + 1].1 as u32,
            capacity: (sections[i].2 / 4) as u32,
        };
        Ok(Layout {
            table: buffer.range("layout", 0, words),
            ids: view(0),
            positions: view(1),
            targets: view(2),
            sequences: view(3),
            token_owners: view(4),
            token_rows: view(5),
            position_owners: view(6),
            position_rows: view(7),
            tiles: [tiles(8), tiles(10)],
            offsets: [sections[1].1 as u32, sections[3].1 as u32],
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
    /// As [`Capacity::lay`].
    pub fn upload(&self, device: &Device, batch: &Batch) -> Result<Live> {
        self.write(device, &self.capacity.lay(batch)?)
    }

    /// Uploads a batch that [`Capacity::lay`] laid out. Sets the sizes of the live numbers; the rest of them is the
    /// caller's.
    ///
    /// # Errors
    /// [`Error::Input`] when it was laid out for another capacity.
    pub fn write(&self, device: &Device, laid: &Laid) -> Result<Live> {
        if laid.capacity != self.capacity {
            let (got, expected) = (laid.capacity, self.capacity);
            return Err(Error::Input(format!("a batch laid out for {got:?}: expected {expected:?}")));
        }
        self.table.write(device, &laid.words)?;
        Ok(laid.live)
    }

    /// The capacity that batches are laid out for.
    pub fn made_for(&self) -> Capacity {
        self.capacity
    }

    /// The largest live sizes.
    pub fn capacity(&self) -> Live {
        let tiles = [self.tiles[0].capacity, self.tiles[1].capacity];
        Live {
            rows: self.capacity.rows as u32,
            query_tiles: tiles,
            key_tiles: tiles,
            token_owners: self.capacity.rows.min(self.capacity.vocab) as u32,
            position_owners: self.capacity.rows.min(self.capacity.positions) as u32,
            targets: self.capacity.rows as u32,
            step: 1,
            updates: 1,
            lr: 0.0,
            key: [0; 2],
        }
    }
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

/// (first row, end, run's first, run's end): runs are sequences cut in blocks, tiles are runs cut in [`TILE`] rows.
fn tiles(batch: &Batch, block: usize) -> Vec<[u32; 4]> {
    let mut all = Vec::new();
    for s in 0..batch.sequences() {
        let sequence = batch.rows_of(s);
        for run in sequence.clone().step_by(block.max(1)) {
            let run_end = run.saturating_add(block).min(sequence.end);
            for tile in (run..run_end).step_by(TILE) {
                all.push([tile, (tile + TILE).min(run_end), run, run_end].map(|x| x as u32));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::Sequence;

    fn batch(lengths: &[usize]) -> Batch {
        let sequence = |n: &usize| Sequence { ids: vec![3; *n], targets: vec![u32::MAX; *n] };
        Batch::from_sequences(&lengths.iter().map(sequence).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn tiles_stay_inside_runs() {
        let b = batch(&[130, 0, 1]);
        assert_eq!(
            tiles(&b, usize::MAX),
            [[0, 64, 0, 130], [64, 128, 0, 130], [128, 130, 0, 130], [130, 131, 130, 131]]
        );
        assert_eq!(tiles(&b, 100), [[0, 64, 0, 100], [64, 100, 0, 100], [100, 130, 100, 130], [130, 131, 130, 131]]);
        assert_eq!(tiles(&b, 1).len(), 131);
    }

    #[test]
    fn owners_keep_the_order_of_rows() {
        assert_eq!(owners(&[5, 2, 5, 9]), (vec![2, 0, 1, 5, 1, 3, 9, 3, 4], vec![1, 0, 2, 3]));
        assert_eq!(owners(&[]), (vec![], vec![]));
    }
}
