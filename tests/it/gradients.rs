//! Gradients from the device against slopes of the f64 oracles' forward passes, along random directions:
//! (f(x + εu) - f(x - εu)) / 2ε = ⟨df/dx, u⟩. The backward oracles are not used.

use crate::common::device;
use crate::common::models::blank_batch;
use crate::common::tensors::{layout, list, matrix, zeros};
use wgpt::config::AttentionKind;
use wgpt::gpu::{Matrix, Recorder, View};
use wgpt::ops::attention::{self, Attention, KeyValues};
use wgpt::ops::column_sum::{ColumnSum, column_sum};
use wgpt::ops::cross_entropy::{CrossEntropy, cross_entropy};
use wgpt::ops::embedding::{EmbeddingBackward, Table};
use wgpt::ops::kernels::Kernels;
use wgpt::ops::kv_compress::{self, Compress, ParameterGradients};
use wgpt::ops::layer_norm::{LayerNorm, LayerNormBackward, NormGradients, layer_norm, partial_rows};
use wgpt::ops::matmul::{Epilogue, Form, Matmul, matmul, specs};
use wgpt::ops::{RowAccess, RowCount, StepValues, embedding, layer_norm as ops_layer_norm};
use wgpt::reference;
use wgpt::verify::{numbers, wide};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Four directions; 2e-5 of the slope, or of a typical slope where a direction is nearly level: f32 gradients.
fn slopes(what: &str, x: &[f32], gradient: &[f32], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    let (x, gradient) = (wide(x), wide(gradient));
    let typical = dot(&gradient, &gradient).sqrt() / (x.len() as f64).sqrt();
    assert!(typical > 0.0, "{what}: no gradient at all");
    for seed in 0..4 {
        let u = wide(&numbers(900 + seed, x.len()));
        let length = dot(&u, &u).sqrt();
        let h = 1e-4;
        let moved = |by: f64| f(&x.iter().zip(&u).map(|(x, u)| x + by * u / length).collect::<Vec<_>>());
        let (slope, exact) = ((moved(h) - moved(-h)) / (2.0 * h), dot(&gradient, &u) / length);
        let limit = 2e-5 * exact.abs().max(typical);
        assert!((slope - exact).abs() <= limit, "{what}: slope {slope}, gradient {exact} (direction {seed})");
    }
}

#[test]
fn layer_norm_gradients() {
    let (n, c) = (37, 70);
    let device = device();
    let [x, branch, dy] = [1, 2, 3].map(|seed| numbers(seed, n * c));
    let (gain, bias) = (numbers(4, c), numbers(5, c));
    for access in RowAccess::all(device.caps()) {
        let tensor = |name, data: &[f32]| matrix(&device, name, data.len() / c, c, data);
        let empty = |name, rows| zeros(&device, name, rows, c);
        let (gpu_gain, sum, y, dsum) = (tensor("gain", &gain), empty("sum", n), empty("y", n), empty("dsum", n));
        let [dgain, dbias, dbranch_bias] = ["dgain", "dbias", "dbranch_bias"].map(|name| empty(name, 1));
        let stats = View::new(&device, "stats", 2 * n).expect("stats");
        let values = StepValues { rows: n as u32, ..StepValues::default() };
        let mut recorder = Recorder::new(&device, values);
        let forward = LayerNorm {
            x: &tensor("x", &x),
            branch: &tensor("branch", &branch),
            dropout: None,
            gain: &gpu_gain,
            bias: &tensor("bias", &bias),
            eps: 1e-5,
            sum: &sum,
            y: &y,
            stats: &stats,
        };
        layer_norm(&mut recorder, access, &forward).expect("forward");
        let backward = LayerNormBackward {
            dy: &tensor("dy", &dy),
            sum: &sum,
            stats: &stats,
            gain: &gpu_gain,
            dsum: &dsum,
            branch: None,
            gradients: Some(NormGradients { branch_bias: &dbranch_bias, gain: &dgain, bias: &dbias }),
            partial: &empty("partial", partial_rows(n)),
        };
        ops_layer_norm::backward(&mut recorder, access, &backward).expect("backward");
        recorder.finish().run(&values).expect("a run");
        let f = |x: &[f64], b: &[f64], gain: &[f64], bias: &[f64]| {
            dot(&wide(&dy), &reference::layer_norm::forward(x, Some(b), gain, bias, f64::from(1e-5f32)).y)
        };
        let [wx, wb, wg, wc] = [&x, &branch, &gain, &bias].map(|t| wide(t));
        let read = |m: &Matrix| m.read(&device).expect("a gradient");
        slopes(&format!("{access:?} x"), &x, &read(&dsum), |x| f(x, &wb, &wg, &wc));
        slopes(&format!("{access:?} branch"), &branch, &read(&dsum), |b| f(&wx, b, &wg, &wc));
        slopes(&format!("{access:?} gain"), &gain, &read(&dgain), |g| f(&wx, &wb, g, &wc));
        slopes(&format!("{access:?} bias"), &bias, &read(&dbias), |b| f(&wx, &wb, &wg, b));
        slopes(&format!("{access:?} bias of the branch"), &vec![0.0; c], &read(&dbranch_bias), |bias| {
            let branch = wb.chunks_exact(c).flat_map(|row| row.iter().zip(bias).map(|(x, b)| x + b));
            f(&wx, &branch.collect::<Vec<_>>(), &wg, &wc)
        });
    }
}

#[test]
fn cross_entropy_gradients() {
    let (n, v) = (9, 67);
    let device = device();
    let logits: Vec<f32> = numbers(1, n * v).iter().map(|x| 3.0 * x).collect();
    let targets: Vec<u32> = (0..n as u32).map(|i| if i == 4 { u32::MAX } else { i * 29 % v as u32 }).collect();
    for access in RowAccess::all(device.caps()) {
        let tensor = matrix(&device, "logits", n, v, &logits);
        let values = StepValues { rows: n as u32, loss_counts: (n as u32 - 1).into(), ..StepValues::default() };
        let mut recorder = Recorder::new(&device, values);
        let call = CrossEntropy {
            logits: &tensor,
            targets: &list(&device, "targets", &targets),
            losses: &View::new(&device, "losses", n).expect("losses"),
            rows: RowCount::Rows,
            weight: 1.0,
        };
        cross_entropy(&mut recorder, access, &call).expect("cross_entropy");
        recorder.finish().run(&values).expect("a run");
        let gradient = tensor.read(&device).expect("dlogits");
        slopes(&format!("{access:?} logits"), &logits, &gradient, |logits| {
            reference::cross_entropy::cross_entropy(logits, v, &targets, n - 1).loss_sum / (n - 1) as f64
        });
    }
}

#[test]
fn embedding_gradients() {
    let (v, p, c) = (5, 3, 33);
    let device = device();
    let (ids, positions) = ([1u32, 4, 1, 0, 1, 4], [0u32, 1, 2, 0, 1, 0]);
    let n = ids.len();
    let dx = numbers(1, n * c);
    let (tokens, places) = (numbers(2, v * c), numbers(3, p * c));
    for access in RowAccess::all(device.caps()) {
        let gpu_dx = matrix(&device, "dx", n, c, &dx);
        let values = StepValues { rows: n as u32, token_owners: 3, position_owners: 3, ..StepValues::default() };
        let mut recorder = Recorder::new(&device, values);
        let mut gradients = Vec::new();
        for (table, rows, owners, sorted) in [
            (Table::Tokens, v, [0u32, 0, 1, 1, 1, 4, 4, 4, 6], [3u32, 0, 2, 4, 1, 5]),
            (Table::Positions, p, [0, 0, 3, 1, 3, 5, 2, 5, 6], [0, 3, 5, 1, 4, 2]),
        ] {
            let gradient = zeros(&device, "gradient", rows, c);
            let call = EmbeddingBackward {
                table,
                dx: &gpu_dx,
                owners: &list(&device, "owners", &owners),
                rows: &list(&device, "rows", &sorted),
                gradient: &gradient,
            };
            embedding::backward(&mut recorder, access, &call).expect("backward");
            gradients.push(gradient);
        }
        recorder.finish().run(&values).expect("a run");
        let f = |t: &[f64], p: &[f64]| dot(&wide(&dx), &reference::embedding::forward(&ids, &positions, t, p, c));
        let read = |m: &Matrix| m.read(&device).expect("a gradient");
        slopes(&format!("{access:?} tokens"), &tokens, &read(&gradients[0]), |t| f(t, &wide(&places)));
        slopes(&format!("{access:?} positions"), &places, &read(&gradients[1]), |p| f(&wide(&tokens), p));
    }
}

#[test]
fn linear_layer_gradients() {
    let (n, k, m) = (33, 65, 130);
    let device = device();
    let (x, w, dy) = (numbers(1, n * k), numbers(2, k * m), numbers(3, n * m));
    let bias = numbers(4, m);
    let access = RowAccess::choose(device.caps(), m, &[]);
    for (to_x, to_w) in specs(device.caps(), Form::ABt).into_iter().zip(specs(device.caps(), Form::AtB).iter().cycle())
    {
        let (gpu_x, gpu_w, gpu_dy) =
            (matrix(&device, "x", n, k, &x), matrix(&device, "w", k, m, &w), matrix(&device, "dy", n, m, &dy));
        let empty = |name, rows, columns| zeros(&device, name, rows, columns);
        let (dx, dw, db) = (empty("dx", n, k), empty("dw", k, m), empty("db", 1, m));
        let values = StepValues { rows: n as u32, ..StepValues::default() };
        let mut recorder = Recorder::new(&device, values);
        let product = |form, a, b, c, accumulate| Matmul {
            form,
            a,
            b,
            c,
            rows: RowCount::Rows,
            epilogue: Epilogue::None,
            accumulate,
            gradient: None,
            parts: None,
        };
        matmul(&mut recorder, to_x, &product(Form::ABt, &gpu_dy, &gpu_w, &dx, false)).expect("dx");
        matmul(&mut recorder, *to_w, &product(Form::AtB, &gpu_x, &gpu_dy, &dw, true)).expect("dw");
        column_sum(
            &mut recorder,
            access,
            &ColumnSum { input: &gpu_dy, partial: &empty("partial", 1, m), output: &db, rows: RowCount::Rows },
        )
        .expect("db");
        recorder.finish().run(&values).expect("a run");
        let f = |x: &[f64], w: &[f64], b: &[f64]| {
            let product = reference::matmul::matmul(reference::matmul::Form::AB, x, w, n, m, k);
            dot(&wide(&dy), &reference::matmul::add_bias(&product, b))
        };
        let [wx, ww, wb] = [&x, &w, &bias].map(|t| wide(t));
        let read = |m: &Matrix| m.read(&device).expect("a gradient");
        slopes(&format!("{to_x:?} x"), &x, &read(&dx), |x| f(x, &ww, &wb));
        slopes(&format!("{to_w:?} w"), &w, &read(&dw), |w| f(&wx, w, &wb));
        slopes("bias", &bias, &read(&db), |b| f(&wx, &ww, b));
    }
}

/// Lengths that no tile and no factor divides, an empty sequence among them.
const LENGTHS: [usize; 4] = [70, 0, 1, 33];

#[test]
fn compression_gradients() {
    let device = device();
    for (c, group_width, factor) in [(24, 24, 3), (24, 8, 2), (24, 1, 3), (9, 3, 2), (7, 7, 4)] {
        let batch = blank_batch(&LENGTHS);
        let (layout, values) = layout(&device, &batch, None, Some(factor));
        let (n, s) = (batch.rows(), values.slots as usize);
        let rules = reference::kv_compress::Rules { c, factor, group_width, cu_seqlens: &batch.cu_seqlens };
        let (x, w) = (numbers(1, n * c), numbers(2, factor * group_width * c));
        let (bias, dy) = (numbers(3, c), numbers(4, s * c));
        for access in RowAccess::all(device.caps()) {
            let empty = |name, rows, columns| zeros(&device, name, rows, columns);
            let tensor = |name, data: &[f32]| matrix(&device, name, data.len() / c, c, data);
            let [rows, columns] = kv_compress::workspace_shape(layout.capacity().slots(), c, factor, group_width);
            let call = Compress {
                x: &tensor("x", &x),
                rows: RowCount::Rows,
                first_column: 0,
                weight: &tensor("weight", &w),
                factor,
                slot_rows: &layout.slot_rows,
                slots: RowCount::Slots,
                workspace: &empty("workspace", rows, columns),
                kernels: &Kernels::new(),
            };
            let slot_gradient = empty("dy", layout.capacity().slots(), c);
            slot_gradient.write(&device, &dy).expect("dy");
            let (dweight, dbias) = (empty("dweight", factor * group_width, c), empty("dbias", 1, c));
            let to = kv_compress::Gradients {
                dy: &slot_gradient,
                dx: &empty("dx", n, c),
                parameters: Some(ParameterGradients { weight: &dweight, bias: &dbias }),
                tail_rows: &layout.tail_rows,
                partial: &empty("partial", n, c),
            };
            let mut recorder = Recorder::new(&device, layout.values_at_capacity());
            kv_compress::backward(&mut recorder, access, &call, &to).expect("backward");
            recorder.finish().run(&values).expect("a run");
            let f =
                |x: &[f64], w: &[f64], b: &[f64]| dot(&wide(&dy), &reference::kv_compress::forward(x, w, b, &rules));
            let [wx, ww, wb] = [&x, &w, &bias].map(|t| wide(t));
            let read = |m: &Matrix| m.read(&device).expect("a gradient");
            slopes(&format!("{access:?} {group_width} x"), &x, &read(to.dx), |x| f(x, &ww, &wb));
            slopes(&format!("{access:?} {group_width} w"), &w, &read(&dweight), |w| f(&wx, w, &wb));
            slopes(&format!("{access:?} {group_width} bias"), &bias, &read(&dbias), |b| f(&wx, &ww, b));
        }
    }
}

#[test]
fn attention_gradients() {
    use reference::attention::{Qkv, Rules, Seen};
    let device = device();
    let (heads, c) = (2, 16);
    for seen in [Seen::Full, Seen::Local(16), Seen::Compressed(3)] {
        let block = if let Seen::Local(block) = seen { Some(block) } else { None };
        let factor = if let Seen::Compressed(factor) = seen { Some(factor) } else { None };
        let batch = blank_batch(&LENGTHS);
        let (layout, values) = layout(&device, &batch, block, factor);
        let n = batch.rows();
        let scale = f64::from(attention::head_scale(c, heads));
        let rules = Rules { c, heads, cu_seqlens: &batch.cu_seqlens, seen, scale };
        let slot_rows = layout.capacity().slot_rows();
        // The row of each key among q, k, v of a token, or among slots and null rows.
        let rows: Vec<usize> = match factor {
            None => (0..n).collect(),
            Some(f) => {
                let (mut slot, mut null, mut rows) = (0, layout.capacity().slots(), Vec::new());
                for length in LENGTHS {
                    rows.push(null);
                    null += usize::from(length > 0);
                    rows.extend(slot..slot + length / f);
                    slot += length / f;
                }
                rows
            }
        };
        let dy = numbers(3, n * c);
        let kind = match seen {
            Seen::Full => AttentionKind::Full,
            Seen::Local(_) => AttentionKind::Local,
            Seen::Compressed(_) => AttentionKind::Compressed,
        };
        for spec in attention::specs(device.caps(), c / heads) {
            let empty = |name, rows, columns| zeros(&device, name, rows, columns);
            let view = |name| View::new(&device, name, n * heads).expect("a view");
            let (qkv, kv) = (numbers(1, n * 3 * c), numbers(2, 2 * slot_rows * c));
            let queries = matrix(&device, "qkv", n, 3 * c, &qkv);
            let slots = matrix(&device, "slots", 2 * slot_rows, c, &kv);
            let (y, lse, delta) = (empty("y", n, c), view("lse"), view("delta"));
            let (dqkv, dslots) = (empty("dqkv", n, 3 * c), empty("dslots", 2 * slot_rows, c));
            let compressed = factor.is_some();
            let call = Attention {
                kind,
                heads,
                queries: &queries,
                kv: if compressed { KeyValues::stacked(&slots) } else { KeyValues::beside(&queries) },
                y: &y,
                log_sum_exp: &lse,
                layout: &layout,
                scale: scale as f32,
                rate: 0.0,
                layer: 0,
            };
            let to = attention::Gradients {
                dy: &matrix(&device, "dy", n, c, &dy),
                delta: &delta,
                dq: &dqkv,
                dkv: if compressed { &dslots } else { &dqkv },
            };
            let mut recorder = Recorder::new(&device, layout.values_at_capacity());
            attention::forward(&mut recorder, spec, &call).expect("forward");
            attention::backward(&mut recorder, spec, &call, &to).expect("backward");
            recorder.finish().run(&values).expect("a run");
            let f = |qkv: &[f64], kv: &[f64]| {
                let Qkv { q, k, v } = reference::attention::split(qkv, c);
                let pick = |x: &[f64], first: usize| -> Vec<f64> {
                    rows.iter().flat_map(|r| &x[(first + r) * c..][..c]).copied().collect()
                };
                let [k, v] = if compressed { [pick(kv, 0), pick(kv, slot_rows)] } else { [k, v] };
                dot(&wide(&dy), &reference::attention::forward(Qkv { q: &q, k: &k, v: &v }, &rules, None).y)
            };
            let read = |m: &Matrix| m.read(&device).expect("a gradient");
            let what = format!("{spec:?} {seen:?}");
            slopes(&format!("{what} qkv"), &qkv, &read(&dqkv), |qkv| f(qkv, &wide(&kv)));
            if compressed {
                slopes(&format!("{what} slots"), &kv, &read(&dslots), |kv| f(&wide(&qkv), kv));
            }
        }
    }
}
