//! Cases f: memory-compressed attention, ours and that of the lucidrains package.

use super::case::Case;
use super::rows::{beside, columns, matrix, narrow};
use crate::common::models::blank_batch;
use crate::common::tensors::layout;
use wgpt::config::{AttentionKind, ParameterKind, ParameterShape};
use wgpt::gpu::{Device, Matrix, Recorder, View};
use wgpt::ops::attention::{self, Attention, Gradients, KeyValues};
use wgpt::ops::column_sum::{ColumnSum, column_sum};
use wgpt::ops::gather_rows::{IndexedRows, gather_rows};
use wgpt::ops::kernels::Kernels;
use wgpt::ops::kv_compress::{self, Compress, ParameterGradients};
use wgpt::ops::matmul::{self, Epilogue, Form, Matmul, matmul};
use wgpt::ops::{RowAccess, RowCount, StepValues};
use wgpt::reference::widen;
use wgpt::store::safetensors as files;

/// A memory-compressed layer between its projections: convolutions as files hold them, null key and value.
struct Compression<'a> {
    lengths: Vec<usize>,
    heads: usize,
    factor: usize,
    group_width: usize,
    scale: f32,
    /// Weight [C, C/groups, f] and bias of keys and of values.
    convolutions: [[&'a [f64]; 2]; 2],
    /// None is zero.
    nulls: Option<[&'a [f64]; 2]>,
}

/// y and the gradients; those of convolutions and nulls of keys, then of values.
struct Compressed {
    y: Vec<f64>,
    dqkv: Vec<f64>,
    dweights: [Vec<f64>; 2],
    dbiases: [Vec<f64>; 2],
    dnulls: [Vec<f64>; 2],
}

impl Compression<'_> {
    fn run(&self, device: &Device, spec: attention::Spec, qkv: &[f64], dy: &[f64]) -> wgpt::Result<Compressed> {
        let batch = blank_batch(&self.lengths);
        let (n, f) = (batch.rows(), self.factor);
        let c = dy.len() / n;
        let (layout, values) = layout(device, &batch, None, Some(f));
        let capacity = layout.capacity();
        let (qkv, dqkv) = (matrix(device, n, 3 * c, qkv), matrix(device, n, 3 * c, &[]));
        let (y, dy) = (matrix(device, n, c, &[]), matrix(device, n, c, dy));
        let [slots, dslots] = [(); 2].map(|()| matrix(device, 2 * capacity.slot_rows(), c, &[]));
        let [lse, delta] = ["lse", "delta"].map(|name| View::new(device, name, n * self.heads).expect("a view"));
        let [rows, width] = kv_compress::workspace_shape(capacity.slots(), c, f, self.group_width);
        let windows = matrix(device, rows, width, &[]);
        let partial = matrix(device, n, c, &[]);
        let shape = ParameterShape {
            name: "weight".into(),
            rows: f * self.group_width,
            columns: c,
            kind: ParameterKind::Convolution(f),
        };
        let access = RowAccess::choose(device.caps(), c, &[&qkv]);
        let kernels = Kernels::new();
        let compress = |part: usize, weight| Compress {
            x: &qkv,
            rows: RowCount::Rows,
            first_column: (1 + part) * c,
            weight,
            factor: f,
            slot_rows: &layout.slot_rows,
            slots: RowCount::Slots,
            workspace: &windows,
            kernels: &kernels,
        };
        let mut rec = Recorder::new(device, layout.values_at_capacity());
        let weights = self.convolutions.map(|[weight, _]| {
            let weight = files::from_file(&shape, narrow(weight));
            matrix(device, shape.rows, c, &widen(&weight))
        });
        for part in [0, 1] {
            let bias = matrix(device, 1, c, self.convolutions[part][1]);
            let out = slots.rows_from(part * capacity.slot_rows(), capacity.slots());
            kv_compress::forward(&mut rec, access, &compress(part, &weights[part]), &bias.view, &out)?;
            if let Some(nulls) = self.nulls {
                let x = matrix(device, 1, c, nulls[part]);
                let out = slots.rows_from(part * capacity.slot_rows() + capacity.slots(), capacity.null_keys());
                gather_rows(
                    &mut rec,
                    access,
                    &IndexedRows { input: &x, index: &layout.null_indices, output: &out, count: RowCount::NullKeys },
                )?;
            }
        }
        let call = Attention {
            kind: AttentionKind::Compressed,
            heads: self.heads,
            queries: &qkv,
            kv: KeyValues::stacked(&slots),
            y: &y,
            log_sum_exp: &lse,
            layout: &layout,
            scale: self.scale,
            rate: 0.0,
            layer: 0,
        };
        attention::forward(&mut rec, spec, &call)?;
        attention::backward(&mut rec, spec, &call, &Gradients { dy: &dy, delta: &delta, dq: &dqkv, dkv: &dslots })?;
        let mut gradients = Vec::new();
        for part in [0, 1] {
            let first = part * capacity.slot_rows();
            let (dweight, dbias) = (matrix(device, shape.rows, c, &[]), matrix(device, 1, c, &[]));
            let to = kv_compress::Gradients {
                dy: &dslots.rows_from(first, capacity.slots()),
                dx: &dqkv,
                parameters: Some(ParameterGradients { weight: &dweight, bias: &dbias }),
                tail_rows: &layout.tail_rows,
                partial: &partial,
            };
            kv_compress::backward(&mut rec, access, &compress(part, &weights[part]), &to)?;
            let dnull = matrix(device, 1, c, &[]);
            let of_nulls = dslots.rows_from(first + capacity.slots(), capacity.null_keys());
            column_sum(
                &mut rec,
                access,
                &ColumnSum { input: &of_nulls, partial: &partial, output: &dnull, rows: RowCount::NullKeys },
            )?;
            gradients.push([dweight, dbias, dnull]);
        }
        rec.finish().run(&values)?;
        let read = |m: &Matrix| widen(&m.read(device).expect("a matrix"));
        let all = |i: usize| [0, 1].map(|part: usize| read(&gradients[part][i]));
        let dweights = all(0).map(|w| widen(&files::to_file(&shape, &narrow(&w))));
        Ok(Compressed { y: read(&y), dqkv: read(&dqkv), dweights, dbiases: all(1), dnulls: all(2) })
    }
}

fn sum(parts: &[Vec<f64>; 2]) -> Vec<f64> {
    parts[0].iter().zip(&parts[1]).map(|(a, b)| a + b).collect()
}

/// A memory-compressed layer without projections, with every Spec that this adapter can run.
pub fn strict(device: &Device, case: &Case) -> f64 {
    let (b, t, c) = (case.number("B") as usize, case.number("T") as usize, case.number("D") as usize);
    let heads = case.number("heads") as usize;
    let shared = case.manifest["config"]["shared_kv_conv"] == true;
    let convolution = |name: &str| {
        let name = if shared { "conv_k" } else { name };
        ["weight", "bias"].map(|part| case.weight(&format!("{name}.{part}")))
    };
    let learned = case.manifest["config"]["null"] == "learned";
    let compression = Compression {
        lengths: vec![t; b],
        heads,
        factor: case.number("factor") as usize,
        group_width: c / case.number("conv_groups") as usize,
        scale: attention::head_scale(c, heads),
        convolutions: [convolution("conv_k"), convolution("conv_v")],
        nulls: learned.then(|| [case.weight("null_k"), case.weight("null_v")]),
    };
    let qkv = beside(&["in.q", "in.k", "in.v"].map(|name| case.values(name)), c);
    let judge = |spec| {
        let got = compression.run(device, spec, &qkv, case.values("in.dy")).expect("a run");
        let mut all = vec![("out.y", got.y)];
        all.extend(
            ["grad_in.q", "grad_in.k", "grad_in.v"]
                .into_iter()
                .zip((0..3).map(|i| columns(&got.dqkv, 3 * c, i * c, c))),
        );
        if shared {
            all.extend([("grad.conv_k.weight", sum(&got.dweights)), ("grad.conv_k.bias", sum(&got.dbiases))]);
        } else {
            all.extend(["grad.conv_k.weight", "grad.conv_v.weight"].into_iter().zip(got.dweights));
            all.extend(["grad.conv_k.bias", "grad.conv_v.bias"].into_iter().zip(got.dbiases));
        }
        if learned {
            all.extend(["grad.null_k", "grad.null_v"].into_iter().zip(got.dnulls));
        }
        all.into_iter().map(|(name, got)| case.judge(name, &got, |_| true)).fold(0.0, f64::max)
    };
    attention::specs(device.caps(), c / heads).into_iter().map(judge).fold(0.0, f64::max)
}

/// The whole layer of the lucidrains package: one convolution of H groups, scores by C^-½, slots aligned to the end, which is
/// the strict layer behind rows of zeros.
pub fn lucidrains(device: &Device, case: &Case) -> f64 {
    let (b, t, c) = (case.number("B") as usize, case.number("T") as usize, case.number("dim") as usize);
    let (heads, factor) = (case.number("heads") as usize, case.number("compression_factor") as usize);
    let convolution = ["compress_fn.conv.weight", "compress_fn.conv.bias"].map(|name| case.weight(name));
    let padded = t.next_multiple_of(factor);
    let compression = Compression {
        lengths: vec![padded; b],
        heads,
        factor,
        group_width: c / heads,
        scale: attention::head_scale(c, 1),
        convolutions: [convolution; 2],
        nulls: Some([case.weight("null_k"), case.weight("null_v")]),
    };
    let pad = |x: &[f64]| -> Vec<f64> {
        x.chunks_exact(t * c).flat_map(|s| [vec![0.0; (padded - t) * c], s.to_vec()].concat()).collect()
    };
    let cut =
        |x: &[f64]| -> Vec<f64> { x.chunks_exact(padded * c).flat_map(|s| s[(padded - t) * c..].to_vec()).collect() };
    let n = b * padded;
    let values = StepValues { rows: n as u32, ..StepValues::default() };
    let product = |form: Form, a: (&[f64], usize), b: (&[f64], usize), columns: usize, rows: usize| {
        let [a, b] = [a, b].map(|(x, columns)| matrix(device, x.len() / columns, columns, x));
        let c = matrix(device, rows, columns, &[]);
        let call = Matmul {
            form,
            a: &a,
            b: &b,
            c: &c,
            rows: RowCount::Rows,
            epilogue: Epilogue::None,
            accumulate: form == Form::AtB,
            gradient: None,
            parts: None,
        };
        let mut rec = Recorder::new(device, values);
        matmul(&mut rec, matmul::choose(device.caps(), form, matmul::sizes(form, &a, &b), 0), &call)
            .expect("a product");
        rec.finish().run(&values).expect("a run");
        widen(&c.read(device).expect("a product"))
    };
    let (x, dy) = (pad(case.values("in.x")), pad(case.values("in.dy")));
    let (to_qkv, to_out) = (case.weight("to_qkv.weight"), case.weight("to_out.weight"));
    let qkv = product(Form::ABt, (&x, c), (to_qkv, c), 3 * c, n);
    let datt = product(Form::AB, (&dy, c), (to_out, c), c, n);
    let judge = |spec| {
        let got = compression.run(device, spec, &qkv, &datt).expect("a run");
        let bias = case.weight("to_out.bias");
        let y = product(Form::ABt, (&got.y, c), (to_out, c), c, n);
        let y: Vec<f64> = y.iter().enumerate().map(|(i, y)| y + bias[i % c]).collect();
        let dbias = (0..c).map(|j| case.values("in.dy").iter().skip(j).step_by(c).sum()).collect();
        let all = [
            ("out.y", cut(&y)),
            ("grad_in.x", cut(&product(Form::AB, (&got.dqkv, 3 * c), (to_qkv, c), c, n))),
            ("grad.to_qkv.weight", product(Form::AtB, (&got.dqkv, 3 * c), (&x, c), c, 3 * c)),
            ("grad.to_out.weight", product(Form::AtB, (&dy, c), (&got.y, c), c, c)),
            ("grad.to_out.bias", dbias),
            ("grad.compress_fn.conv.weight", sum(&got.dweights)),
            ("grad.compress_fn.conv.bias", sum(&got.dbiases)),
            ("grad.null_k", got.dnulls[0].clone()),
            ("grad.null_v", got.dnulls[1].clone()),
        ];
        all.into_iter().map(|(name, got)| case.judge(name, &got, |_| true)).fold(0.0, f64::max)
    };
    attention::specs(device.caps(), c / heads).into_iter().map(judge).fold(0.0, f64::max)
}
