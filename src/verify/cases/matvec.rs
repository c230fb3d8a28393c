//! Cases of products of few rows: with and without layer norm, every epilogue, one row to more than a group holds, a vocabulary
//! past the side of a texture; a layer of gpt1 and a head for the bench.

use super::inputs::input;
use crate::Result;
use crate::gpu::{Device, Image, Matrix, Recorder, Tensor};
use crate::ops::matmul::Form;
use crate::ops::matvec::{self, Matvec, Norm, matvec};
use crate::ops::{RowCount, Spec, StepValues};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

const EPS: f32 = 1e-5;

/// What is done to A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// Nothing.
    Plain,
    /// Layer norm.
    Norm,
    /// Layer norm, and its rows are kept.
    NormKept,
}

/// What the product does to each sum, without tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// Nothing.
    Plain,
    /// + bias
    Bias,
    /// + bias, GELU
    BiasGelu,
    /// + bias + residual
    BiasResidual,
}

struct Data {
    a: Vec<f32>,
    b: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    gain: Vec<f32>,
    shift: Vec<f32>,
}

fn data([m, n, k]: [usize; 3]) -> Data {
    let seed = (m * 31 + n * 7 + k) as u32;
    let gain = numbers(seed + 4, k).iter().map(|g| 1.0 + 0.5 * g).collect();
    Data {
        a: numbers(seed, m * k),
        b: numbers(seed + 1, n * k),
        bias: numbers(seed + 2, n),
        residual: numbers(seed + 3, m * n),
        gain,
        shift: numbers(seed + 5, k),
    }
}

/// A tensor with the first rows of `dense`, copied into an image by the program where the Spec reads images.
fn tensor(
    device: &Device,
    rec: &mut Recorder<StepValues>,
    spec: matvec::Spec,
    name: &str,
    [rows, columns]: [usize; 2],
    dense: &[f32],
) -> Result<Tensor> {
    let matrix = input(device, name, rows, columns, dense)?;
    into_place(device, rec, spec, matrix)
}

fn into_place(device: &Device, rec: &mut Recorder<StepValues>, spec: matvec::Spec, matrix: Matrix) -> Result<Tensor> {
    if spec == matvec::Spec::Buffer {
        return Ok(Tensor::Buffer(matrix));
    }
    let image = Image::new(device, &matrix.view.name, matrix.rows, matrix.columns)?;
    rec.copy_into_image(&matrix, &image)?;
    Ok(Tensor::Image(image))
}

/// A case of one product; `live` of M rows.
pub fn case(form: Form, norm: In, out: Out, [m, n, k]: [usize; 3], live: usize, purpose: Purpose) -> Case {
    let b_shape = if form == Form::AB { [k, n] } else { [n, k] };
    Case {
        op: "matvec",
        variant: format!("{form:?} {norm:?} {out:?}"),
        shape: vec![("M", m), ("N", n), ("K", k)],
        purpose,
        tolerance: 2e-7 * (k as f64).sqrt() + if norm == In::Plain { 1e-6 } else { 1e-5 },
        reason: "rounding of a sum of K products grows like √K; layer norm as its own case",
        flops: 2.0 * (m * n * k) as f64,
        bytes: 4.0 * (m * k + k * n + m * n) as f64,
        specs: Box::new(|caps| {
            let mut all: Vec<_> = matvec::specs(caps).into_iter().map(Spec::Matvec).collect();
            all.reverse();
            all
        }),
        build: Box::new(move |device, spec| {
            let Spec::Matvec(spec) = spec else { return Err(spec.wrong_kernel("matvec")) };
            let d = data([m, n, k]);
            let mut rec = Recorder::new(device, StepValues { rows: m as u32, ..StepValues::default() });
            let b = Matrix::new(device, "b", b_shape[0], b_shape[1])?;
            b.write(device, &d.b)?;
            let b = matvec::weight(device, spec, form, b)?;
            let a = match norm {
                // A tensor that no kernel before wrote as an image is read through its image copy.
                In::Plain => Tensor::Buffer(input(device, "a", m, k, &d.a[..live * k])?),
                _ => tensor(device, &mut rec, spec, "a", [m, k], &d.a[..live * k])?,
            };
            let residual = tensor(device, &mut rec, spec, "residual", [m, n], &d.residual[..live * n])?;
            let [gain, shift] = [("gain", &d.gain), ("shift", &d.shift)].map(|(name, x)| input(device, name, 1, k, x));
            let (gain, shift) = (gain?, shift?);
            let norms = Image::stacked(device, "norms", &[&gain, &shift])?;
            let bias = input(device, "bias", 1, n, &d.bias)?.view;
            let (c, kept) = (Output::poisoned(device, "c", m, n)?, Output::poisoned(device, "normed", m, k)?);
            let in_image = form == Form::AB && spec == matvec::Spec::Image;
            let c_tensor = if in_image {
                into_place(device, &mut rec, spec, c.matrix.clone())?
            } else {
                Tensor::Buffer(c.matrix.clone())
            };
            let keep = into_place(device, &mut rec, spec, kept.matrix.clone())?;
            let call = Matvec {
                form,
                input: &a,
                norm: (norm != In::Plain).then_some(Norm {
                    gain: &gain,
                    bias: &shift,
                    image: Some(&norms),
                    eps: EPS,
                    keep: (norm == In::NormKept).then_some(&keep),
                }),
                weight: &b,
                epilogue: match out {
                    Out::Plain => matvec::Epilogue::None,
                    Out::Bias => matvec::Epilogue::Bias(&bias),
                    Out::BiasGelu => matvec::Epilogue::BiasGelu(&bias),
                    Out::BiasResidual => matvec::Epilogue::BiasResidual { bias: &bias, residual: &residual },
                },
                output: &c_tensor,
                rows: RowCount::Rows,
            };
            matvec(&mut rec, spec, &call)?;
            for (tensor, output) in [(&c_tensor, &c), (&keep, &kept)] {
                if let Tensor::Image(image) = tensor {
                    rec.copy_out_of_image(image, &output.matrix)?;
                }
            }
            let mut outputs = vec![c];
            outputs.extend((norm == In::NormKept).then_some(kept));
            outputs.iter_mut().for_each(|o| o.rows = live);
            let values = StepValues { rows: live as u32, ..StepValues::default() };
            Ok(Run { program: rec.finish(), values, outputs })
        }),
        oracle: Box::new(move || {
            let d = data([m, n, k]);
            let a = wide(&d.a[..live * k]);
            let normed = match norm {
                In::Plain => a,
                _ => reference::layer_norm::forward(&a, None, &wide(&d.gain), &wide(&d.shift), f64::from(EPS)).y,
            };
            let reference_form =
                if form == Form::AB { reference::matmul::Form::AB } else { reference::matmul::Form::ABt };
            let mut c = reference::matmul::matmul(reference_form, &normed, &wide(&d.b), live, n, k);
            if out != Out::Plain {
                c = reference::matmul::add_bias(&c, &wide(&d.bias));
            }
            match out {
                Out::BiasGelu => c = reference::gelu::forward(&c),
                Out::BiasResidual => c.iter_mut().zip(&d.residual).for_each(|(c, r)| *c += f64::from(*r)),
                _ => {}
            }
            let mut all = vec![c];
            all.extend((norm == In::NormKept).then_some(normed));
            all
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let shapes = [[1, 1, 1], [1, 70, 33], [2, 64, 128], [3, 129, 100], [7, 13, 260], [4, 200, 36], [9, 65, 65]];
    for form in [Form::AB, Form::ABt] {
        for (norm, out) in [
            (In::Plain, Out::Plain),
            (In::Plain, Out::Bias),
            (In::NormKept, Out::Bias),
            (In::NormKept, Out::BiasGelu),
            (In::Plain, Out::BiasResidual),
            (In::Norm, Out::Plain),
        ] {
            let often = matches!((norm, out), (In::Plain, Out::Bias) | (In::NormKept, Out::BiasGelu));
            for shape in &shapes[if often { 0..7 } else { 4..6 }] {
                let shape = *shape;
                all.push(case(form, norm, out, shape, shape[0], Purpose::Small));
            }
            all.push(case(form, norm, out, [6, 50, 37], 3, Purpose::Small));
        }
    }
    all.push(case(Form::ABt, In::Norm, Out::Plain, [2, 16_500, 8], 2, Purpose::Small));
    // Enough columns and depth for the narrow tiles.
    all.push(case(Form::AB, In::Plain, Out::Bias, [2, 100, 1030], 2, Purpose::Small));
    all.push(case(Form::AB, In::Plain, Out::Bias, [1, 300, 520], 1, Purpose::Small));
    for (form, norm, out, [n, k]) in [
        (Form::AB, In::NormKept, Out::Bias, [2304, 768]),
        (Form::AB, In::Plain, Out::BiasResidual, [768, 768]),
        (Form::AB, In::NormKept, Out::BiasGelu, [3072, 768]),
        (Form::AB, In::Plain, Out::BiasResidual, [768, 3072]),
        (Form::ABt, In::Norm, Out::Plain, [8192, 768]),
    ] {
        all.push(case(form, norm, out, [1, n, k], 1, Purpose::Bench));
    }
    all
}
