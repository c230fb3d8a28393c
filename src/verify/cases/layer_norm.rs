//! Cases of layer norm and of its backward pass: rows that are constant (variance 0), rows up to ±1000, rows below capacity.

use super::inputs::{ROW_SHAPES, input, row_access, row_specs, table};
use crate::gpu::Recorder;
use crate::ops::StepValues;
use crate::ops::layer_norm::{BLOCK, GainAndBias, LayerNorm, LayerNormBackward, backward, layer_norm};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};

const EPS: f32 = 1e-5;

/// What the rows look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// In (-1, 1).
    Ordinary,
    /// Every third row is one number all over.
    Constant,
    /// In (-1000, 1000).
    Large,
}

struct Data {
    x: Vec<f32>,
    branch: Vec<f32>,
    gain: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

fn data(kind: Rows, live: usize, c: usize) -> Data {
    let seed = (live * 13 + c) as u32;
    let rows = |seed| {
        let mut all = numbers(seed, live * c);
        match kind {
            Rows::Ordinary => {}
            Rows::Large => all.iter_mut().for_each(|x| *x *= 1000.0),
            Rows::Constant => all.chunks_exact_mut(c).step_by(3).for_each(|row| row.fill(row[0])),
        }
        all
    };
    let gain = numbers(seed + 2, c).iter().map(|g| 1.0 + 0.5 * g).collect();
    let (bias, dy) = (numbers(seed + 3, c), numbers(seed + 4, live * c));
    Data { x: rows(seed), branch: rows(seed + 1), gain, bias, dy }
}

/// A case of the forward pass.
pub fn forward_case(kind: Rows, [n, live, c]: [usize; 3], purpose: Purpose) -> Case {
    let (tolerance, reason) = match kind {
        Rows::Constant => (2e-4, "a row of variance 0 multiplies the rounding of its mean by 1/√ε = 316"),
        _ => (1e-5, "a mean near 0 is the small rest of C numbers"),
    };
    Case {
        op: "layer_norm",
        variant: format!("{kind:?}"),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance,
        reason,
        flops: 9.0 * (live * c) as f64,
        bytes: 4.0 * (4 * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "layer_norm")?;
            let d = data(kind, live, c);
            let sum = Output::poisoned(device, "sum", n, c)?;
            let y = Output::poisoned(device, "y", n, c)?;
            let stats = Output::plain(device, "stats", [n, 2], None, float)?;
            let mut recorder = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            let call = LayerNorm {
                x: &input(device, "x", n, c, &d.x)?,
                branch: &input(device, "branch", n, c, &d.branch)?,
                gain: &input(device, "gain", 1, c, &d.gain)?,
                bias: &input(device, "bias", 1, c, &d.bias)?,
                eps: EPS,
                sum: &sum.matrix,
                y: &y.matrix,
                stats: &stats.matrix.view,
            };
            layer_norm(&mut recorder, access, &call)?;
            let outputs = [sum, y, stats].into_iter().map(|o| Output { rows: live, ..o }).collect();
            Ok(Run {
                program: recorder.finish(),
                values: StepValues { rows: live as u32, ..StepValues::default() },
                outputs,
            })
        }),
        oracle: Box::new(move || {
            let d = data(kind, live, c);
            let (x, branch, gain, bias) = (wide(&d.x), wide(&d.branch), wide(&d.gain), wide(&d.bias));
            let out = reference::layer_norm::forward(&x, Some(&branch), &gain, &bias, f64::from(EPS));
            let stats = out.mean.iter().zip(&out.rstd).flat_map(|(m, r)| [*m, *r]).collect();
            vec![out.sum, out.y, stats]
        }),
    }
}

/// The sum, mean and rstd that the backward pass reads: in f32, as the forward pass writes them.
fn kept(d: &Data) -> (Vec<f32>, Vec<f32>) {
    let sum: Vec<f32> = d.x.iter().zip(&d.branch).map(|(x, b)| x + b).collect();
    let (gain, bias) = (wide(&d.gain), wide(&d.bias));
    let out = reference::layer_norm::forward(&wide(&sum), None, &gain, &bias, f64::from(EPS));
    let stats = out.mean.iter().zip(&out.rstd).flat_map(|(m, r)| [*m as f32, *r as f32]).collect();
    (sum, stats)
}

/// A case of the backward pass.
pub fn backward_case(kind: Rows, [n, live, c]: [usize; 3], purpose: Purpose) -> Case {
    let seed = (n + c) as u32;
    Case {
        op: "layer_norm_backward",
        variant: format!("{kind:?}"),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance: 2e-6,
        reason: "sums over C and over N rows in f32",
        flops: 14.0 * (live * c) as f64,
        bytes: 4.0 * (3 * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "layer_norm_backward")?;
            let d = data(kind, live, c);
            let (sum, stats) = kept(&d);
            let stats: Vec<u32> = stats.iter().map(|s| s.to_bits()).collect();
            let blocks = n.div_ceil(BLOCK);
            let dsum = Output::poisoned(device, "dsum", n, c)?;
            let dgain = Output::starting(device, "dgain", 1, c, numbers(seed, c))?;
            let dbias = Output::starting(device, "dbias", 1, c, numbers(seed + 1, c))?;
            let partial_gain = Output::workspace(device, "partial dgain", blocks, c)?;
            let partial_bias = Output::workspace(device, "partial dbias", blocks, c)?;
            let mut recorder = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            let call = LayerNormBackward {
                dy: &input(device, "dy", n, c, &d.dy)?,
                sum: &input(device, "sum", n, c, &sum)?,
                stats: &table(device, "stats", 2 * n, &stats)?,
                gain: &input(device, "gain", 1, c, &d.gain)?,
                dsum: &dsum.matrix,
                gradients: Some(GainAndBias { gain: &dgain.matrix, bias: &dbias.matrix }),
                partial: GainAndBias { gain: &partial_gain.matrix, bias: &partial_bias.matrix },
            };
            backward(&mut recorder, access, &call)?;
            let outputs = vec![Output { rows: live, ..dsum }, dgain, dbias, partial_gain, partial_bias];
            Ok(Run {
                program: recorder.finish(),
                values: StepValues { rows: live as u32, ..StepValues::default() },
                outputs,
            })
        }),
        oracle: Box::new(move || {
            let d = data(kind, live, c);
            let (sum, stats) = kept(&d);
            let every = |skip| wide(&stats).into_iter().skip(skip).step_by(2).collect::<Vec<_>>();
            let (mean, rstd) = (every(0), every(1));
            let out = reference::layer_norm::backward(&wide(&d.dy), &wide(&sum), &mean, &rstd, &wide(&d.gain));
            let added = |seed, g: &[f64]| wide(&numbers(seed, c)).iter().zip(g).map(|(b, g)| b + g).collect();
            vec![out.dx, added(seed, &out.dgain), added(seed + 1, &out.dbias), Vec::new(), Vec::new()]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for shape in ROW_SHAPES {
        for kind in [Rows::Ordinary, Rows::Constant, Rows::Large] {
            all.push(forward_case(kind, shape, Purpose::Small));
            all.push(backward_case(kind, shape, Purpose::Small));
        }
    }
    all.push(forward_case(Rows::Ordinary, [1024, 1024, 128], Purpose::Bench));
    all.push(backward_case(Rows::Ordinary, [1024, 1024, 128], Purpose::Bench));
    all
}
