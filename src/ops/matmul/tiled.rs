//! Products on GPUs in f32: register tiles over workgroup memory.

use super::parts::{Group, MOST_WORDS, Store, words};
use crate::gpu::{Caps, Variant};
use crate::ops::form::Form;
use crate::ops::row_access::RowAccess;

const TILED: &str = include_str!("../../../shaders/matmul/tiled.wgsl");

/// Values of k in a step.
const DEPTH: u32 = 16;

/// The tile of C that a group computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Tile {
    /// Rows of a group.
    pub m: u32,
    /// Columns of a group.
    pub n: u32,
    /// Rows of an invocation, which has 8 columns.
    pub rows: u32,
}

impl Tile {
    const fn new(m: u32, n: u32, rows: u32) -> Self {
        Tile { m, n, rows }
    }

    /// Invocations a group.
    pub fn group(self) -> u32 {
        self.m * self.n / (8 * self.rows)
    }

    /// What a group computes.
    pub(super) fn group_of(self) -> Group {
        Group { m: self.m, n: self.n, depth: DEPTH }
    }

    fn workgroup_bytes(self) -> u32 {
        DEPTH * (self.m / 4 + self.n / 4 + 2) * 16
    }

    /// Whether an adapter can run it.
    pub fn runs(self, caps: &Caps) -> bool {
        TILES.contains(&self)
            && self.group() <= caps.max_workgroup_size
            && self.workgroup_bytes() <= caps.max_workgroup_bytes
    }
}

/// For products that are too small to fill a GPU with larger tiles.
const SMALL: Tile = Tile::new(64, 64, 4);
/// The most work for each load: 64 sums an invocation, for compilers with at least 128 registers an invocation at full speed.
/// (128×128 in groups of 256 is slower on an H200: docs/rejected.md.)
const WIDE: Tile = Tile::new(128, 64, 8);
/// As many elements with half as many sums an invocation.
const TALL: Tile = Tile::new(128, 64, 4);
const TILES: [Tile; 3] = [SMALL, WIDE, TALL];

/// Every tile that an adapter can run.
pub(super) fn tiles(caps: &Caps) -> Vec<Tile> {
    TILES.into_iter().filter(|tile| tile.runs(caps)).collect()
}

/// The tile and the number of parts for C [M, N] of depth K, where `large` is the tile for large products, with a workspace of
/// `workspace` words.
///
/// Measured on an H200 of 132 processors (docs/performance.md): parts pay until there are about four groups a processor, and
/// with a long K until there are a dozen, so that the last groups to finish are a small share of all.
fn choose_with(large: Tile, [m, n, k]: [usize; 3], workspace: usize) -> (Tile, usize) {
    let parts = |tile: Tile, groups, least_k| tile.group_of().parts([m, n, k], groups, least_k, workspace);
    if large.group_of().count(m, n) * (k / 512).max(1) < 96 {
        return (SMALL, parts(SMALL, 256, 128));
    }
    (large, parts(large, 528, 384).max(parts(large, 1536, 1024)))
}

/// The tile and the number of parts for C [M, N] of depth K on an adapter, with a workspace of `workspace` words.
pub(super) fn choose(caps: &Caps, sizes: [usize; 3], workspace: usize) -> (Tile, u32) {
    // The compilers of Apple and Intel have no registers for 64 sums an invocation.
    let few_registers = caps.backend == "metal" || ["Apple", "Intel"].iter().any(|name| caps.name.contains(name));
    let (tile, parts) = choose_with(if few_registers { TALL } else { WIDE }, sizes, workspace);
    (tile, parts as u32)
}

/// Words of workspace that a product of these sizes [M, N, K] uses on any adapter.
pub fn workspace_words(sizes: [usize; 3]) -> usize {
    let [m, n, _] = sizes;
    // Tiles for large products are equal in size.
    match choose_with(WIDE, sizes, MOST_WORDS).1 {
        1 => 0,
        parts => parts * words(m, n),
    }
}

/// The variant of a tile. The 16 values of k of a step are written out, or `looped` for FXC, which compiles that in half the time.
pub(super) fn variant(tile: Tile, looped: bool, form: Form, store: Store, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: tile.group() }
        .apply(Variant::trusted("matmul_tiled", TILED))
        .constant("TILE_M", tile.m)
        .constant("TILE_N", tile.n)
        .constant("ROWS", tile.rows)
        .constant("A_TRANSPOSED", (form == Form::AtB).into())
        .constant("B_TRANSPOSED", (form == Form::ABt).into())
        .constant("ACCUMULATE", (store == Store::Add).into())
        .constant("PARTIAL", (store == Store::Part).into())
        .constant("LOOP", looped.into())
        .import("epilogue", epilogue)
}
