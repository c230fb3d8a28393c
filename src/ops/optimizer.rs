//! The end of a step: loss sum, global norm, clipping and AdamW, with the state that lives on the device.

use super::grid::grid_of;
use super::row_access::RowAccess;
use super::rows::{BlockCount, RowCount};
use super::shapes::check_shapes;
use super::values::StepValues;
use crate::data::batch::LossCounts;
use crate::gpu::{Bind, Caps, Launch, Matrix, Recorder, Variant, View};
use crate::{Error, Result};

const LOSS_SUM: &str = include_str!("../../shaders/loss_sum.wgsl");
const GLOBAL_NORM: &str = include_str!("../../shaders/global_norm.wgsl");
const STEP_STATE: &str = include_str!("../../shaders/step_state.wgsl");
const ADAMW: &str = include_str!("../../shaders/adamw.wgsl");

/// Columns of a flat tensor seen as a matrix; its floats are a multiple of this.
pub const FLAT_COLUMNS: usize = 4096;
/// Packs whose squares one group adds up.
const NORM_BLOCK: u32 = 2048;
/// Packs that an invocation of `adamw` updates (the shader's PER_LANE).
const PER_LANE: u32 = 4;
/// Words of [`State`] on the device.
pub const STATE_WORDS: usize = 16;

/// What the device keeps from step to step; the host learns of it a few steps late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// The step's loss: the sum over its real targets.
    pub loss: f32,
    /// A task's loss: the sum over the step's examples.
    pub task_loss: f32,
    /// Global norm of the gradients before clipping.
    pub norm: f32,
    /// What gradients were multiplied by.
    pub scale: f32,
    /// The step at which norm or loss was not finite: no weight has changed since.
    pub halted: Option<u32>,
}

impl State {
    /// From the words of the device's state.
    pub fn from_words(words: &[u32]) -> State {
        let float = |i: usize| f32::from_bits(words.get(i).copied().unwrap_or(0));
        let word = |i: usize| words.get(i).copied().unwrap_or(0);
        let halted = (word(4) != 0).then(|| word(5));
        State { loss: float(1), task_loss: float(7), norm: float(2), scale: float(3), halted }
    }
}

/// PyTorch's arithmetic, or that of the port of 2018.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// torch.optim.AdamW
    Torch,
    /// Hugging Face's port of OpenAI's Adam of 2018: decay after the update, ε without bias correction.
    Hf2018,
}

/// The optimizer's constants.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    packs: u32,
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
    access.apply(Variant::new("adamw", ADAMW)).constant("LATE_DECAY", (arithmetic == Arithmetic::Hf2018).into())
}

/// Every variant of loss_sum and step_state on an adapter.
pub fn state_variants(caps: &Caps) -> Vec<Variant> {
    let all = RowAccess::all(caps);
    all.iter()
        .map(|access| access.apply(Variant::new("loss_sum", LOSS_SUM)))
        .chain(all.iter().map(|access| access.apply(Variant::new("step_state", STEP_STATE))))
        .collect()
}

/// Every variant of global_norm on an adapter.
pub fn norm_variants(caps: &Caps) -> Vec<Variant> {
    RowAccess::all(caps).into_iter().map(|access| access.apply(Variant::new("global_norm", GLOBAL_NORM))).collect()
}

/// Every variant of adamw on an adapter.
pub fn adamw_variants(caps: &Caps) -> Vec<Variant> {
    let both = |access| [adamw_variant(access, Arithmetic::Torch), adamw_variant(access, Arithmetic::Hf2018)];
    RowAccess::all(caps).into_iter().flat_map(both).collect()
}

/// Records that a sum of the state grows by Σ losses.
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
    let (rows, word) = match of {
        Losses::Tokens => (RowCount::Rows, 0),
        Losses::Examples => (RowCount::Examples, 6),
    };
    check_shapes("loss_sum", &[], &[(losses, rows.at(rec.capacity()) as usize), (state, STATE_WORDS)])?;
    let binds = [Bind::Read(losses), Bind::Update(state)];
    rec.dispatch(&access.apply(Variant::new("loss_sum", LOSS_SUM)), &binds, move |values| {
        Launch::new(LossParams { count: rows.at(values), word, pad: [0; 2] }, [1, 1, 1])
    })
}

/// Partial sums that the norm of a flat tensor of `floats` writes.
pub fn norm_partials(floats: usize) -> usize {
    (floats / 8).div_ceil(NORM_BLOCK as usize)
}

/// Records the partial sums of squares of a flat gradient [.., [`FLAT_COLUMNS`]].
///
/// # Errors
/// [`Error::Kernel`].
pub fn global_norm(rec: &mut Recorder<StepValues>, access: RowAccess, gradient: &Matrix, partial: &View) -> Result<()> {
    let least = norm_partials(gradient.rows * FLAT_COLUMNS);
    check_shapes("global_norm", &[(gradient, gradient.rows as u32, FLAT_COLUMNS)], &[(partial, least)])?;
    let packs = (gradient.rows * FLAT_COLUMNS / 8) as u32;
    let rows = RowCount::Fixed(gradient.rows as u32);
    let binds = [access.input(gradient, rows), Bind::Write(partial)];
    rec.dispatch(&access.apply(Variant::new("global_norm", GLOBAL_NORM)), &binds, move |_| {
        Launch::new(NormParams { packs, block: NORM_BLOCK }, [packs.div_ceil(NORM_BLOCK), 1, 1])
    })
}

/// Records the end of the step's sums over `partials` words: norm, scale, loss, and whether to halt.
///
/// # Errors
/// [`Error::Kernel`].
pub fn step_state(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    (partial, partials): (&View, usize),
    state: &View,
    clip: f32,
) -> Result<()> {
    check_shapes("step_state", &[], &[(partial, partials), (state, STATE_WORDS)])?;
    let binds = [Bind::Read(partial), Bind::Update(state)];
    rec.dispatch(&access.apply(Variant::new("step_state", STEP_STATE)), &binds, move |values| {
        let params = StateParams { partials: partials as u32, step: values.step, clip, pad: 0 };
        Launch::new(params, [1, 1, 1])
    })
}

/// Flat tensors [.., [`FLAT_COLUMNS`]] of one slab.
pub struct Slab<'a> {
    /// Weights.
    pub values: &'a Matrix,
    /// Gradients; zero afterwards.
    pub gradients: &'a Matrix,
    /// m
    pub first_moments: &'a Matrix,
    /// v
    pub second_moments: &'a Matrix,
}

/// A range of floats of a slab with its own rules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// First float, a multiple of 64.
    pub start: usize,
    /// Past the last float, a multiple of 64.
    pub end: usize,
    /// Times the step's learning rate.
    pub lr_scale: f64,
    /// Weight decay.
    pub decay: f64,
    /// Updates done before this range woke.
    pub t0: u32,
}

/// Records one update of a range.
///
/// # Errors
/// [`Error::Kernel`].
pub fn adamw(
    rec: &mut Recorder<StepValues>,
    access: RowAccess,
    slab: &Slab,
    state: &View,
    adam: AdamW,
    range: Range,
) -> Result<()> {
    let tensors = [slab.values, slab.gradients, slab.first_moments, slab.second_moments];
    let all = slab.values.rows as u32;
    check_shapes("adamw", &tensors.map(|t| (t, all, FLAT_COLUMNS)), &[(state, STATE_WORDS)])?;
    let Range { start, end, .. } = range;
    if start % 64 != 0 || end % 64 != 0 || start > end || end > slab.values.rows * FLAT_COLUMNS {
        let message = format!("range {start}..{end}: expected multiples of 64 within {all} rows of {FLAT_COLUMNS}");
        return Err(Error::Kernel { kernel: "adamw".into(), message });
    }
    let rows = RowCount::Fixed(all);
    let mut binds: Vec<Bind<'_, BlockCount>> = tensors.iter().map(|t| Bind::Update(&t.view)).collect();
    binds.push(Bind::Read(state));
    binds.extend(tensors.iter().filter_map(|t| access.updated(t, rows)));
    let a_group = access.group() * PER_LANE;
    rec.dispatch(&adamw_variant(access, adam.arithmetic), &binds, move |values| {
        let t = values.adam_step.saturating_sub(range.t0).max(1);
        let (correction1, correction2) = (1.0 - adam.beta1.powf(t.into()), 1.0 - adam.beta2.powf(t.into()));
        let lr = values.lr * range.lr_scale;
        let (rate, root) = match adam.arithmetic {
            Arithmetic::Torch => (lr / correction1, 1.0 / correction2.sqrt()),
            Arithmetic::Hf2018 => (lr * correction2.sqrt() / correction1, 1.0),
        };
        let params = AdamParams {
            first: (range.start / 8) as u32,
            end: (range.end / 8) as u32,
            rate: rate as f32,
            root: root as f32,
            rest1: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            rest2: (1.0 - adam.beta2) as f32,
            eps: adam.eps as f32,
            decay: (lr * range.decay) as f32,
            pad: [0; 3],
        };
        // With nothing to learn from there is no loss to follow: not even decay.
        let live_packs =
            if values.loss_counts == LossCounts::default() { 0 } else { (range.end - range.start) as u32 / 8 };
        Launch::new(params, grid_of(live_packs.div_ceil(a_group)))
    })
}
