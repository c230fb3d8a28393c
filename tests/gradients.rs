//! Gradients from the device against slopes of the f64 oracles' forward passes, along random directions:
//! (f(x + εu) - f(x - εu)) / 2ε = ⟨df/dx, u⟩. The backward oracles have no part in it.

use wgpt::gpu::{Device, Matrix, Recorder, View};
use wgpt::ops::column_sum::column_sum;
use wgpt::ops::cross_entropy::{CrossEntropy, cross_entropy};
use wgpt::ops::embedding::{EmbeddingBackward, Table};
use wgpt::ops::layer_norm::{BLOCK, LayerNorm, LayerNormBackward, layer_norm};
use wgpt::ops::matmul::{Epilogue, Form, Matmul, matmul, specs};
use wgpt::ops::{Extent, Io, Live, embedding, layer_norm as ops_layer_norm};
use wgpt::reference;
use wgpt::verify::{numbers, wide};

fn open() -> Device {
    Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter")
}

fn matrix(device: &Device, name: &str, rows: usize, columns: usize, data: &[f32]) -> Matrix {
    let m = Matrix::new(device, name, rows, columns).expect(name);
    m.write(device, data).expect(name);
    m
}

fn list(device: &Device, name: &str, data: &[u32]) -> View {
    let view = View::new(device, name, data.len()).expect(name);
    view.write(device, data).expect(name);
    view
}

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
    let device = open();
    let [x, branch, dy] = [1, 2, 3].map(|seed| numbers(seed, n * c));
    let (gain, bias) = (numbers(4, c), numbers(5, c));
    for io in Io::all(device.caps()) {
        let tensor = |name, data: &[f32]| matrix(&device, name, data.len() / c, c, data);
        let empty = |name, rows| Matrix::new(&device, name, rows, c).expect("a matrix");
        let (gpu_gain, sum, y, dsum) = (tensor("gain", &gain), empty("sum", n), empty("y", n), empty("dsum", n));
        let (dgain, dbias) = (empty("dgain", 1), empty("dbias", 1));
        let stats = View::new(&device, "stats", 2 * n).expect("stats");
        let live = Live { rows: n as u32, ..Live::default() };
        let mut recorder = Recorder::new(&device, live);
        let forward = LayerNorm {
            x: &tensor("x", &x),
            branch: &tensor("branch", &branch),
            gain: &gpu_gain,
            bias: &tensor("bias", &bias),
            eps: 1e-5,
            sum: &sum,
            y: &y,
            stats: &stats,
        };
        layer_norm(&mut recorder, io, &forward).expect("forward");
        let backward = LayerNormBackward {
            dy: &tensor("dy", &dy),
            sum: &sum,
            stats: &stats,
            gain: &gpu_gain,
            dsum: &dsum,
            dgain: &dgain,
            dbias: &dbias,
            partial: [&empty("partial dgain", n.div_ceil(BLOCK)), &empty("partial dbias", n.div_ceil(BLOCK))],
        };
        ops_layer_norm::backward(&mut recorder, io, &backward).expect("backward");
        recorder.finish().run(&live).expect("a run");
        let f = |x: &[f64], b: &[f64], gain: &[f64], bias: &[f64]| {
            dot(&wide(&dy), &reference::layer_norm::forward(x, Some(b), gain, bias, f64::from(1e-5f32)).y)
        };
        let [wx, wb, wg, wc] = [&x, &branch, &gain, &bias].map(|t| wide(t));
        let read = |m: &Matrix| m.read(&device).expect("a gradient");
        slopes(&format!("{io:?} x"), &x, &read(&dsum), |x| f(x, &wb, &wg, &wc));
        slopes(&format!("{io:?} branch"), &branch, &read(&dsum), |b| f(&wx, b, &wg, &wc));
        slopes(&format!("{io:?} gain"), &gain, &read(&dgain), |g| f(&wx, &wb, g, &wc));
        slopes(&format!("{io:?} bias"), &bias, &read(&dbias), |b| f(&wx, &wb, &wg, b));
    }
}

#[test]
fn cross_entropy_gradients() {
    let (n, v) = (9, 67);
    let device = open();
    let logits: Vec<f32> = numbers(1, n * v).iter().map(|x| 3.0 * x).collect();
    let targets: Vec<u32> = (0..n as u32).map(|i| if i == 4 { u32::MAX } else { i * 29 % v as u32 }).collect();
    for io in Io::all(device.caps()) {
        let tensor = matrix(&device, "logits", n, v, &logits);
        let live = Live { rows: n as u32, targets: n as u32 - 1, ..Live::default() };
        let mut recorder = Recorder::new(&device, live);
        let call = CrossEntropy {
            logits: &tensor,
            targets: &list(&device, "targets", &targets),
            losses: &View::new(&device, "losses", n).expect("losses"),
            rows: Extent::Rows,
            weight: 1.0,
        };
        cross_entropy(&mut recorder, io, &call).expect("cross_entropy");
        recorder.finish().run(&live).expect("a run");
        let gradient = tensor.read(&device).expect("dlogits");
        slopes(&format!("{io:?} logits"), &logits, &gradient, |logits| {
            reference::cross_entropy::cross_entropy(logits, v, &targets, n - 1).loss_sum / (n - 1) as f64
        });
    }
}

#[test]
fn embedding_gradients() {
    let (v, p, c) = (5, 3, 33);
    let device = open();
    let (ids, positions) = ([1u32, 4, 1, 0, 1, 4], [0u32, 1, 2, 0, 1, 0]);
    let n = ids.len();
    let dx = numbers(1, n * c);
    let (tokens, places) = (numbers(2, v * c), numbers(3, p * c));
    for io in Io::all(device.caps()) {
        let gpu_dx = matrix(&device, "dx", n, c, &dx);
        let live = Live { rows: n as u32, token_owners: 3, position_owners: 3, ..Live::default() };
        let mut recorder = Recorder::new(&device, live);
        let mut gradients = Vec::new();
        for (table, rows, owners, sorted) in [
            (Table::Tokens, v, [0u32, 0, 1, 1, 1, 4, 4, 4, 6], [3u32, 0, 2, 4, 1, 5]),
            (Table::Positions, p, [0, 0, 3, 1, 3, 5, 2, 5, 6], [0, 3, 5, 1, 4, 2]),
        ] {
            let gradient = Matrix::new(&device, "gradient", rows, c).expect("gradient");
            let call = EmbeddingBackward {
                table,
                dx: &gpu_dx,
                owners: &list(&device, "owners", &owners),
                rows: &list(&device, "rows", &sorted),
                gradient: &gradient,
            };
            embedding::backward(&mut recorder, io, &call).expect("backward");
            gradients.push(gradient);
        }
        recorder.finish().run(&live).expect("a run");
        let f = |t: &[f64], p: &[f64]| dot(&wide(&dx), &reference::embedding::forward(&ids, &positions, t, p, c));
        let read = |m: &Matrix| m.read(&device).expect("a gradient");
        slopes(&format!("{io:?} tokens"), &tokens, &read(&gradients[0]), |t| f(t, &wide(&places)));
        slopes(&format!("{io:?} positions"), &places, &read(&gradients[1]), |p| f(&wide(&tokens), p));
    }
}

#[test]
fn linear_layer_gradients() {
    let (n, k, m) = (33, 65, 130);
    let device = open();
    let (x, w, dy) = (numbers(1, n * k), numbers(2, k * m), numbers(3, n * m));
    let bias = numbers(4, m);
    let io = Io::choose(device.caps(), m, &[]);
    for (to_x, to_w) in specs(device.caps(), Form::ABt).into_iter().zip(specs(device.caps(), Form::AtB).iter().cycle())
    {
        let (gpu_x, gpu_w, gpu_dy) =
            (matrix(&device, "x", n, k, &x), matrix(&device, "w", k, m, &w), matrix(&device, "dy", n, m, &dy));
        let empty = |name, rows, columns| Matrix::new(&device, name, rows, columns).expect("a matrix");
        let (dx, dw, db) = (empty("dx", n, k), empty("dw", k, m), empty("db", 1, m));
        let live = Live { rows: n as u32, ..Live::default() };
        let mut recorder = Recorder::new(&device, live);
        let product = |form, a, b, c, accumulate| Matmul {
            form,
            a,
            b,
            c,
            rows: Extent::Rows,
            epilogue: Epilogue::None,
            accumulate,
        };
        matmul(&mut recorder, to_x, &product(Form::ABt, &gpu_dy, &gpu_w, &dx, false)).expect("dx");
        matmul(&mut recorder, *to_w, &product(Form::AtB, &gpu_x, &gpu_dy, &dw, true)).expect("dw");
        column_sum(&mut recorder, io, [&gpu_dy, &empty("partial", 1, m), &db], Extent::Rows).expect("db");
        recorder.finish().run(&live).expect("a run");
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
