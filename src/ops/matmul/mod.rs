//! C = A·B, A·Bᵀ or Aᵀ·B for any M, N, K ≥ 1, with bias, GELU, a residual, or added to what C holds.
//!
//! Four files: `tiled` (every GPU: register tiles over workgroup memory), `cooperative` (matrix units, for mixed precision),
//! `image` and `image_at` (CPU adapters: A·B and A·Bᵀ, Aᵀ·B). For a few rows GPUs take a kernel of [`matvec`].

mod cooperative;
mod few_rows;
mod half;
mod image;
mod parts;
mod product;
mod tiled;

use super::matvec;
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::gpu::{Caps, Matrix, Recorder, Variant};
use crate::{Error, Result, dims};
use parts::Store;
use product::Sizes;

pub use super::form::Form;
pub use half::Halves;
pub use product::{Epilogue, Matmul, Side};
pub use tiled::{Tile, workspace_words};

/// Which shader file, with which constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// Register tiles over workgroup memory.
    Tiled {
        /// Rows of C a group.
        tile_m: u32,
        /// Columns of C a group.
        #[serde(default = "columns_before")]
        tile_n: u32,
        /// Rows of C an invocation, which computes 8 columns.
        #[serde(default = "rows_before")]
        rows: u32,
        /// Parts that K is divided into, each a product of its own; they are added up in order.
        #[serde(default = "parts_before")]
        parts: u32,
    },
    /// Operands narrowed to f16 and multiplied on matrix units, for mixed precision.
    Cooperative {
        /// Rows of C a group.
        tile_m: u32,
        /// Columns of C a group.
        tile_n: u32,
        /// Rows and columns of C a subgroup.
        sub: u32,
        /// Parts that K is divided into, as in `Tiled`.
        parts: u32,
        /// Operands that are read as copies in f16.
        #[serde(default)]
        halves: Halves,
    },
    /// For a few rows: the kernel of [`matvec`], which divides K over a group.
    Rows,
    /// Operands read as images, for CPU adapters.
    Image,
}

// What a tile had before these numbers were written down in kernels.json.
fn columns_before() -> u32 {
    64
}

fn rows_before() -> u32 {
    4
}

fn parts_before() -> u32 {
    1
}

impl Spec {
    fn tiled(Tile { m, n, rows }: Tile, parts: u32) -> Self {
        Spec::Tiled { tile_m: m, tile_n: n, rows, parts }
    }

    /// Parts that K is divided into.
    pub fn parts(self) -> u32 {
        match self {
            Spec::Tiled { parts, .. } | Spec::Cooperative { parts, .. } => parts,
            Spec::Rows | Spec::Image => 1,
        }
    }

    /// Whether its parts of K fit into a workspace of `workspace` words. kernels.json may have any number of them.
    pub fn fits(self, [m, n, _]: [usize; 3], workspace: usize) -> bool {
        let words = parts::words(m, n).checked_mul(self.parts() as usize);
        self.parts() <= 1 || words.is_some_and(|words| words <= workspace)
    }

    fn cooperative(cooperative::Tile { m, n, sub }: cooperative::Tile, parts: u32, halves: Halves) -> Self {
        Spec::Cooperative { tile_m: m, tile_n: n, sub, parts, halves }
    }

    /// The operands that it reads as copies in f16.
    pub fn halves(self) -> Halves {
        if let Spec::Cooperative { halves, .. } = self { halves } else { Halves::default() }
    }

    /// The same with operands in f32.
    pub fn without_halves(self) -> Self {
        match self {
            Spec::Cooperative { tile_m, tile_n, sub, parts, .. } => {
                Spec::Cooperative { tile_m, tile_n, sub, parts, halves: Halves::default() }
            }
            other => other,
        }
    }

    /// Whether an adapter can run it for this form.
    pub fn runs(self, caps: &Caps, form: Form) -> bool {
        match self {
            Spec::Tiled { tile_m: m, tile_n: n, rows, parts } => parts > 0 && Tile { m, n, rows }.runs(caps),
            Spec::Cooperative { tile_m: m, tile_n: n, sub, parts, halves } => {
                parts > 0 && cooperative::Tile { m, n, sub }.runs(caps) && Halves::all(form).contains(&halves)
            }
            Spec::Rows => form != Form::AtB,
            Spec::Image => caps.reads_images(),
        }
    }
}

/// M, N and K of a product, from the shapes of its operands.
pub fn sizes(form: Form, a: &Matrix, b: &Matrix) -> [usize; 3] {
    let (m, k) = if form == Form::AtB { (a.columns, a.rows) } else { (a.rows, a.columns) };
    [m, if form == Form::ABt { b.rows } else { b.columns }, k]
}

/// Chooses the Spec of a product: `image` where the adapter reads images fast and the operands fit into textures, `rows` for
/// M ≤ 4, else `tiled`. (The rows of B in A·B and A·Bᵀ, and those of C in Aᵀ·B, are cut into ranges that fit, because token
/// tables have more rows than a texture.) `sizes`: M, N and K, as [`sizes`] computes them; `workspace`: words of
/// [`Matmul::parts`], 0 without it.
pub fn choose(caps: &Caps, form: Form, sizes: [usize; 3], workspace: usize) -> Spec {
    let [m, n, k] = sizes;
    let ((a_rows, a_columns), (b_rows, b_columns)) = match form {
        Form::AB => ((m, k), (k, n)),
        Form::ABt => ((m, k), (n, k)),
        Form::AtB => ((k, m), (k, n)),
    };
    let side = caps.max_texture as usize;
    let fits = |rows: usize, columns: usize| rows <= side && dims::pitch(columns) / 4 <= side;
    // A range has RANGE rows at least.
    let range = image::RANGE;
    let (b_rows, c_rows) = if form == Form::AtB { (b_rows, m.min(range)) } else { (b_rows.min(range), 1) };
    if caps.reads_images() && fits(a_rows, a_columns) && fits(b_rows.max(c_rows), b_columns) {
        Spec::Image
    } else if form != Form::AtB && m <= matvec::MOST_ROWS {
        Spec::Rows
    } else {
        let (tile, parts) = tiled::choose(caps, sizes, workspace);
        Spec::tiled(tile, parts)
    }
}

/// As [`choose`], for mixed precision: matrix units where the adapter has them, for all but a few rows, with copies in f16 of
/// the operands that are worth one.
pub fn choose_mixed(caps: &Caps, form: Form, sizes: [usize; 3], workspace: usize) -> Spec {
    let exact = choose(caps, form, sizes, workspace);
    match cooperative::choose(caps, sizes, workspace) {
        Some((tile, parts)) if exact != Spec::Rows => Spec::cooperative(tile, parts, Halves::choose(form, sizes)),
        _ => exact,
    }
}

/// Every Spec that an adapter can run for this form, with the tiles in one part and in three.
pub fn specs(caps: &Caps, form: Form) -> Vec<Spec> {
    let mut all = Vec::new();
    for parts in [1, 3] {
        all.extend(tiled::tiles(caps).into_iter().map(|tile| Spec::tiled(tile, parts)));
        for halves in Halves::all(form) {
            all.extend(cooperative::tiles(caps).into_iter().map(|tile| Spec::cooperative(tile, parts, halves)));
        }
    }
    all.extend([Spec::Rows, Spec::Image].into_iter().filter(|spec| spec.runs(caps, form)));
    all
}

const EPILOGUES: [&str; 5] =
    ["epilogue_none", "epilogue_bias", "epilogue_bias_gelu", "epilogue_gelu_backward", "epilogue_residual"];

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let mut all = Vec::new();
    all.extend(caps.multiplies_halves().then(half::variant));
    for form in [Form::AB, Form::ABt, Form::AtB] {
        for epilogue in EPILOGUES {
            let plain = epilogue == EPILOGUES[0];
            if !plain && form == Form::AtB {
                continue;
            }
            let stores: &[Store] = if plain { &[Store::Write, Store::Add, Store::Part] } else { &[Store::Write] };
            for store in stores {
                let looped = caps.compiles_with_fxc();
                let tiles = tiled::tiles(caps).into_iter();
                all.extend(tiles.map(|tile| tiled::variant(tile, looped, form, *store, epilogue)));
                for halves in Halves::all(form) {
                    let tiles = cooperative::tiles(caps).into_iter();
                    all.extend(tiles.map(|tile| cooperative::variant(tile, halves, form, *store, epilogue)));
                }
            }
            for add in if plain { &[false, true][..] } else { &[false] } {
                all.push(parts::sum_variant(*add, epilogue));
                if form != Form::AtB {
                    all.extend(matvec::plain_variants(form, *add, epilogue));
                }
            }
            // Only `image` has several passes, the last of which adds to C and has an epilogue.
            for add in if caps.reads_images() { &[false, true][..] } else { &[] } {
                all.push(match form {
                    Form::AtB => image::variant_at(*add),
                    _ => image::variant(form == Form::ABt, *add, epilogue),
                });
            }
        }
    }
    all
}

/// Records a product.
///
/// # Errors
/// [`Error::Kernel`] when shapes do not match.
pub fn matmul(recorder: &mut Recorder<StepValues>, spec: Spec, call: &Matmul) -> Result<()> {
    let (a, b, c) = (call.a, call.b, call.c);
    let [m, n, k] = sizes(call.form, a, b);
    let b_k = if call.form == Form::ABt { b.columns } else { b.rows };
    if k != b_k || c.rows < m || c.columns != n {
        let found = format!(
            "`{}` [{}, {}] · `{}` [{}, {}] = `{}` [{}, {}]",
            a.view.name, a.rows, a.columns, b.view.name, b.rows, b.columns, c.view.name, c.rows, c.columns
        );
        return Err(Error::kernel("matmul", found).expected(format!("expected shapes of the form {:?}", call.form)));
    }
    if call.accumulate && !matches!(call.epilogue, Epilogue::None) {
        return Err(Error::kernel("matmul", "C += with an epilogue").expected("expected none"));
    }
    if call.form == Form::AtB && !matches!(call.epilogue, Epilogue::None) {
        // Which pass over K is the last is known only when encoding, and by then its variant is chosen.
        let expected = "expected none, because its K is the number of live rows";
        return Err(Error::kernel("matmul", "Aᵀ·B with an epilogue").expected(expected));
    }
    let sizes = Sizes { m: m as u32, n: n as u32, k: k as u32 };
    let rows = call.rows.at(recorder.capacity());
    let (c_rows, b_rows) = if call.form == Form::AtB { (sizes.m, rows) } else { (rows, b.rows as u32) };
    let mut all = vec![
        MatrixNeed { matrix: a, rows, columns: a.columns },
        MatrixNeed { matrix: b, rows: b_rows, columns: b.columns },
        MatrixNeed { matrix: c, rows: c_rows, columns: n },
    ];
    let mut lists = Vec::new();
    match &call.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => lists.push(ListNeed { list: bias, words: n }),
        Epilogue::BiasGelu { bias, pre } => {
            lists.push(ListNeed { list: bias, words: n });
            all.push(MatrixNeed { matrix: pre, rows: c_rows, columns: n });
        }
        Epilogue::GeluBackward(x) | Epilogue::Residual(x) => {
            all.push(MatrixNeed { matrix: x, rows: c_rows, columns: n });
        }
    }
    if let Some(parts) = call.parts.filter(|_| spec.parts() > 1) {
        let words = spec.parts() as usize * c_rows as usize * dims::pitch(n);
        lists.push(ListNeed { list: parts, words });
    }
    check_shapes("matmul", &all, &lists)?;
    match spec {
        Spec::Image if call.form == Form::AtB => image::record_at(recorder, call, sizes),
        Spec::Image => image::record(recorder, call, sizes),
        Spec::Tiled { tile_m: m, tile_n: n, rows, parts } => {
            let tile = Tile { m, n, rows };
            let looped = recorder.device().caps().compiles_with_fxc();
            let variant = |store, epilogue| tiled::variant(tile, looped, call.form, store, epilogue);
            parts::record(recorder, call, sizes, (tile.group_of(), parts, Halves::default()), variant)
        }
        Spec::Cooperative { tile_m: m, tile_n: n, sub, parts, halves } => {
            let tile = cooperative::Tile { m, n, sub };
            let variant = |store, epilogue| cooperative::variant(tile, halves, call.form, store, epilogue);
            parts::record(recorder, call, sizes, (tile.group_of(), parts, halves), variant)
        }
        Spec::Rows => few_rows::record(recorder, call, sizes),
    }
}
