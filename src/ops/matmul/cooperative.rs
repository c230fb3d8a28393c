//! Products on matrix units: operands narrowed to f16 on the way, sums in f32 (`precision = mixed`).

use super::half::Halves;
use super::parts::{Group, Store};
use crate::gpu::{Caps, Variant};
use crate::ops::form::Form;
use crate::ops::row_access::RowAccess;

const SOURCE: &str = include_str!("../../../shaders/matmul/cooperative.wgsl");

/// Values of k in a step.
const DEPTH: u32 = 32;

/// The tile of C that a group computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of a group.
    pub m: u32,
    /// Columns of a group.
    pub n: u32,
    /// Rows and columns of a subgroup.
    pub sub: u32,
}

impl Tile {
    /// Invocations a group.
    fn group(self) -> u32 {
        self.m / self.sub * (self.n / self.sub) * 32
    }

    /// What a group computes.
    pub fn group_of(self) -> Group {
        Group { m: self.m, n: self.n, depth: DEPTH }
    }

    fn workgroup_bytes(self) -> u32 {
        // Rows of 80 bytes, 16 rows with 16 more; a fragment of each subgroup.
        (self.m + self.n) / 16 * 1296 + self.group() * 32
    }

    /// Whether an adapter can run it.
    pub fn runs(self, caps: &Caps) -> bool {
        TILES.contains(&self)
            && caps.multiplies_halves()
            && self.group() <= caps.max_workgroup_size
            && self.workgroup_bytes() <= caps.max_workgroup_bytes
    }
}

/// The most work for each load.
const LARGE: Tile = Tile { m: 256, n: 128, sub: 64 };
/// Half as much, for products that LARGE would cut into too few groups.
const MIDDLE: Tile = Tile { m: 128, n: 128, sub: 64 };
/// For products that are too small to fill a GPU with larger tiles.
const SMALL: Tile = Tile { m: 64, n: 64, sub: 32 };
const TILES: [Tile; 3] = [LARGE, MIDDLE, SMALL];

/// Every tile that an adapter can run.
pub(super) fn tiles(caps: &Caps) -> Vec<Tile> {
    TILES.into_iter().filter(|tile| tile.runs(caps)).collect()
}

/// The tile and the number of parts for C [M, N] of depth K on an adapter, with a workspace of `workspace` words; `None` if
/// none runs on it.
pub(super) fn choose(caps: &Caps, sizes: [usize; 3], workspace: usize) -> Option<(Tile, u32)> {
    let [m, n, k] = sizes;
    // Of the largest tile with at least this many groups of a depth of at least 512.
    let fills = |tile: &Tile, groups| tile.group_of().count(m, n) * (k / 512).max(1) >= groups;
    let parts = |tile: Tile, groups, least_k| (tile, tile.group_of().parts(sizes, groups, least_k, workspace) as u32);
    match tiles(caps) {
        all if all.contains(&LARGE) && fills(&LARGE, 264) => Some(parts(LARGE, 792, 2048)),
        all if all.contains(&MIDDLE) && fills(&MIDDLE, 96) => Some(parts(MIDDLE, 528, 1024)),
        all if all.contains(&SMALL) => Some(parts(SMALL, 256, 128)),
        _ => None,
    }
}

/// The variant of a tile.
pub(super) fn variant(tile: Tile, halves: Halves, form: Form, store: Store, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: tile.group() }
        .apply(Variant::trusted("matmul_cooperative", SOURCE))
        .constant("TILE_M", tile.m)
        .constant("TILE_N", tile.n)
        .constant("SUB", tile.sub)
        .constant("A_TRANSPOSED", (form == Form::AtB).into())
        .constant("B_TRANSPOSED", (form == Form::ABt).into())
        .constant("A_HALF", halves.a.into())
        .constant("B_HALF", halves.b.into())
        .constant("ACCUMULATE", (store == Store::Add).into())
        .constant("PARTIAL", (store == Store::Part).into())
        .import("epilogue", epilogue)
}
