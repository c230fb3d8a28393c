//! The end of an optimizer step: loss sum, global norm, clipping and AdamW, with the state that the device keeps.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::{ListNeed, MatrixNeed, check_shapes};
use super::values::StepValues;
use crate::data::batch::LossCounts;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result};
use std::mem::offset_of;

const LOSS_SUM: &str = include_str!("../../shaders/loss_sum.wgsl");
const GLOBAL_NORM: &str = include_str!("../../shaders/global_norm.wgsl");
const GLOBAL_NORM_IMAGE: &str = include_str!("../../shaders/global_norm_image.wgsl");
const STEP_STATE: &str = include_str!("../../shaders/step_state.wgsl");
const ADAMW: &str = include_str!("../../shaders/adamw.wgsl");
const ADAMW_IMAGE: &str = include_str!("../../shaders/adamw_image.wgsl");

/// Columns of a flat tensor seen as a matrix; its floats are a multiple of this.
pub const FLAT_COLUMNS: usize = 4096;
/// Vectors of four floats whose squares one group adds up.
const NORM_BLOCK: u32 = 4096;
/// Packs of 8 floats in a row of a flat tensor, FLAT_PACKS in the shaders.
const FLAT_PACKS: u32 = FLAT_COLUMNS as u32 / 8;
/// Packs that an invocation of `adamw` updates on CPU adapters, PER_LANE in the shader.
const PACKS_PER_LANE: u32 = 4;
/// Vectors of four floats that an invocation of `adamw` updates on GPUs, PER_LANE in the shader.
const QUADS_PER_LANE: u32 = 2;
/// Words of the state's buffer on the device: those of [`DeviceState`], and zeros up to 64 bytes.
pub const STATE_WORDS: usize = 16;

/// The result of an optimizer step. The host reads it a few steps late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// Sum of the losses over the step's targets.
    pub loss: f32,
    /// Sum of a task's losses over the step's examples.
    pub task_loss: f32,
    /// Global norm of the gradients before clipping.
    pub norm: f32,
    /// Factor by which clipping scaled the gradients.
    pub scale: f32,
    /// The step at which norm or loss was not finite. No weight changes from that step on.
    pub halted: Option<u32>,
}

/// [`State`] as the device stores it: the fields of `State` in shaders/lib/state.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct DeviceState {
    /// The sum of the losses since the last step.
    pub loss_sum: f32,
    /// The sum of the losses of the last step.
    pub loss: f32,
    /// Global norm of the gradients.
    pub norm: f32,
    /// Factor by which clipping scales gradients.
    pub scale: f32,
    /// 1 after a norm or loss that is not finite.
    pub halted: u32,
    /// The step at which it occurred.
    pub halted_step: u32,
    /// As `loss_sum`, for the examples of a task.
    pub task_sum: f32,
    /// As `loss`, for the examples of a task.
    pub task_loss: f32,
}

/// The words of the state's buffer with the sums of losses that micro-batches add to.
pub const LOSS_SUMS: [usize; 2] = [offset_of!(DeviceState, loss_sum) / 4, offset_of!(DeviceState, task_sum) / 4];

impl State {
    /// Reads the words of the device's state. Missing words count as 0.
    pub fn from_words(words: &[u32]) -> State {
        let mut stored = DeviceState::default();
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let bytes = &bytes[..bytes.len().min(size_of::<DeviceState>())];
        bytemuck::bytes_of_mut(&mut stored)[..bytes.len()].copy_from_slice(bytes);
        let DeviceState { loss, task_loss, norm, scale, halted, halted_step, .. } = stored;
        State { loss, task_loss, norm, scale, halted: (halted != 0).then_some(halted_step) }
    }
}

/// Which implementation of Adam is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Arithmetic {
    /// torch.optim.AdamW
    Torch,
    /// Hugging Face's port of OpenAI's Adam of 2018: decay after the step, ε without bias correction.
    Hf2018,
}

/// The optimizer's constants.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AdamW {
    /// β1
    pub beta1: f64,
    /// β2
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// Which arithmetic.
    pub arithmetic: Arithmetic,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct LossParams {
    count: u32,
    word: u32,
    pad: [u32; 2],
}

/// Which losses are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// The language model's, over N rows.
    Tokens,
    /// A task's, over its examples.
    Examples,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct NormParams {
    quads: u32,
    block: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct StateParams {
    partials: u32,
    step: u32,
    clip: f32,
    pad: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct AdamParams {
    first: u32,
    end: u32,
    rate: f32,
    root: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    eps: f32,
    decay: f32,
    pad: [u32; 3],
}

fn adamw_variant(access: RowAccess, arithmetic: Arithmetic) -> Variant {
    let (file, per_lane) = match access {
        RowAccess::Image => (ADAMW_IMAGE, PACKS_PER_LANE),
        RowAccess::Buffer { .. } => (ADAMW, QUADS_PER_LANE),
    };
    access
        .apply(Variant::trusted("adamw", file))
        .constant("FLAT_PACKS", FLAT_PACKS)
        .constant("PER_LANE", per_lane)
        .constant("LATE_DECAY", (arithmetic == Arithmetic::Hf2018).into())
}

/// Vectors of four floats that a group of `adamw` updates.
fn adamw_quads(access: RowAccess) -> u32 {
    match access {
        RowAccess::Image => access.group() * PACKS_PER_LANE * 2,
        RowAccess::Buffer { group } => group * QUADS_PER_LANE,
    }
}

fn norm_variant(access: RowAccess) -> Variant {
    let file = if access == RowAccess::Image { GLOBAL_NORM_IMAGE } else { GLOBAL_NORM };
    access.apply(Variant::trusted("global_norm", file)).constant("FLAT_PACKS", FLAT_PACKS)
}

/// A kernel of one group that reads a list, several words at a time: on GPUs, nothing else hides the latency; llvmpipe ends
/// loops after 65,535 turns.
fn list_variant(access: RowAccess, stem: &'static str, source: &'static str) -> Variant {
    access.apply(Variant::trusted(stem, source)).constant("AT_ONCE", 16)
}

/// Every variant of loss_sum and step_state on an adapter.
pub fn state_variants(caps: &Caps) -> Vec<Variant> {
    let both = |access| [list_variant(access, "loss_sum", LOSS_SUM), list_variant(access, "step_state", STEP_STATE)];
    RowAccess::all(caps).into_iter().flat_map(both).collect()
}

/// Every variant of global_norm on an adapter.
pub fn norm_variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(norm_variant).collect()
}

/// Every variant of adamw on an adapter.
pub fn adamw_variants(caps: &Caps) -> Vec<Variant> {
    let both = |access| [adamw_variant(access, Arithmetic::Torch), adamw_variant(access, Arithmetic::Hf2018)];
    RowAccess::all(caps).into_iter().flat_map(both).collect()
}

/// Records that the state's sum of these losses grows by Σ losses.
///
/// # Errors
/// [`Error::Kernel`].
pub fn loss_sum(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    of: Losses,
    losses: &View,
    state: &View,
) -> Result<()> {
    let (rows, offset) = match of {
        Losses::Tokens => (RowCount::Rows, offset_of!(DeviceState, loss_sum)),
        Losses::Examples => (RowCount::Examples, offset_of!(DeviceState, task_sum)),
    };
    let losses_need = ListNeed { list: losses, words: rows.at(rec.capacity()) as usize };
    check_shapes("loss_sum", &[], &[losses_need, ListNeed { list: state, words: STATE_WORDS }])?;
    let (binds, word) = ([Bind::Read(losses), Bind::Update(state)], (offset / 4) as u32);
    rec.dispatch(&list_variant(access, "loss_sum", LOSS_SUM), &binds, move |values| {
        Launch::new(LossParams { count: rows.at(values), word, pad: [0; 2] }, [1, 1, 1])
    })
}

/// The number of partial sums that [`global_norm`] writes for a flat tensor of `floats`.
pub fn norm_partials(floats: usize) -> usize {
    (floats / 4).div_ceil(NORM_BLOCK as usize)
}

/// Records the partial sums of squares of a flat gradient [.., [`FLAT_COLUMNS`]].
///
/// # Errors
/// [`Error::Kernel`].
pub fn global_norm(rec: &mut Recorder<StepValues>, access: RowAccess, gradient: &Matrix, partial: &View) -> Result<()> {
    let least = norm_partials(gradient.rows * FLAT_COLUMNS);
    let gradient_need = MatrixNeed { matrix: gradient, rows: gradient.rows as u32, columns: FLAT_COLUMNS };
    check_shapes("global_norm", &[gradient_need], &[ListNeed { list: partial, words: least }])?;
    let quads = (gradient.rows * FLAT_COLUMNS / 4) as u32;
    let rows = RowCount::Fixed(gradient.rows as u32);
    let binds = [access.input(gradient, rows), Bind::Write(partial)];
    rec.dispatch(&norm_variant(access), &binds, move |_| {
        Launch::new(NormParams { quads, block: NORM_BLOCK }, [quads.div_ceil(NORM_BLOCK), 1, 1])
    })
}

/// Operands of [`step_state`].
#[derive(Clone, Copy)]
pub struct StepEnd<'a> {
    /// Partial sums of squares of all gradients, from [`global_norm`].
    pub partial: &'a View,
    /// Words of `partial` that are added up.
    pub partials: usize,
    /// The device's state, [`STATE_WORDS`] words.
    pub state: &'a View,
    /// The largest global norm; 0 for no clipping.
    pub clip: f32,
}

/// Records the end of a step's sums: global norm, scale of clipping, losses, and whether AdamW halts.
///
/// # Errors
/// [`Error::Kernel`].
pub fn step_state(rec: &mut Recorder<StepValues>, access: RowAccess, end: &StepEnd) -> Result<()> {
    let StepEnd { partial, partials, state, clip } = *end;
    let lists = [ListNeed { list: partial, words: partials }, ListNeed { list: state, words: STATE_WORDS }];
    check_shapes("step_state", &[], &lists)?;
    let binds = [Bind::Read(partial), Bind::Update(state)];
    rec.dispatch(&list_variant(access, "step_state", STEP_STATE), &binds, move |values| {
        let params = StateParams { partials: partials as u32, step: values.step, clip, pad: 0 };
        Launch::new(params, [1, 1, 1])
    })
}

/// The flat tensors [.., [`FLAT_COLUMNS`]] of one slab of parameters.
pub struct Slab<'a> {
    /// Weights.
    pub values: &'a Matrix,
    /// Gradients; AdamW sets them to zero.
    pub gradients: &'a Matrix,
    /// m
    pub first_moments: &'a Matrix,
    /// v
    pub second_moments: &'a Matrix,
}

/// A range of floats of a slab that has one learning rate and one weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterRange {
    /// First float, a multiple of 64.
    pub start: usize,
    /// Past the last float, a multiple of 64.
    pub end: usize,
    /// Times the step's learning rate.
    pub lr_scale: f64,
    /// Weight decay.
    pub decay: f64,
    /// Optimizer steps done before this range began to learn.
    pub steps_before: u32,
}

/// Records AdamW on one range of a slab; its gradients become zero.
///
/// # Errors
/// [`Error::Kernel`].
pub fn adamw(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    slab: &Slab,
    state: &View,
    adam: AdamW,
    range: ParameterRange,
) -> Result<()> {
    let tensors = [slab.values, slab.gradients, slab.first_moments, slab.second_moments];
    let all = slab.values.rows as u32;
    let flat = tensors.map(|matrix| MatrixNeed { matrix, rows: all, columns: FLAT_COLUMNS });
    check_shapes("adamw", &flat, &[ListNeed { list: state, words: STATE_WORDS }])?;
    let ParameterRange { start, end, .. } = range;
    if start % 64 != 0 || end % 64 != 0 || start > end || end > slab.values.rows * FLAT_COLUMNS {
        let expected = format!("expected multiples of 64 within {all} rows of {FLAT_COLUMNS}");
        let error = Error::kernel("adamw", format!("range {start}..{end}")).at(&*slab.values.view.name);
        return Err(error.expected(expected));
    }
    let rows = RowCount::Fixed(all);
    let mut binds: Vec<Bind<'_, BlockCount>> = tensors.iter().map(|t| Bind::Update(&t.view)).collect();
    binds.push(Bind::Read(state));
    binds.extend(tensors.iter().filter_map(|t| access.updated(t, rows)));
    let a_group = adamw_quads(access);
    rec.dispatch(&adamw_variant(access, adam.arithmetic), &binds, move |values| {
        let t = values.adam_step.saturating_sub(range.steps_before).max(1);
        let (correction1, correction2) = (1.0 - adam.beta1.powf(t.into()), 1.0 - adam.beta2.powf(t.into()));
        let lr = values.lr * range.lr_scale;
        let (rate, root) = match adam.arithmetic {
            Arithmetic::Torch => (lr / correction1, 1.0 / correction2.sqrt()),
            Arithmetic::Hf2018 => (lr * correction2.sqrt() / correction1, 1.0),
        };
        let params = AdamParams {
            first: (range.start / 4) as u32,
            end: (range.end / 4) as u32,
            rate: rate as f32,
            root: root as f32,
            rest1: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            rest2: (1.0 - adam.beta2) as f32,
            eps: adam.eps as f32,
            decay: (lr * range.decay) as f32,
            pad: [0; 3],
        };
        // Without targets or examples nothing changes, not even by weight decay.
        let live = if values.loss_counts == LossCounts::default() { 0 } else { (range.end - range.start) as u32 / 4 };
        Launch::new(params, grid_of(live.div_ceil(a_group)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_has_the_same_fields_in_the_shader() {
        let shader = include_str!("../../shaders/lib/state.wgsl");
        let fields = shader.lines().filter_map(|line| line.trim().strip_suffix(','));
        let of = |name: &'static str, of: &'static str, offset: usize| (offset, format!("{name}: {of}"));
        let mut expected = [
            of("loss_sum", "f32", offset_of!(DeviceState, loss_sum)),
            of("loss", "f32", offset_of!(DeviceState, loss)),
            of("norm", "f32", offset_of!(DeviceState, norm)),
            of("scale", "f32", offset_of!(DeviceState, scale)),
            of("halted", "u32", offset_of!(DeviceState, halted)),
            of("halted_step", "u32", offset_of!(DeviceState, halted_step)),
            of("task_sum", "f32", offset_of!(DeviceState, task_sum)),
            of("task_loss", "f32", offset_of!(DeviceState, task_loss)),
        ];
        expected.sort();
        assert_eq!(fields.collect::<Vec<_>>(), expected.map(|(_, field)| field));
        assert!(size_of::<DeviceState>() <= 4 * STATE_WORDS);
    }

    #[test]
    fn a_state_is_read_from_its_words() {
        let words = [9.0f32, 1.5, 2.5, 0.5].map(f32::to_bits);
        let all = [&words[..], &[1, 7, 9.0f32.to_bits(), 3.5f32.to_bits(), 8]].concat();
        let expected = State { loss: 1.5, task_loss: 3.5, norm: 2.5, scale: 0.5, halted: Some(7) };
        assert_eq!(State::from_words(&all), expected);
        let short = State { task_loss: 0.0, halted: None, ..expected };
        assert_eq!(State::from_words(&words), short);
    }
}
