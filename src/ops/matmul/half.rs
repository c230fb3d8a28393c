//! Operands of products on matrix units as copies in f16: which are worth one, and the kernel that makes them.

use crate::Result;
use crate::gpu::{Bind, Launch, Matrix, Recorder, Variant, View};
use crate::ops::form::Form;
use crate::ops::grid::grid_of;
use crate::ops::rows::RowCount;
use crate::ops::values::StepValues;

const TO_HALF: &str = include_str!("../../../shaders/matmul/to_half.wgsl");

/// Invocations a group.
const GROUP: u32 = 256;

/// The least rows or columns of C that each number of an operand is multiplied into, for which its copy is made.
///
/// A copy takes 6 bytes a number, read and written, and saves 2·N·(1/r − 1/r′) seconds, where N is that number of rows or
/// columns and r and r′ are the rates of products without and with it. On an H200 (174 and 216 TFLOP/s, 4.8 TB/s) it pays from
/// N = 560 on. On a GPU with two thirds of these rates and 1 TB/s, it pays from 1,770 on if one product uses it, and from
/// half of that on if two do, forward and in the gradient of the weights.
const LEAST_USES: usize = 1024;

/// Which operands of a product are read in f16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Halves {
    /// A
    pub a: bool,
    /// B
    pub b: bool,
}

impl Halves {
    /// All that kernels exist for. A·Bᵀ has none: both operands are read along k, and it was slower with copies (160 instead of
    /// 221 TFLOP/s on an H200: docs/performance.md).
    pub(super) fn all(form: Form) -> Vec<Halves> {
        let of = |a, b| Halves { a, b };
        match form {
            Form::ABt => vec![Halves::default()],
            Form::AB | Form::AtB => vec![of(false, false), of(true, true), of(true, false), of(false, true)],
        }
    }

    /// Those that pay for C [M, N].
    pub fn choose(form: Form, [m, n, _]: [usize; 3]) -> Halves {
        match form {
            Form::ABt => Halves::default(),
            Form::AB | Form::AtB => Halves { a: n >= LEAST_USES, b: m >= LEAST_USES },
        }
    }
}

/// The variant that makes copies.
pub(super) fn variant() -> Variant {
    Variant::trusted("to_half", TO_HALF).constant("GROUP", GROUP)
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    packs: u32,
    scale: f32,
    pad: [u32; 2],
}

/// The copy of the first rows of an operand, as many as are live; made here if there is none that is up to date. A gradient is
/// multiplied by [`StepValues::gradient_scale`] first.
///
/// # Errors
/// [`crate::Error::Device`] if memory is exhausted.
pub(super) fn copy(rec: &mut Recorder<StepValues>, matrix: &Matrix, rows: RowCount, gradient: bool) -> Result<View> {
    let packs = matrix.pitch() as u32 / 8;
    rec.half_copy(matrix, rows.into(), gradient, |rec, copy| {
        rec.dispatch(&variant(), &[Bind::Read(&matrix.view), Bind::Write(copy)], move |values| {
            let packs = packs * rows.at(values);
            let scale = if gradient { values.gradient_scale() } else { 1.0 };
            Launch::new(Params { packs, scale, pad: [0; 2] }, grid_of(packs.div_ceil(GROUP)))
        })
    })
}
