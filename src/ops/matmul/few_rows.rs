//! Products of a few rows on GPUs, by the kernel of [`matvec`].

use super::product::{Matmul, Sizes};
use crate::gpu::{Launch, Recorder};
use crate::ops::form::Form;
use crate::ops::matvec;
use crate::ops::values::StepValues;
use crate::{Result, dims};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    k: u32,
    packs: u32,
    a_quads: u32,
    b_quads: u32,
    b_rows: u32,
    pad: [u32; 2],
}

/// Records A·B or A·Bᵀ.
///
/// # Errors
/// As [`super::matmul`].
pub(super) fn record(rec: &mut Recorder<StepValues>, call: &Matmul, s: Sizes) -> Result<()> {
    let tile = matvec::Tile::of(call.form, call.a.rows, s.n as usize, s.k as usize);
    let variant = matvec::plain_variant(tile, call.form, call.accumulate, call.epilogue.file());
    let (form, rows, grid) = (call.form, call.rows, tile.grid());
    let packs = dims::pitch(call.c.columns) as u32 / 8;
    let (a_quads, b_quads) = (call.a.pitch() as u32 / 4, call.b.pitch() as u32 / 4);
    let b_rows = if form == Form::ABt { s.n } else { s.k };
    rec.dispatch(&variant, &call.binds(), move |values| {
        let m = rows.at(values);
        let params = Params { m, k: s.k, packs, a_quads, b_quads, b_rows, pad: [0; 2] };
        Launch::new(params, grid(m, packs)).flops(s.flops(form, m))
    })
}
