//! Cases of a step's end: loss_sum, global_norm and step_state (a NaN and an infinity in the gradient too), and adamw in
//! both arithmetics, over ranges that start in the middle, and halted.

use super::inputs::{input, row_access, row_specs, table};
use crate::gpu::Recorder;
use crate::ops::optimizer::{
    AdamW, Arithmetic, DeviceState, FLAT_COLUMNS, Losses, ParameterRange, STATE_WORDS, Slab, StepEnd, adamw,
    global_norm, loss_sum, norm_partials, step_state,
};
use crate::ops::{RowAccess, Spec, StepValues};
use crate::reference;
use crate::reference::adamw::{Form, Options};
use crate::verify::{Case, Number, Output, Purpose, Run, Specs, float, not_finite, numbers, wide};
use std::mem::offset_of;

/// The sum of a task's losses before the run.
const TASK_SUM: f32 = 9.5;

/// The index of a field of the device's state among its words.
macro_rules! word {
    ($field:ident) => {
        offset_of!(DeviceState, $field) / 4
    };
}
const LOSS_SUM: usize = word!(loss_sum);
const LOSS: usize = word!(loss);
const NORM: usize = word!(norm);
const CLIP_SCALE: usize = word!(scale);
const HALTED: usize = word!(halted);
const HALTED_STEP: usize = word!(halted_step);
const TASK_LOSS_SUM: usize = word!(task_sum);
const TASK_LOSS: usize = word!(task_loss);

/// The words of the device's state before the run.
fn state(loss_sum: f32, halted: Option<u32>) -> Vec<f32> {
    let state = DeviceState {
        loss_sum,
        loss: 0.25,
        norm: 3.0,
        scale: 0.5,
        halted: halted.is_some().into(),
        halted_step: halted.unwrap_or(0),
        task_sum: TASK_SUM,
        task_loss: 1.5,
    };
    let mut words = vec![0.0; STATE_WORDS];
    let fields: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&state));
    words[..fields.len()].copy_from_slice(fields);
    words
}

fn state_number(word: u32, column: usize) -> f64 {
    if column == HALTED || column == HALTED_STEP { f64::from(word) } else { float(word, column) }
}

/// As [`state_number`], where a norm that is not finite counts as 1, and the scale, which is not used then, as 0.
fn broken_state_number(word: u32, column: usize) -> f64 {
    match column {
        NORM => not_finite(word, column),
        CLIP_SCALE => 0.0,
        _ => state_number(word, column),
    }
}

fn numbers_of(words: &[f32], number: Number) -> Vec<f64> {
    words.iter().enumerate().map(|(i, w)| number(w.to_bits(), i)).collect()
}

fn scalar_specs() -> Specs {
    Box::new(|caps| {
        let others = RowAccess::all(caps).into_iter().filter(|access| *access != RowAccess::scalars(caps));
        std::iter::once(RowAccess::scalars(caps)).chain(others).map(Spec::Row).collect()
    })
}

/// A case of loss_sum, whose kernel belongs to step_state.
pub fn loss_sum_case(of: Losses, [n, live]: [usize; 2], purpose: Purpose) -> Case {
    let of_live = move |n: usize| match of {
        Losses::Tokens => StepValues { rows: n as u32, ..StepValues::default() },
        Losses::Examples => StepValues { examples: n as u32, ..StepValues::default() },
    };
    let losses = move || numbers(n as u32, live).iter().map(|x| 5.0 + x).collect::<Vec<f32>>();
    Case {
        op: "step_state",
        variant: format!("loss_sum of {of:?}"),
        shape: vec![("N", n), ("live", live)],
        purpose,
        tolerance: 1e-8 * (live as f64).sqrt().max(100.0),
        reason: "a sum of N losses in f32, whose rounding grows like √N",
        flops: live as f64,
        bytes: 4.0 * live as f64,
        specs: scalar_specs(),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "loss_sum")?;
            let bits: Vec<u32> = losses().iter().map(|x| x.to_bits()).collect();
            let losses = table(device, "losses", n, &bits)?;
            let state = Output::plain(device, "state", [1, STATE_WORDS], Some(state(2.5, None)), state_number)?;
            let mut recorder = Recorder::new(device, of_live(n));
            loss_sum(&mut recorder, access, of, &losses, &state.matrix.view)?;
            Ok(Run { program: recorder.finish(), values: of_live(live), outputs: vec![state] })
        }),
        oracle: Box::new(move || {
            let mut words = numbers_of(&state(2.5, None), state_number);
            let word = if of == Losses::Tokens { LOSS_SUM } else { TASK_LOSS_SUM };
            words[word] += wide(&losses()).iter().sum::<f64>();
            vec![words]
        }),
    }
}

/// What is wrong with the gradient, or with the state before the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Finite numbers.
    Sound,
    /// A NaN in the gradient.
    Nan,
    /// An infinity in the gradient.
    Infinite,
    /// Squares that overflow f32.
    Huge,
    /// A loss that is a NaN.
    Loss,
    /// A task's loss that is a NaN.
    TaskLoss,
    /// Halted at an earlier step, and again a NaN in the gradient.
    Before,
}

const STEP: u32 = 7;

/// A case of global_norm and step_state, one after the other.
pub fn norm_case(op: &'static str, health: Health, clip: f32, rows: usize, purpose: Purpose) -> Case {
    let floats = rows * FLAT_COLUMNS;
    let gradient = move || {
        let mut all = numbers(rows as u32, floats);
        match health {
            Health::Nan | Health::Before => all[floats - 1] = f32::NAN,
            Health::Infinite => all[floats / 2 + 1] = f32::NEG_INFINITY,
            Health::Huge => all[3] = 1e30,
            Health::Sound | Health::Loss | Health::TaskLoss => {}
        }
        all
    };
    let start = move || match health {
        Health::Loss => state(f32::NAN, None),
        Health::TaskLoss => {
            let mut words = state(40.0, None);
            words[TASK_LOSS_SUM] = f32::NAN;
            words
        }
        Health::Before => state(40.0, Some(3)),
        _ => state(40.0, None),
    };
    let finite_norm = matches!(health, Health::Sound | Health::Loss | Health::TaskLoss);
    let number: Number = match health {
        Health::Sound => state_number,
        Health::Loss => |word, column| if column == LOSS { not_finite(word, LOSS) } else { state_number(word, column) },
        Health::TaskLoss => {
            |word, column| if column == TASK_LOSS { not_finite(word, TASK_LOSS) } else { state_number(word, column) }
        }
        _ => broken_state_number,
    };
    Case {
        op,
        variant: format!("{health:?}, clip {clip}"),
        shape: vec![("floats", floats)],
        purpose,
        tolerance: 1e-6,
        reason: "sums of squares in f32, by partials",
        flops: 2.0 * floats as f64,
        bytes: 4.0 * floats as f64,
        specs: if op == "global_norm" { row_specs(FLAT_COLUMNS) } else { scalar_specs() },
        build: Box::new(move |device, spec| {
            let access = row_access(spec, op)?;
            let gradient = input(device, "gradient", rows, FLAT_COLUMNS, &gradient())?;
            let partials = norm_partials(floats);
            let of_partial = if finite_norm { float } else { not_finite };
            let partial = Output::plain(device, "partial", [partials, 1], None, of_partial)?;
            let state = Output::plain(device, "state", [1, STATE_WORDS], Some(start()), number)?;
            let mut recorder = Recorder::new(device, StepValues { step: STEP, ..StepValues::default() });
            global_norm(&mut recorder, access, &gradient, &partial.matrix.view)?;
            let end = StepEnd { partial: &partial.matrix.view, partials, state: &state.matrix.view, clip };
            step_state(&mut recorder, access, &end)?;
            let values = StepValues { step: STEP, ..StepValues::default() };
            Ok(Run { program: recorder.finish(), values, outputs: vec![partial, state] })
        }),
        oracle: Box::new(move || {
            let gradient = wide(&gradient());
            let square = |g: &f64| if g.is_finite() && g.abs() < 1e19 { g * g } else { f64::INFINITY };
            let sums = gradient.chunks(2048 * 8).map(|block| block.iter().map(square).sum::<f64>());
            let broken = |s: f64| if s.is_finite() { 0.0 } else { 1.0 };
            let partials = sums.map(|s| if finite_norm { s } else { broken(s) }).collect();
            let mut words = numbers_of(&start(), number);
            (words[LOSS_SUM], words[LOSS]) = (0.0, if health == Health::Loss { 1.0 } else { 40.0 });
            words[TASK_LOSS_SUM] = 0.0;
            words[TASK_LOSS] = if health == Health::TaskLoss { 1.0 } else { TASK_SUM.into() };
            let norm = reference::global_norm::global_norm(&[&gradient]);
            words[NORM] = if finite_norm { norm } else { 1.0 };
            words[CLIP_SCALE] = match clip {
                _ if !finite_norm => 0.0,
                0.0 => 1.0,
                clip => reference::global_norm::clip_scale(norm, f64::from(clip)),
            };
            match health {
                Health::Sound => {}
                Health::Before => (words[HALTED], words[HALTED_STEP]) = (1.0, 3.0),
                _ => (words[HALTED], words[HALTED_STEP]) = (1.0, f64::from(STEP)),
            }
            vec![partials, words]
        }),
    }
}

const ADAM: AdamW = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic: Arithmetic::Torch };
/// The scale in the state: gradients are halved.
const SCALE: f64 = 0.5;

/// Weights, gradients and moments of magnitudes as in training; one step changes a weight by about its own magnitude.
fn slab(floats: usize) -> [Vec<f32>; 4] {
    let scaled = |seed, by: f32| numbers(seed, floats).iter().map(|x| x * by).collect::<Vec<f32>>();
    let squares = numbers(4, floats).iter().map(|x| x * x * 0.01 + 1e-6).collect();
    [scaled(1, 0.02), scaled(2, 0.3), scaled(3, 0.1), squares]
}

/// Ranges of a slab: all of it, or two that start in the middle, each with its learning rate, weight decay and first step.
pub fn ranges(floats: usize, whole: bool) -> Vec<ParameterRange> {
    if whole {
        return vec![ParameterRange { start: 0, end: floats, lr_scale: 1.0, decay: 0.1, steps_before: 0 }];
    }
    let middle = (floats / 2 + 64) / 64 * 64;
    vec![
        ParameterRange { start: 192, end: 256, lr_scale: 0.5, decay: 0.0, steps_before: 0 },
        ParameterRange { start: middle, end: floats - 64, lr_scale: 1.0, decay: 0.01, steps_before: 5 },
    ]
}

/// A case of adamw.
pub fn adamw_case(arithmetic: Arithmetic, step: u32, halted: bool, rows: usize, whole: bool, purpose: Purpose) -> Case {
    let floats = rows * FLAT_COLUMNS;
    let ranges = move || ranges(floats, whole);
    let lr = 0.01;
    let extent = if whole { "all" } else { "two ranges" };
    Case {
        op: "adamw",
        variant: format!("{arithmetic:?} t {step}, {extent}{}", if halted { ", halted" } else { "" }),
        shape: vec![("floats", floats)],
        purpose,
        tolerance: 1e-6,
        reason: "some ten roundings a weight",
        flops: 15.0 * floats as f64,
        bytes: 4.0 * 8.0 * floats as f64,
        specs: row_specs(FLAT_COLUMNS),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "adamw")?;
            let names = ["values", "gradients", "first_moments", "second_moments"];
            let mut outputs = Vec::new();
            for (name, start) in names.into_iter().zip(slab(floats)) {
                outputs.push(Output::starting(device, name, rows, FLAT_COLUMNS, start)?);
            }
            let words: Vec<u32> = state(0.0, halted.then_some(3)).iter().map(|x| x.to_bits()).collect();
            let state = table(device, "state", STATE_WORDS, &words)?;
            let slab = Slab {
                values: &outputs[0].matrix,
                gradients: &outputs[1].matrix,
                first_moments: &outputs[2].matrix,
                second_moments: &outputs[3].matrix,
            };
            let values = StepValues { adam_step: step, loss_counts: 1.into(), lr, ..StepValues::default() };
            let mut recorder = Recorder::new(device, values);
            for range in ranges() {
                adamw(&mut recorder, access, &slab, &state, AdamW { arithmetic, ..ADAM }, range)?;
            }
            Ok(Run { program: recorder.finish(), values, outputs })
        }),
        oracle: Box::new(move || {
            let [mut p, mut g, mut m, mut v] = slab(floats).map(|x| wide(&x));
            for range in ranges() {
                let of = range.start..range.end;
                let options = Options {
                    lr: lr * range.lr_scale,
                    beta1: ADAM.beta1,
                    beta2: ADAM.beta2,
                    eps: ADAM.eps,
                    weight_decay: range.decay,
                    t: step.saturating_sub(range.steps_before).max(1),
                    gradient_scale: SCALE,
                    form: if arithmetic == Arithmetic::Torch { Form::Torch } else { Form::Hf2018 },
                };
                if !halted {
                    let (p, m, v) = (&mut p[of.clone()], &mut m[of.clone()], &mut v[of.clone()]);
                    reference::adamw::step(p, &g[of.clone()], m, v, &options);
                }
                g[of].fill(0.0);
            }
            vec![p, g, m, v]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all: Vec<_> =
        [[1, 1], [65, 33], [200, 200], [300, 257]].map(|n| loss_sum_case(Losses::Tokens, n, Purpose::Small)).into();
    all.push(loss_sum_case(Losses::Examples, [32, 21], Purpose::Small));
    // More than eight invocations add up in the turns that llvmpipe's loops have, one loss a turn.
    all.push(loss_sum_case(Losses::Tokens, [530_000, 530_000], Purpose::Small));
    for rows in [1, 3, 5] {
        all.push(norm_case("global_norm", Health::Sound, 1.0, rows, Purpose::Small));
    }
    for (health, clip) in [
        (Health::Sound, 0.0),
        (Health::Sound, 1e6),
        (Health::Nan, 1.0),
        (Health::Infinite, 1.0),
        (Health::Huge, 0.0),
        (Health::Loss, 1.0),
        (Health::Before, 1.0),
    ] {
        all.push(norm_case("step_state", health, clip, 2, Purpose::Small));
    }
    for arithmetic in [Arithmetic::Torch, Arithmetic::Hf2018] {
        for step in [1, 1000] {
            all.push(adamw_case(arithmetic, step, false, 1, true, Purpose::Small));
            all.push(adamw_case(arithmetic, step, false, 3, false, Purpose::Small));
        }
        all.push(adamw_case(arithmetic, 1000, true, 2, false, Purpose::Small));
        all.push(adamw_case(arithmetic, 1000, false, 216, true, Purpose::Bench));
    }
    all.push(loss_sum_case(Losses::Tokens, [1024, 1024], Purpose::Bench));
    all.push(norm_case("global_norm", Health::Sound, 1.0, 216, Purpose::Bench));
    all
}
