//! Cases of matmul: every form and epilogue, 1, primes, tiles ± 1, a live size below capacity; the products of a nano step
//! and 512³ and 1024³ for the bench.

use crate::dims;
use crate::gpu::{Matrix, Recorder};
use crate::ops::matmul::{Epilogue, Form, Matmul, Side, choose, matmul, specs, workspace_words};
use crate::ops::{RowCount, Spec, StepValues};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// What the product does to each sum, without tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// C =
    Plain,
    /// C +=
    Add,
    /// + bias
    Bias,
    /// + bias, GELU
    BiasGelu,
    /// ∘ GELU'
    GeluBackward,
    /// + residual
    Residual,
}

/// Where the numbers of a case start: A has this seed, B the next, then bias and what C starts as.
pub(super) fn seed([m, n, k]: [usize; 3]) -> u32 {
    (m * 31 + n * 7 + k) as u32
}

/// Numbers of an operand: those that f16 holds exactly, so that the variants for mixed precision have the same oracle.
pub(super) fn operand(seed: u32, count: usize) -> Vec<f32> {
    numbers(seed, count).into_iter().map(|x| half::f16::from_f32(x).to_f32()).collect()
}

/// A case of one product; `live` rows of M (A·B, A·Bᵀ) or K (Aᵀ·B) are live.
pub fn case(form: Form, out: Out, [m, n, k]: [usize; 3], live: usize, purpose: Purpose) -> Case {
    let seed = seed([m, n, k]);
    let (a_shape, b_shape) = match form {
        Form::AB => ((m, k), (k, n)),
        Form::ABt => ((m, k), (n, k)),
        Form::AtB => ((k, m), (k, n)),
    };
    // Pre-activations reach to ±100, where a bare tanh is NaN on some drivers.
    let pre_numbers = move || numbers(seed + 5, m * n).iter().map(|x| x * x * x * 100.0).collect::<Vec<_>>();
    Case {
        op: "matmul",
        variant: format!("{form:?} {out:?}"),
        shape: vec![("M", m), ("N", n), ("K", k)],
        purpose,
        tolerance: if k > 4096 { 4e-7 } else { 2e-7 } * (k as f64).sqrt() + 1e-6,
        reason: "rounding of a sum of K products grows like √K; matrix units cut digits off instead, which shows in long sums; \
                 GELU adds an exp of some ulps",
        flops: 2.0 * (m * n * k) as f64,
        bytes: 4.0 * (m * k + k * n + m * n) as f64,
        specs: Box::new(move |caps| {
            let chosen = choose(caps, form, [m, n, k], workspace_words([m, n, k]));
            let others = specs(caps, form).into_iter().filter(|spec| *spec != chosen);
            std::iter::once(chosen).chain(others).map(Spec::Matmul).collect()
        }),
        build: Box::new(move |device, spec| {
            let Spec::Matmul(spec) = spec else { return Err(spec.wrong_kernel("matmul")) };
            let a = Matrix::new(device, "a", a_shape.0, a_shape.1)?;
            let b = Matrix::new(device, "b", b_shape.0, b_shape.1)?;
            a.write(device, &operand(seed, m * k))?;
            b.write(device, &operand(seed + 1, n * k))?;
            let bias = Matrix::new(device, "bias", 1, n)?;
            bias.write(device, &numbers(seed + 2, n))?;
            let c = match out {
                Out::Add => Output::starting(device, "c", m, n, numbers(seed + 3, m * n))?,
                _ => Output::poisoned(device, "c", m, n)?,
            };
            // As large as the result only where they are used: large cases fill a GPU's memory.
            let rows_if = |used: bool| if used { m } else { 1 };
            let has_extra = matches!(out, Out::GeluBackward | Out::Residual);
            let extra = Matrix::new(device, "extra", rows_if(has_extra), n)?;
            match out {
                Out::GeluBackward => extra.write(device, &pre_numbers())?,
                Out::Residual => extra.write(device, &numbers(seed + 4, m * n))?,
                _ => {}
            }
            let pre = Output::poisoned(device, "pre", rows_if(out == Out::BiasGelu), n)?;
            let epilogue = match out {
                Out::Plain | Out::Add => Epilogue::None,
                Out::Bias => Epilogue::Bias(&bias.view),
                Out::BiasGelu => Epilogue::BiasGelu { bias: &bias.view, pre: &pre.matrix },
                Out::GeluBackward => Epilogue::GeluBackward(&extra),
                Out::Residual => Epilogue::Residual(&extra),
            };
            let words = spec.parts() as usize * m * dims::pitch(n);
            let parts = Output::workspace(device, "parts", 1, words)?;
            let mut recorder = Recorder::new(device, StepValues { rows: a_shape.0 as u32, ..StepValues::default() });
            let call = Matmul {
                form,
                a: &a,
                b: &b,
                c: &c.matrix,
                rows: RowCount::Rows,
                epilogue,
                accumulate: out == Out::Add,
                gradient: match form {
                    Form::AB => None,
                    Form::ABt => Some(Side::A),
                    Form::AtB => Some(Side::B),
                },
                parts: Some(&parts.matrix.view),
            };
            matmul(&mut recorder, spec, &call)?;
            let mut outputs = vec![c];
            if out == Out::BiasGelu {
                outputs.push(pre);
            }
            if form != Form::AtB {
                outputs.iter_mut().for_each(|o| o.rows = live);
            }
            outputs.push(parts);
            let values = StepValues { rows: live as u32, ..StepValues::default() };
            Ok(Run { program: recorder.finish(), values, outputs })
        }),
        oracle: Box::new(move || {
            let (a, b) = (wide(&operand(seed, m * k)), wide(&operand(seed + 1, n * k)));
            let (m_live, k_live) = if form == Form::AtB { (m, live) } else { (live, k) };
            let reference_form = match form {
                Form::AB => reference::matmul::Form::AB,
                Form::ABt => reference::matmul::Form::ABt,
                Form::AtB => reference::matmul::Form::AtB,
            };
            let a = &a[..if form == Form::AtB { k_live * m } else { m_live * k }];
            let b = &b[..if form == Form::AtB { k_live * n } else { b.len() }];
            let sum = reference::matmul::matmul(reference_form, a, b, m_live, n, k_live);
            let bias = wide(&numbers(seed + 2, n));
            let extra = wide(&numbers(seed + 4, m * n));
            let zip = |other: &[f64], f: fn(f64, f64) -> f64| sum.iter().zip(other).map(|(s, o)| f(*s, *o)).collect();
            let mut expected = match out {
                Out::Plain => vec![sum],
                Out::Add => vec![zip(&wide(&numbers(seed + 3, m * n)), |s, c| s + c)],
                Out::Bias => vec![reference::matmul::add_bias(&sum, &bias)],
                Out::BiasGelu => {
                    let pre = reference::matmul::add_bias(&sum, &bias);
                    vec![reference::gelu::forward(&pre), pre]
                }
                Out::GeluBackward => {
                    vec![zip(&wide(&pre_numbers()), |s, x| s * reference::gelu::gelu_derivative(x))]
                }
                Out::Residual => vec![zip(&extra, |s, r| s + r)],
            };
            expected.push(Vec::new()); // the workspace
            expected
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let shapes = [[1, 1, 1], [7, 13, 5], [65, 63, 17], [130, 129, 257], [64, 64, 128], [3, 200, 131]];
    for form in [Form::AB, Form::ABt, Form::AtB] {
        for out in [Out::Plain, Out::Add, Out::Bias, Out::BiasGelu, Out::GeluBackward, Out::Residual] {
            if form == Form::AtB && !matches!(out, Out::Plain | Out::Add) {
                continue;
            }
            let some = if out == Out::Plain || out == Out::Add { &shapes[..] } else { &shapes[1..4] };
            for shape in some {
                let extent = if form == Form::AtB { shape[2] } else { shape[0] };
                all.push(case(form, out, *shape, extent.div_ceil(2).max(1), Purpose::Small));
                all.push(case(form, out, *shape, extent, Purpose::Small));
            }
        }
    }
    // Fewer rows that would be cut in more groups than the capacity's.
    all.push(case(Form::AB, Out::Bias, [9, 60, 40], 8, Purpose::Small));
    // Fewer rows that would be cut in more parts than the capacity's, whose parts are rounded to whole steps.
    all.push(case(Form::AtB, Out::Plain, [9, 60, 49], 48, Purpose::Small));
    // More rows than a texture has, as a token table may: operands and results are cut in ranges there.
    for (form, out, [m, n, k]) in [
        (Form::AB, Out::Bias, [3, 5, 16_500]),
        (Form::ABt, Out::Bias, [3, 16_500, 130]),
        (Form::AtB, Out::Add, [16_500, 5, 130]),
    ] {
        all.push(case(form, out, [m, n, k], if form == Form::AtB { k } else { m }, Purpose::Small));
    }
    for (form, out, [m, n, k]) in [
        (Form::AB, Out::Plain, [512, 512, 512]),
        (Form::AB, Out::Plain, [1024, 1024, 1024]),
        (Form::AB, Out::Bias, [1024, 384, 128]),
        (Form::AB, Out::BiasGelu, [1024, 512, 128]),
        (Form::AB, Out::Bias, [1024, 128, 512]),
        (Form::ABt, Out::Plain, [1024, 512, 128]),
        (Form::ABt, Out::GeluBackward, [1024, 512, 128]),
        (Form::AtB, Out::Add, [128, 384, 1024]),
        (Form::AtB, Out::Add, [512, 128, 1024]),
    ] {
        all.push(case(form, out, [m, n, k], if form == Form::AtB { k } else { m }, Purpose::Bench));
    }
    all
}
