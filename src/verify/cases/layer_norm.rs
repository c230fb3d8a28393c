//! Cases of layer norm and of its backward pass: rows that are constant (variance 0), rows up to ±1000, rows below capacity,
//! with and without dropout of the branch, gradients side by side in one buffer and in buffers of their own.

use super::inputs::{ROW_SIZES, RowSizes, input, ragged, row_access, row_specs, table};
use crate::Result;
use crate::gpu::{Device, Recorder, View};
use crate::ops::StepValues;
use crate::ops::layer_norm::{
    BranchBackward, BranchDropout, LayerNorm, LayerNormBackward, NormGradients, backward, layer_norm, partial_rows,
};
use crate::philox::{Site, place, step_key};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};

const EPS: f32 = 1e-5;
/// The dropout rate of the cases that have one.
const RATE: f32 = 0.25;

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

/// Where the masks come from: a table with the positions and sequence numbers of ragged sequences.
struct Masks {
    table: View,
    positions: View,
    sequences: View,
}

const KEY_SEED: u64 = 5;
const MASK_PLACE: u32 = place(0, 2, Site::ResidualAttention);

impl Masks {
    fn new(device: &Device, n: usize, live: usize) -> Result<Self> {
        let (mut words, sequences) = ragged(live, 64);
        words.resize(n + 1, 0);
        words.extend(sequences);
        let table = table(device, "positions and sequences", 2 * n + 1, &words)?;
        Ok(Masks { positions: table.part(0, n), sequences: table.part(n + 1, n), table })
    }

    fn dropout(&self) -> BranchDropout<'_> {
        let Masks { table, positions, sequences } = self;
        BranchDropout { table, positions, sequences, rate: RATE, place: MASK_PLACE }
    }
}

fn values(rows: usize) -> StepValues {
    StepValues { rows: rows as u32, dropout_key: step_key(KEY_SEED, 1), ..StepValues::default() }
}

/// x [live, C] behind dropout, if there is one.
fn dropped(x: &[f64], c: usize, dropout: bool) -> Vec<f64> {
    if !dropout {
        return x.to_vec();
    }
    let (positions, sequences) = ragged(x.len() / c, 64);
    reference::dropout::apply(x, c, &positions, &sequences, step_key(KEY_SEED, 1), MASK_PLACE, RATE)
}

fn variant(kind: Rows, dropout: bool) -> String {
    format!("{kind:?}{}", if dropout { ", dropout" } else { "" })
}

/// A case of the forward pass.
pub fn forward_case(
    kind: Rows,
    dropout: bool,
    RowSizes { rows: n, live, columns: c }: RowSizes,
    purpose: Purpose,
) -> Case {
    let (tolerance, reason) = match kind {
        Rows::Constant => (2e-4, "a row of variance 0 multiplies the rounding of its mean by 1/√ε = 316"),
        _ => (1e-5, "a mean near 0 is the small rest of C numbers"),
    };
    Case {
        op: "layer_norm",
        variant: variant(kind, dropout),
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
            let mut recorder = Recorder::new(device, values(n));
            let masks = Masks::new(device, n, live)?;
            let call = LayerNorm {
                x: &input(device, "x", n, c, &d.x)?,
                branch: &input(device, "branch", n, c, &d.branch)?,
                dropout: dropout.then(|| masks.dropout()),
                gain: &input(device, "gain", 1, c, &d.gain)?,
                bias: &input(device, "bias", 1, c, &d.bias)?,
                eps: EPS,
                sum: &sum.matrix,
                y: &y.matrix,
                stats: &stats.matrix.view,
            };
            layer_norm(&mut recorder, access, &call)?;
            let outputs = [sum, y, stats].into_iter().map(|o| Output { rows: live, ..o }).collect();
            Ok(Run { program: recorder.finish(), values: values(live), outputs })
        }),
        oracle: Box::new(move || {
            let d = data(kind, live, c);
            let (x, gain, bias) = (wide(&d.x), wide(&d.gain), wide(&d.bias));
            let branch = dropped(&wide(&d.branch), c, dropout);
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

/// A case of the backward pass. With dropout, the gradients of the parameters have buffers of their own; without, they lie
/// side by side.
pub fn backward_case(
    kind: Rows,
    dropout: bool,
    RowSizes { rows: n, live, columns: c }: RowSizes,
    purpose: Purpose,
) -> Case {
    let seed = (n + c) as u32;
    Case {
        op: "layer_norm_backward",
        variant: variant(kind, dropout),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance: 2e-6,
        reason: "sums over C and over N rows in f32",
        flops: 14.0 * (live * c) as f64,
        bytes: 4.0 * ((3 + usize::from(dropout)) * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "layer_norm_backward")?;
            let d = data(kind, live, c);
            let (sum, stats) = kept(&d);
            let stats: Vec<u32> = stats.iter().map(|s| s.to_bits()).collect();
            let masks = Masks::new(device, n, live)?;
            let dsum = Output::poisoned(device, "dsum", n, c)?;
            let dbranch = Output::poisoned(device, "dbranch", n, c)?;
            let partial = Output::workspace(device, "partial", partial_rows(n), c)?;
            let start = numbers(seed, 3 * c);
            let gradients = if dropout {
                let own = |(name, start): (&'static str, &[f32])| Output::starting(device, name, 1, c, start.to_vec());
                ["branch bias", "gain", "bias"].into_iter().zip(start.chunks(c)).map(own).collect::<Result<Vec<_>>>()?
            } else {
                vec![Output::starting(device, "gradients", 3, c, start)?]
            };
            let rows: Vec<_> = gradients.iter().flat_map(|o| (0..o.rows).map(|i| o.matrix.rows_from(i, 1))).collect();
            let mut recorder = Recorder::new(device, values(n));
            let call = LayerNormBackward {
                dy: &input(device, "dy", n, c, &d.dy)?,
                sum: &input(device, "sum", n, c, &sum)?,
                stats: &table(device, "stats", 2 * n, &stats)?,
                gain: &input(device, "gain", 1, c, &d.gain)?,
                dsum: &dsum.matrix,
                branch: dropout.then(|| BranchBackward { dropout: masks.dropout(), dbranch: &dbranch.matrix }),
                gradients: Some(NormGradients { branch_bias: &rows[0], gain: &rows[1], bias: &rows[2] }),
                partial: &partial.matrix,
            };
            backward(&mut recorder, access, &call)?;
            let wide = [dsum, dbranch].into_iter().take(1 + usize::from(dropout));
            let outputs = wide.map(|o| Output { rows: live, ..o }).chain(gradients).chain([partial]).collect();
            Ok(Run { program: recorder.finish(), values: values(live), outputs })
        }),
        oracle: Box::new(move || {
            let d = data(kind, live, c);
            let (sum, stats) = kept(&d);
            let every = |skip| wide(&stats).into_iter().skip(skip).step_by(2).collect::<Vec<_>>();
            let (mean, rstd) = (every(0), every(1));
            let out = reference::layer_norm::backward(&wide(&d.dy), &wide(&sum), &mean, &rstd, &wide(&d.gain));
            let dbranch = dropped(&out.dx, c, dropout);
            let sums = [reference::matmul::bias_gradient(&dbranch, c), out.dgain, out.dbias].concat();
            let start = wide(&numbers(seed, 3 * c));
            let gradients: Vec<f64> = start.iter().zip(&sums).map(|(start, sum)| start + sum).collect();
            let mut all = vec![out.dx];
            if dropout {
                all.push(dbranch);
                all.extend(gradients.chunks(c).map(<[f64]>::to_vec));
            } else {
                all.push(gradients);
            }
            all.push(Vec::new());
            all
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for sizes in ROW_SIZES {
        for kind in [Rows::Ordinary, Rows::Constant, Rows::Large] {
            all.push(forward_case(kind, false, sizes, Purpose::Small));
            all.push(backward_case(kind, false, sizes, Purpose::Small));
        }
        all.push(forward_case(Rows::Ordinary, true, sizes, Purpose::Small));
        all.push(backward_case(Rows::Ordinary, true, sizes, Purpose::Small));
    }
    // So many rows that a group sums more than the fewest rows.
    for dropout in [false, true] {
        all.push(backward_case(
            Rows::Ordinary,
            dropout,
            RowSizes { rows: 8300, live: 8211, columns: 3 },
            Purpose::Small,
        ));
        for sizes in
            [RowSizes { rows: 1024, live: 1024, columns: 128 }, RowSizes { rows: 8192, live: 8192, columns: 768 }]
        {
            all.push(forward_case(Rows::Ordinary, dropout, sizes, Purpose::Bench));
            all.push(backward_case(Rows::Ordinary, dropout, sizes, Purpose::Bench));
        }
    }
    all
}
