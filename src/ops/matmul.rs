//! C = A·B, A·Bᵀ or Aᵀ·B for any M, N, K ≥ 1, with bias, GELU, a residual, or added to what C holds.
//!
//! Three files: `tiled` (every GPU: register tiles over workgroup memory), `image` and `image_at` (CPU adapters: A·B and A·Bᵀ,
//! Aᵀ·B). For a few rows GPUs take a kernel of [`matvec`].

use super::matvec;
use super::row_access::RowAccess;
use super::rows::RowCount;
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result, dims};

pub use super::form::Form;

/// What a product does to each sum before it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// C = sum
    None,
    /// C = sum + bias `[N]`
    Bias(&'a View),
    /// pre [M, N] = sum + bias `[N]`, C = GELU(pre)
    BiasGelu {
        /// `[N]`
        bias: &'a View,
        /// Out: the sum with bias, before GELU [M, N].
        pre: &'a Matrix,
    },
    /// C = sum ∘ GELU'(pre [M, N])
    GeluBackward(&'a Matrix),
    /// C = sum + residual [M, N]
    Residual(&'a Matrix),
}

impl<'a> Epilogue<'a> {
    /// The matrix [M, N] that it reads or writes besides C.
    pub fn matrix(&self) -> Option<&'a Matrix> {
        match self {
            Epilogue::None | Epilogue::Bias(_) => None,
            Epilogue::BiasGelu { pre: m, .. } | Epilogue::GeluBackward(m) | Epilogue::Residual(m) => Some(m),
        }
    }

    /// The same with another matrix.
    pub fn with<'b>(&self, m: &'b Matrix) -> Epilogue<'b>
    where
        'a: 'b,
    {
        match *self {
            Epilogue::None => Epilogue::None,
            Epilogue::Bias(bias) => Epilogue::Bias(bias),
            Epilogue::BiasGelu { bias, .. } => Epilogue::BiasGelu { bias, pre: m },
            Epilogue::GeluBackward(_) => Epilogue::GeluBackward(m),
            Epilogue::Residual(_) => Epilogue::Residual(m),
        }
    }

    fn file(&self) -> &'static str {
        match self {
            Epilogue::None => "epilogue_none",
            Epilogue::Bias(_) => "epilogue_bias",
            Epilogue::BiasGelu { .. } => "epilogue_bias_gelu",
            Epilogue::GeluBackward(_) => "epilogue_gelu_backward",
            Epilogue::Residual(_) => "epilogue_residual",
        }
    }
}

/// Operands of a product.
pub struct Matmul<'a> {
    /// Which operand is transposed.
    pub form: Form,
    /// A
    pub a: &'a Matrix,
    /// B
    pub b: &'a Matrix,
    /// C
    pub c: &'a Matrix,
    /// The number of live rows: M of A·B and A·Bᵀ, K of Aᵀ·B.
    pub rows: RowCount,
    /// What is done to each sum.
    pub epilogue: Epilogue<'a>,
    /// C += instead of C =. Takes no epilogue.
    pub accumulate: bool,
}

/// Which shader file, with which constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// Register tiles of 4×8 an invocation over workgroup memory: `tile_m` × 64 × 16 a group of `2·tile_m` invocations.
    Tiled {
        /// Rows of C a group: 64 or 128.
        tile_m: u32,
    },
    /// For a few rows: the kernel of [`matvec`], which divides K over a group.
    Rows,
    /// Operands read as images, for CPU adapters.
    Image,
}

/// Chooses the Spec of a product: `image` where the adapter reads images fast and the operands fit into textures, `rows` for
/// M ≤ 4, else `tiled`. (The rows of B in A·B and A·Bᵀ, and those of C in Aᵀ·B, are cut into ranges that fit, because token
/// tables have more rows than a texture.)
pub fn choose(caps: &Caps, form: Form, a: &Matrix, b: &Matrix) -> Spec {
    let side = caps.max_texture as usize;
    let fits = |rows: usize, columns: usize| rows <= side && dims::pitch(columns) / 4 <= side;
    // A range has RANGE rows at least.
    let (b_rows, c_rows) = if form == Form::AtB { (b.rows, a.columns.min(RANGE)) } else { (b.rows.min(RANGE), 1) };
    if caps.reads_images() && fits(a.rows, a.columns) && fits(b_rows.max(c_rows), b.columns) {
        Spec::Image
    } else if form != Form::AtB && a.rows <= matvec::MOST_ROWS {
        Spec::Rows
    } else if caps.max_workgroup_bytes >= 24 << 10 && a.rows >= 512 {
        Spec::Tiled { tile_m: 128 }
    } else {
        Spec::Tiled { tile_m: 64 }
    }
}

/// Every Spec that an adapter can run for this form.
pub fn specs(caps: &Caps, form: Form) -> Vec<Spec> {
    let mut all = vec![Spec::Tiled { tile_m: 64 }, Spec::Tiled { tile_m: 128 }];
    all.extend((form != Form::AtB).then_some(Spec::Rows));
    all.extend(caps.reads_images().then_some(Spec::Image));
    all
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ImageParams {
    m: u32,
    texel: u32,
    rows_a_group: u32,
    packs: u32,
    first_pack: u32,
    b_row: u32,
    pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ImageAtParams {
    m: u32,
    k0: u32,
    depth: u32,
    rows_a_group: u32,
    packs: u32,
    a_texel: u32,
    pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct TiledParams {
    m: u32,
    k: u32,
    packs: u32,
    a_quads: u32,
    b_quads: u32,
    b_rows: u32,
    pad: [u32; 2],
}

const IMAGE: &str = include_str!("../../shaders/matmul/image.wgsl");
const IMAGE_AT: &str = include_str!("../../shaders/matmul/image_at.wgsl");
const TILED: &str = include_str!("../../shaders/matmul/tiled.wgsl");

fn image_variant(transposed: bool, add: bool, epilogue: &'static str) -> Variant {
    RowAccess::Image
        .apply(Variant::trusted("matmul_image", IMAGE))
        .constant("TRANSPOSED", transposed.into())
        .constant("ADD", add.into())
        .import("epilogue", epilogue)
}

fn image_at_variant(add: bool) -> Variant {
    RowAccess::Image.apply(Variant::trusted("matmul_image_at", IMAGE_AT)).constant("ADD", add.into())
}

fn tiled_variant(tile_m: u32, form: Form, accumulate: bool, epilogue: &'static str) -> Variant {
    RowAccess::Buffer { group: tile_m * 2 }
        .apply(Variant::trusted("matmul_tiled", TILED))
        .constant("TILE_M", tile_m)
        .constant("A_TRANSPOSED", (form == Form::AtB).into())
        .constant("B_TRANSPOSED", (form == Form::ABt).into())
        .constant("ACCUMULATE", accumulate.into())
        .import("epilogue", epilogue)
}

const EPILOGUES: [&str; 5] =
    ["epilogue_none", "epilogue_bias", "epilogue_bias_gelu", "epilogue_gelu_backward", "epilogue_residual"];

/// Every variant that an adapter can run.
pub fn variants(caps: &Caps) -> Vec<Variant> {
    let mut all = Vec::new();
    for form in [Form::AB, Form::ABt, Form::AtB] {
        for spec in specs(caps, form) {
            for epilogue in EPILOGUES {
                for add in [false, true] {
                    // Only `image` has several passes, the last of which adds to C and has an epilogue.
                    let plain = epilogue == EPILOGUES[0];
                    if !plain && (form == Form::AtB || (add && spec != Spec::Image)) {
                        continue;
                    }
                    all.push(match spec {
                        Spec::Tiled { tile_m } if tile_m * 2 > caps.max_workgroup_size => continue,
                        Spec::Tiled { tile_m } => tiled_variant(tile_m, form, add, epilogue),
                        Spec::Rows => {
                            all.extend(matvec::plain_variants(form, add, epilogue));
                            continue;
                        }
                        Spec::Image if form == Form::AtB => image_at_variant(add),
                        Spec::Image => image_variant(form == Form::ABt, add, epilogue),
                    });
                }
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
    let (m, k) = if call.form == Form::AtB { (a.columns, a.rows) } else { (a.rows, a.columns) };
    let (n, b_k) = if call.form == Form::ABt { (b.rows, b.columns) } else { (b.columns, b.rows) };
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
    let mut all = vec![(a, rows, a.columns), (b, b_rows, b.columns), (c, c_rows, n)];
    let mut lists = Vec::new();
    match &call.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => lists.push((*bias, n)),
        Epilogue::BiasGelu { bias, pre } => {
            lists.push((*bias, n));
            all.push((*pre, c_rows, n));
        }
        Epilogue::GeluBackward(x) | Epilogue::Residual(x) => all.push((*x, c_rows, n)),
    }
    check_shapes("matmul", &all, &lists)?;
    match spec {
        Spec::Image if call.form == Form::AtB => image_at(recorder, call, sizes),
        Spec::Image => image(recorder, call, sizes),
        Spec::Tiled { tile_m } => {
            let variant = tiled_variant(tile_m, call.form, call.accumulate, call.epilogue.file());
            // Rows first: groups that share a panel of B run together.
            let grid = move |m: u32, packs| [m.div_ceil(tile_m), packs / 8, 1];
            from_buffers(recorder, call, sizes, &variant, grid)
        }
        Spec::Rows => {
            let tile = matvec::Tile::of(call.form, a.rows, n, k);
            let variant = matvec::plain_variant(tile, call.form, call.accumulate, call.epilogue.file());
            from_buffers(recorder, call, sizes, &variant, tile.grid())
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    m: u32,
    n: u32,
    k: u32,
}

impl Sizes {
    fn flops(self, form: Form, rows: u32) -> f64 {
        let (m, k) = if form == Form::AtB { (self.m, rows) } else { (rows, self.k) };
        2.0 * f64::from(m) * f64::from(self.n) * f64::from(k)
    }
}

fn from_buffers(
    rec: &mut Recorder<StepValues>,
    call: &Matmul,
    s: Sizes,
    variant: &Variant,
    grid: impl Fn(u32, u32) -> [u32; 3] + Send + Sync + 'static,
) -> Result<()> {
    let out = if call.accumulate { Bind::Update(&call.c.view) } else { Bind::Write(&call.c.view) };
    let mut binds = vec![Bind::Read(&call.a.view), Bind::Read(&call.b.view), out];
    match &call.epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => binds.push(Bind::Read(bias)),
        Epilogue::BiasGelu { bias, pre } => binds.extend([Bind::Read(bias), Bind::Write(&pre.view)]),
        Epilogue::GeluBackward(x) | Epilogue::Residual(x) => binds.push(Bind::Read(&x.view)),
    }
    let (form, rows) = (call.form, call.rows);
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    let (a_quads, b_quads) = (call.a.pitch() as u32 / 4, call.b.pitch() as u32 / 4);
    rec.dispatch(variant, &binds, move |values| {
        let rows = rows.at(values);
        let (m, k) = if form == Form::AtB { (s.m, rows) } else { (rows, s.k) };
        let b_rows = if form == Form::ABt { s.n } else { k };
        let params = TiledParams { m, k, packs, a_quads, b_quads, b_rows, pad: [0; 2] };
        Launch::new(params, grid(m, packs)).flops(s.flops(form, rows))
    })
}

/// Rows of A that a group computes: enough that it reads a block of B for many rows, and few enough for four groups, which
/// keep two cores busy.
fn rows_a_group(m: u32, column_groups: u32) -> u32 {
    let wanted = 4u32.div_ceil(column_groups.max(1));
    m.div_ceil(wanted).clamp(1, 256)
}

/// Rows of an operand that one pass of the image kernels reads. Ranges are multiples of it, so that none ends inside a pass.
const RANGE: usize = 128;

/// Cuts the rows of an operand into ranges (first, end) that fit into a texture.
fn texture_ranges(rec: &Recorder<StepValues>, rows: u32) -> impl Iterator<Item = (u32, u32)> + use<> {
    let side = (rec.device().caps().max_texture as usize / RANGE * RANGE).max(RANGE) as u32;
    (0..rows).step_by(side as usize).map(move |first| (first, (first + side).min(rows)))
}

fn image(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes) -> Result<()> {
    let b_range = |(first, end): (u32, u32)| call.b.rows_from(first as usize, (end - first) as usize);
    if call.form == Form::ABt {
        // The rows of B are the columns of C: a range computes some of them.
        for range in texture_ranges(rec, s.n) {
            let b = b_range(range);
            (0..s.k).step_by(128).try_for_each(|k0| image_pass(rec, call, s, &b, [k0, k0 / 4], range))?;
        }
        return Ok(());
    }
    // The rows of B are the k of the sum: a range holds those of some passes.
    for (first, end) in texture_ranges(rec, s.k) {
        let b = b_range((first, end));
        (first..end).step_by(128).try_for_each(|k0| image_pass(rec, call, s, &b, [k0, k0 - first], (0, s.n)))?;
    }
    Ok(())
}

/// Records the pass over 128 of k from `k0` on, for the columns `first` to `end` of C. Where the rows of B are k, the pass
/// begins at row `b_row` of the range `b`.
fn image_pass(
    rec: &mut Recorder<StepValues>,
    call: &Matmul,
    s: Sizes,
    b: &Matrix,
    [k0, b_row]: [u32; 2],
    (first, end): (u32, u32),
) -> Result<()> {
    let (form, rows) = (call.form, call.rows);
    let live_rows = rows.into();
    let b_rows = RowCount::Fixed(b.rows as u32).into();
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    let column_groups = dims::pitch((end - first) as usize) as u32 / 64;
    let last = k0 + 128 >= s.k;
    let add = k0 > 0 || call.accumulate;
    let epilogue = if last { call.epilogue } else { Epilogue::None };
    let variant = image_variant(form == Form::ABt, add, epilogue.file());
    let out = if add { Bind::Update(&call.c.view) } else { Bind::Write(&call.c.view) };
    let mut binds = vec![Bind::Image(call.a, live_rows), Bind::Image(b, b_rows), out];
    match &epilogue {
        Epilogue::None => {}
        Epilogue::Bias(bias) => binds.push(Bind::Read(bias)),
        Epilogue::BiasGelu { bias, pre } => binds.extend([Bind::Read(bias), Bind::Write(&pre.view)]),
        Epilogue::GeluBackward(x) | Epilogue::Residual(x) => binds.push(Bind::Image(x, live_rows)),
    }
    if add {
        binds.push(Bind::Image(call.c, live_rows));
    }
    let capacity = rows.at(rec.capacity());
    let most = capacity.div_ceil(rows_a_group(capacity, column_groups)).max(1);
    rec.dispatch(&variant, &binds, move |values| {
        let m = rows.at(values);
        // With fewer rows there could be more groups than at capacity, which is not allowed.
        let rows_a_group = rows_a_group(m, column_groups).max(m.div_ceil(most));
        let first_pack = first / 8;
        let params = ImageParams { m, texel: k0 / 4, rows_a_group, packs, first_pack, b_row, pad: [0; 2] };
        let grid = [column_groups, m.div_ceil(rows_a_group), 1];
        let share = 128.0 / f64::from(s.k.max(128)) * f64::from(end - first) / f64::from(s.n);
        Launch::new(params, grid).flops(s.flops(form, m) * share)
    })
}

fn image_at(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes) -> Result<()> {
    let rows = call.rows;
    let live_rows = rows.into();
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    for (first, end) in texture_ranges(rec, s.m) {
        let m = end - first;
        let c = call.c.rows_from(first as usize, m as usize);
        for k0 in (0..s.k).step_by(128) {
            let add = k0 > 0 || call.accumulate;
            let out = if add { Bind::Update(&c.view) } else { Bind::Write(&c.view) };
            let mut binds = vec![Bind::Image(call.a, live_rows), Bind::Image(call.b, live_rows), out];
            if add {
                binds.push(Bind::Image(&c, RowCount::Fixed(m).into()));
            }
            rec.dispatch(&image_at_variant(add), &binds, move |values| {
                let depth = rows.at(values);
                let rows_a_group = rows_a_group(m, packs / 8).next_multiple_of(4);
                // Unless it adds, the first pass runs without live rows too, because it writes C.
                let needed = k0 < depth || !add;
                let params = ImageAtParams { m, k0, depth, rows_a_group, packs, a_texel: first / 4, pad: [0; 2] };
                let grid = [packs / 8, if needed { m.div_ceil(rows_a_group) } else { 0 }, 1];
                let flops = 2.0 * f64::from(m) * f64::from(s.n) * f64::from(depth.saturating_sub(k0).min(128));
                Launch::new(params, grid).flops(flops)
            })?;
        }
    }
    Ok(())
}
