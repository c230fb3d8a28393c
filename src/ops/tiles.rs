//! Which keys each query sees, as the tiles of attention's work lists (docs/spec.md section 4). Queries form runs: sequences,
//! or the blocks of sequences for local attention. A query sees a prefix of its run's keys; keys that no query of a tile
//! sees are outside the tile's range.

use crate::gpu::Caps;

/// Rows of a tile: 64, one invocation each. On CPU adapters a group loops over more rows, so that a block of keys is loaded
/// once for all of them; the rows are limited so that the loops over the blocks of a sequence of `longest` tokens stay below
/// llvmpipe's limit.
pub fn tile_rows(caps: &Caps, longest: usize) -> usize {
    // One turn for each row and block, and two for each block: the loop over blocks, and the end of the loop over rows.
    let turns = |rows: usize| longest.div_ceil(64).saturating_mul(rows + 2);
    let most = caps.loop_turns().unwrap_or(usize::MAX);
    match [256, 128].into_iter().find(|rows| turns(*rows) < most) {
        Some(rows) if caps.reads_images() => rows,
        _ => 64,
    }
}

/// At most the turns of the loops of an attention kernel for GPUs (shaders/lib/attention_tiles.wgsl) over `others` rows, in
/// blocks of 64: for each block, `products` products with the others by chunks of 8 vectors of channels, and `sums` weighted
/// sums of them in pieces.
pub fn tiled_turns(others: usize, head_dim: usize, [products, sums]: [usize; 2]) -> usize {
    let quads = head_dim.div_ceil(4);
    // A loop has one turn more than iterations: the one that ends it.
    let (product, sum) = (quads + 2 * quads.div_ceil(8) + 1, 40);
    others.div_ceil(64).saturating_mul(products * product + sums * sum + 6)
}

/// Which keys a query sees: query t of a run sees the first `nulls` + ⌊(t + 1) / `factor`⌋ keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Null keys, which come first and which every query sees.
    pub nulls: usize,
    /// Tokens that one key summarizes.
    pub factor: usize,
}

impl Rule {
    /// A query sees the keys of all tokens up to its own: full attention, and local attention inside a block.
    pub const CAUSAL: Rule = Rule { nulls: 0, factor: 1 };

    /// Memory-compressed attention: one null key, and a slot for every `factor` tokens.
    pub fn compressed(factor: usize) -> Rule {
        Rule { nulls: 1, factor: factor.max(1) }
    }

    /// The number of keys that query `t` sees.
    pub fn visible(self, t: usize) -> usize {
        self.nulls + (t + 1) / self.factor
    }

    /// The number of keys of a run of `length` queries.
    pub fn keys(self, length: usize) -> usize {
        self.nulls + length / self.factor
    }

    /// The first query that sees key `j`.
    pub fn seen_from(self, j: usize) -> usize {
        ((j + 1).saturating_sub(self.nulls) * self.factor).saturating_sub(1)
    }
}

/// Queries in consecutive rows, with their keys: a sequence, or a block of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The row of its first query.
    pub row: usize,
    /// The number of queries.
    pub length: usize,
    /// The first query's t: 0, unless earlier queries of the sequence are left out.
    pub t: usize,
    /// The position of t = 0 in its sequence.
    pub origin: usize,
    /// The row of the first key that is not a null key.
    pub key_row: usize,
    /// The row of the null key.
    pub null_row: usize,
    /// The sequence's number in the whole optimizer step.
    pub sequence: u32,
}

/// Words of a tile.
pub const TILE_WORDS: usize = 8;

/// A tile, in the order of the attention shaders' structs `QueryTile` and `KeyTile`.
pub type Tile = [u32; TILE_WORDS];

impl Run {
    /// The row from which keys are counted, null keys included. Below row 0 it wraps around.
    fn keys_at(&self, rule: Rule) -> u32 {
        (self.key_row as u32).wrapping_sub(rule.nulls as u32)
    }

    /// Its queries in tiles of `tile` rows.
    pub fn query_tiles(self, rule: Rule, tile: usize) -> impl Iterator<Item = Tile> {
        (0..self.length).step_by(tile).map(move |first| {
            let end = (first + tile).min(self.length);
            let keys = rule.visible(self.t + end - 1) as u32;
            let [row, end, t] = [self.row + first, self.row + end, self.t + first].map(|x| x as u32);
            [row, end, self.keys_at(rule), keys, t, self.origin as u32, self.sequence, self.null_row as u32]
        })
    }

    /// Its keys in tiles of `tile` rows, each with the queries that see at least one of them. For whole runs: t is 0.
    pub fn key_tiles(self, rule: Rule, tile: usize) -> impl Iterator<Item = Tile> {
        let keys = if self.length == 0 { 0 } else { rule.keys(self.length) };
        (0..keys).step_by(tile).map(move |j| {
            let first = self.row + rule.seen_from(j);
            let [j, j_end, first, end] = [j, (j + tile).min(keys), first, self.row + self.length].map(|x| x as u32);
            [j, j_end, self.keys_at(rule), first, end, self.origin as u32, self.sequence, self.null_row as u32]
        })
    }
}

/// Sorts tiles of queries by their number of keys, largest first.
pub fn sort_queries(tiles: &mut [Tile]) {
    tiles.sort_by_key(|t| std::cmp::Reverse(t[3]));
}

/// Sorts tiles of keys by their number of queries, largest first.
pub fn sort_keys(tiles: &mut [Tile]) {
    tiles.sort_by_key(|t| std::cmp::Reverse(t[4] - t[3]));
}

/// The number of pairs of a query and a key that tiles of queries visit.
pub fn pairs(tiles: &[Tile]) -> f64 {
    tiles.iter().map(|t| f64::from(t[1] - t[0]) * f64::from(t[3])).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { row: 100, length: 130, t: 0, origin: 7, key_row: 40, null_row: 90, sequence: 3 };

    #[test]
    fn loops_over_a_long_sequence_stay_below_the_limit() {
        let software = Caps::table().into_iter().find(Caps::reads_images).expect("a CPU adapter");
        let of = |longest| tile_rows(&software, longest);
        assert_eq!([1, 1024, 16_256, 16_320, 16_384, 40_000].map(of), [256, 256, 256, 128, 128, 64]);
        assert_eq!(tile_rows(&Caps::webgpu_defaults(), 1024), 64);
    }

    #[test]
    fn turns_of_tiled_kernels_grow_with_the_rows_and_channels() {
        assert_eq!(tiled_turns(64, 64, [1, 1]), 16 + 4 + 1 + 40 + 6);
        assert_eq!(tiled_turns(6400, 64, [2, 2]), 100 * (2 * 21 + 80 + 6));
        assert!(tiled_turns(65_536, 32, [1, 1]) < tiled_turns(65_536, 128, [1, 1]));
    }

    #[test]
    fn seen_from_is_the_inverse_of_visible() {
        for rule in [Rule::CAUSAL, Rule::compressed(1), Rule::compressed(3), Rule { nulls: 2, factor: 5 }] {
            for length in 1..40 {
                assert_eq!(rule.visible(length - 1), rule.keys(length));
                for j in 0..rule.keys(length) {
                    let first = rule.seen_from(j);
                    assert!(rule.visible(first) > j && (first == 0 || rule.visible(first - 1) <= j), "{rule:?} {j}");
                }
            }
        }
    }

    #[test]
    fn a_tile_of_queries_has_the_keys_of_its_last_query() {
        let tiles: Vec<Tile> = RUN.query_tiles(Rule::CAUSAL, 64).collect();
        assert_eq!(tiles[0], [100, 164, 40, 64, 0, 7, 3, 90]);
        assert_eq!(tiles[2], [228, 230, 40, 130, 128, 7, 3, 90]);
        let tiles: Vec<Tile> = RUN.query_tiles(Rule::compressed(3), 64).collect();
        assert_eq!(tiles.iter().map(|t| t[3]).collect::<Vec<_>>(), [22, 43, 44]);
        assert_eq!(tiles[1][2], 39, "the null key comes before the first slot");
        let short = Run { length: 2, t: 5, ..RUN };
        assert_eq!(short.query_tiles(Rule::compressed(3), 64).collect::<Vec<_>>(), [[100, 102, 39, 3, 5, 7, 3, 90]]);
    }

    #[test]
    fn a_tile_of_keys_begins_at_the_first_query_that_sees_it() {
        let tiles: Vec<Tile> = RUN.key_tiles(Rule::CAUSAL, 64).collect();
        assert_eq!(
            tiles.iter().map(|t| [t[0], t[1], t[3], t[4]]).collect::<Vec<_>>(),
            [[0, 64, 100, 230], [64, 128, 164, 230], [128, 130, 228, 230]]
        );
        let tiles: Vec<Tile> = Run { length: 400, ..RUN }.key_tiles(Rule::compressed(3), 64).collect();
        assert_eq!(
            tiles.iter().map(|t| [t[0], t[1], t[3], t[4]]).collect::<Vec<_>>(),
            [[0, 64, 100, 500], [64, 128, 100 + 191, 500], [128, 134, 100 + 383, 500]]
        );
        assert_eq!(Run { length: 0, ..RUN }.key_tiles(Rule::compressed(3), 64).count(), 0);
    }
}
