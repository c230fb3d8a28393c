//! Products on GPUs: register tiles over workgroup memory, and K divided into parts where tiles alone are too few groups for a
//! GPU's processors.

use super::product::{Matmul, Sizes};
use crate::gpu::{Bind, Caps, Launch, Recorder, Variant};
use crate::ops::form::Form;
use crate::ops::grid::grid_of;
use crate::ops::row_access::RowAccess;
use crate::ops::rows::RowCount;
use crate::ops::values::StepValues;
use crate::{Result, dims};

const TILED: &str = include_str!("../../../shaders/matmul/tiled.wgsl");
const SUM: &str = include_str!("../../../shaders/matmul/sum.wgsl");

/// Values of k in a step.
const DEPTH: u32 = 16;
/// Invocations a group of the sum of parts.
const SUM_GROUP: u32 = 64;

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

    /// Groups of one part of K of C [M, N].
    fn groups(self, m: usize, n: usize) -> usize {
        m.div_ceil(self.m as usize) * dims::pitch(n).div_ceil(self.n as usize)
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

/// Most words of the workspace for parts: 64 MiB.
const MOST_WORDS: usize = 16 << 20;

/// Words of one part of C [M, N].
fn words(m: usize, n: usize) -> usize {
    m * dims::pitch(n)
}

/// The tile and the number of parts for C [M, N] of depth K, where `large` is the tile for large products, with a workspace of
/// `workspace` words.
///
/// Measured on an H200 of 132 processors (docs/performance.md): parts pay until there are about four groups a processor, and
/// with a long K until there are a dozen, so that the last groups to finish are a small share of all.
fn choose_with(large: Tile, [m, n, k]: [usize; 3], workspace: usize) -> (Tile, usize) {
    let most = (workspace.min(MOST_WORDS) / words(m, n).max(1)).max(1);
    let parts = |tile: Tile, groups: usize, least_k: usize| {
        groups.div_ceil(tile.groups(m, n).max(1)).min(k / least_k).clamp(1, most)
    };
    if large.groups(m, n) * (k / 512).max(1) < 96 {
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

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    k: u32,
    packs: u32,
    a_quads: u32,
    b_quads: u32,
    b_rows: u32,
    part_k: u32,
    part_packs: u32,
    columns_first: u32,
    pad: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct SumParams {
    parts: u32,
    part_packs: u32,
    packs: u32,
    live_packs: u32,
}

/// What a group does with its tile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    /// C =, behind the epilogue.
    Write,
    /// C +=
    Add,
    /// Writes the product of a part of K.
    Part,
}

fn tiled_variant(tile: Tile, form: Form, store: Store, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: tile.group() }
        .apply(Variant::trusted("matmul_tiled", TILED))
        .constant("TILE_M", tile.m)
        .constant("TILE_N", tile.n)
        .constant("ROWS", tile.rows)
        .constant("A_TRANSPOSED", (form == Form::AtB).into())
        .constant("B_TRANSPOSED", (form == Form::ABt).into())
        .constant("ACCUMULATE", (store == Store::Add).into())
        .constant("PARTIAL", (store == Store::Part).into())
        .import("epilogue", epilogue)
}

fn sum_variant(accumulate: bool, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: SUM_GROUP }
        .apply(Variant::trusted("matmul_sum", SUM))
        .constant("ACCUMULATE", accumulate.into())
        .import("epilogue", epilogue)
}

/// The variants of a tile for one form, epilogue and store.
pub(super) fn variants(tile: Tile, form: Form, accumulate: bool, epilogue: &'static str) -> Vec<Variant> {
    let store = if accumulate { Store::Add } else { Store::Write };
    let mut all = vec![tiled_variant(tile, form, store, epilogue), sum_variant(accumulate, epilogue)];
    if !accumulate && epilogue == "epilogue_none" {
        all.push(tiled_variant(tile, form, Store::Part, epilogue));
    }
    all
}

/// Records a product in `parts` parts of K.
///
/// # Errors
/// As [`super::matmul`].
pub(super) fn record(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes, tile: Tile, parts: u32) -> Result<()> {
    let epilogue = call.epilogue.file();
    let parts = if call.parts.is_some() { parts } else { 1 };
    let launch = Launches::new(rec, call, s, tile, parts);
    let Some(workspace) = call.parts.filter(|_| parts > 1) else {
        let store = if call.accumulate { Store::Add } else { Store::Write };
        let variant = tiled_variant(tile, call.form, store, epilogue);
        return rec.dispatch(&variant, &call.binds(), move |values| launch.tiles(values));
    };
    let workspace = &workspace.part(0, parts as usize * launch.part_packs as usize * 8);
    let variant = tiled_variant(tile, call.form, Store::Part, "epilogue_none");
    let binds = [Bind::Read(&call.a.view), Bind::Read(&call.b.view), Bind::Write(workspace)];
    rec.dispatch(&variant, &binds, move |values| launch.tiles(values))?;
    let mut binds = vec![Bind::Read(workspace), call.output()];
    call.epilogue_binds(&mut binds);
    rec.dispatch(&sum_variant(call.accumulate, epilogue), &binds, move |values| launch.sum(values))
}

/// Computes the launches of a product.
#[derive(Clone, Copy)]
struct Launches {
    form: Form,
    rows: RowCount,
    sizes: Sizes,
    tile: Tile,
    parts: u32,
    packs: u32,
    part_packs: u32,
    a_quads: u32,
    b_quads: u32,
}

impl Launches {
    fn new(rec: &Recorder<StepValues>, call: &Matmul, sizes: Sizes, tile: Tile, parts: u32) -> Self {
        let packs = dims::pitch(call.c.columns) as u32 / 8;
        let m = if call.form == Form::AtB { sizes.m } else { call.rows.at(rec.capacity()) };
        let (a_quads, b_quads) = (call.a.pitch() as u32 / 4, call.b.pitch() as u32 / 4);
        let (form, rows, part_packs) = (call.form, call.rows, m * packs);
        Launches { form, rows, sizes, tile, parts, packs, part_packs, a_quads, b_quads }
    }

    /// M and K of these values.
    fn live(&self, values: &StepValues) -> (u32, u32) {
        let rows = self.rows.at(values);
        if self.form == Form::AtB { (self.sizes.m, rows) } else { (rows, self.sizes.k) }
    }

    /// Values of k in a part, and the parts that have any.
    fn division(&self, k: u32) -> (u32, u32) {
        let part_k = k.div_ceil(self.parts).next_multiple_of(DEPTH).max(DEPTH);
        (part_k, k.div_ceil(part_k))
    }

    fn tiles(&self, values: &StepValues) -> Launch {
        let (m, k) = self.live(values);
        let (part_k, live_parts) = self.division(k);
        // Without parts, the groups write C even if there is nothing to add up.
        let parts = if self.parts > 1 { live_parts } else { 1 };
        let grid = [self.packs.div_ceil(self.tile.n / 8), m.div_ceil(self.tile.m)];
        // Neighboring groups share rows of the larger operand, and the smaller one stays in the cache.
        let columns_first = m > self.sizes.n;
        let [x, y] = if columns_first { grid } else { [grid[1], grid[0]] };
        let params = Params {
            m,
            k,
            packs: self.packs,
            a_quads: self.a_quads,
            b_quads: self.b_quads,
            b_rows: if self.form == Form::ABt { self.sizes.n } else { k },
            part_k,
            part_packs: self.part_packs,
            columns_first: columns_first.into(),
            pad: [0; 3],
        };
        Launch::new(params, [x, y, parts]).flops(self.sizes.flops(self.form, self.rows.at(values)))
    }

    fn sum(&self, values: &StepValues) -> Launch {
        let (m, k) = self.live(values);
        let (packs, part_packs, live_packs) = (self.packs, self.part_packs, m * self.packs);
        let params = SumParams { parts: self.division(k).1, part_packs, packs, live_packs };
        Launch::new(params, grid_of(live_packs.div_ceil(SUM_GROUP)))
    }
}
