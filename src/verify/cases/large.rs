//! Cases of the sizes of gpt1, for GPUs. Their oracles would take minutes, so a few hundred elements of each output are
//! compared: those of some rows.

use super::inputs::RowSizes;
use super::{attention, layer_norm, matmul};
use crate::gpu::Device;
use crate::ops::Spec;
use crate::ops::matmul::Form;
use crate::reference::attention::{Forward, Rules, Seen};
use crate::verify::sample::Sample;
use crate::verify::{Case, Purpose, Run, numbers, wide};
use crate::{Result, reference};

/// A case whose outputs are compared in part.
pub struct LargeCase {
    /// Its oracle is not used.
    pub case: Case,
    /// Computes the elements that are compared.
    pub samples: Box<dyn Fn() -> Vec<Sample> + Send + Sync>,
}

impl LargeCase {
    /// Builds the case, and computes the samples at the same time.
    ///
    /// # Errors
    /// As those of building.
    pub fn build_with_samples(&self, device: &Device, spec: Spec) -> Result<(Run, Vec<Sample>)> {
        std::thread::scope(|scope| {
            let samples = scope.spawn(|| (self.samples)());
            let run = (self.case.build)(device, spec)?;
            Ok((run, samples.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
        })
    }
}

/// `count` numbers below `end` at about equal distances, the first and the last included.
fn spread(count: usize, end: usize) -> Vec<usize> {
    let count = count.min(end);
    (0..count).map(|i| i * (end - 1) / (count - 1).max(1)).collect()
}

/// A product of two whole matrices.
pub fn product(form: Form, out: matmul::Out, shape: [usize; 3]) -> LargeCase {
    let [m, n, k] = shape;
    let live = if form == Form::AtB { k } else { m };
    let samples = move || {
        let seed = matmul::seed(shape);
        let (a, b) = (matmul::operand(seed, m * k), matmul::operand(seed + 1, n * k));
        let bias = numbers(seed + 2, n);
        let start = if out == matmul::Out::Add { numbers(seed + 3, m * n) } else { Vec::new() };
        let (rows, columns) = (spread(20, m), spread(20, n));
        let at_a = |row, p| a[if form == Form::AtB { p * m + row } else { row * k + p }];
        let at_b = |column, p| b[if form == Form::ABt { column * k + p } else { p * n + column }];
        let sum = |row, column| -> f64 { (0..k).map(|p| f64::from(at_a(row, p)) * f64::from(at_b(column, p))).sum() };
        let places: Vec<[usize; 2]> = rows.iter().flat_map(|r| columns.iter().map(|c| [*r, *c])).collect();
        let sums: Vec<f64> = places.iter().map(|[row, column]| sum(*row, *column)).collect();
        let with = |f: &dyn Fn([usize; 2]) -> f64| -> Vec<f64> {
            places.iter().zip(&sums).map(|(at, s)| s + f(*at)).collect()
        };
        let biased = with(&|[_, column]| f64::from(bias[column]));
        let sample = |output, expected| Sample { output, places: places.clone(), expected };
        match out {
            matmul::Out::Plain => vec![sample("c", sums)],
            matmul::Out::Add => vec![sample("c", with(&|[row, column]| f64::from(start[row * n + column])))],
            matmul::Out::BiasGelu => vec![sample("c", reference::gelu::forward(&biased)), sample("pre", biased)],
            // No other epilogue is among the large cases.
            _ => Vec::new(),
        }
    };
    LargeCase { case: matmul::case(form, out, shape, live, Purpose::Bench), samples: Box::new(samples) }
}

/// Full attention of equally long sequences. The oracle computes one head of one sequence, alone.
pub fn attention(sequences: usize, length: usize, heads: usize, head_dim: usize, with_backward: bool) -> LargeCase {
    let seen = Seen::Full;
    let shape = attention::Shape { lengths: vec![length; sequences], heads, head_dim, seen, rate: 0.0, size: 1.0 };
    let case = attention::case(shape.clone(), with_backward, Purpose::Bench);
    let samples = move || {
        let (sequence, head, c) = (sequences / 2, heads / 2, heads * head_dim);
        let first = sequence * length;
        let of_head = |x: &[f32]| -> Vec<f64> {
            let rows = x[first * c..(first + length) * c].chunks_exact(c);
            rows.flat_map(|row| wide(&row[head * head_dim..(head + 1) * head_dim])).collect()
        };
        let x = shape.numbers().map(|x| of_head(&x));
        let cu_seqlens = [0, length as u32];
        let scale = reference::attention::head_scale(c, heads);
        let rules = Rules { c: head_dim, heads: 1, cu_seqlens: &cu_seqlens, seen, scale };
        let rows = spread(16, length);
        let wanted = |row: usize| with_backward || rows.contains(&row);
        let forward = reference::attention::forward_of(x.as_slices(), &rules, None, wanted);
        // The columns of a head in a matrix, from `column` on, and their values in the rows.
        let of_rows = |output, column: usize, width: usize, x: &[f64]| Sample {
            output,
            places: rows.iter().flat_map(|r| (0..width).map(move |i| [first + r, column + i])).collect(),
            expected: rows.iter().flat_map(|r| &x[r * width..(r + 1) * width]).copied().collect(),
        };
        let Forward { y, log_sum_exp } = &forward;
        if !with_backward {
            let at = head * head_dim;
            return vec![of_rows("y", at, head_dim, y), of_rows("log_sum_exp", head, 1, log_sum_exp)];
        }
        let dy = of_head(&shape.dy());
        let gradients = reference::attention::backward(x.as_slices(), &forward, &dy, &rules, None);
        let delta = reference::attention::delta(y, &dy, head_dim);
        let mut all = vec![of_rows("delta", head, 1, &delta)];
        for (part, gradient) in [gradients.q, gradients.k, gradients.v].iter().enumerate() {
            all.push(of_rows("dqkv", part * c + head * head_dim, head_dim, gradient));
        }
        all
    };
    LargeCase { case, samples: Box::new(samples) }
}

/// Layer norm or its backward pass over `rows` × `columns`. The oracle computes everything: it takes under a second.
pub fn norm(rows: usize, columns: usize, with_backward: bool) -> LargeCase {
    let make = move || {
        let (sizes, ordinary) = (RowSizes { rows, live: rows, columns }, layer_norm::Rows::Ordinary);
        match with_backward {
            true => layer_norm::backward_case(ordinary, false, sizes, Purpose::Bench),
            false => layer_norm::forward_case(ordinary, false, sizes, Purpose::Bench),
        }
    };
    let samples = move || {
        let outputs: &[(&'static str, usize, usize)] = match with_backward {
            true => &[("dsum", rows, columns), ("gradients", 3, columns)],
            false => &[("sum", rows, columns), ("y", rows, columns), ("stats", rows, 2)],
        };
        let sample = |(expected, (output, rows, columns)): (&Vec<f64>, &(&'static str, usize, usize))| {
            let columns_of_all = *columns;
            let columns = spread(20, *columns);
            let places: Vec<[usize; 2]> =
                spread(20, *rows).into_iter().flat_map(|r| columns.iter().map(move |c| [r, *c])).collect();
            let expected = places.iter().map(|[r, c]| expected[r * columns_of_all + c]).collect();
            Sample { output, places, expected }
        };
        (make().oracle)().iter().zip(outputs).map(sample).collect()
    };
    LargeCase { case: make(), samples: Box::new(samples) }
}

/// Every large case. gpt1 has C 768, 12 heads, 512 positions, a vocabulary of 40,481; a batch of 64 has 32,768 rows, and its
/// head takes 4,096 at a time.
pub fn cases() -> Vec<LargeCase> {
    let mut all: Vec<LargeCase> = [
        (Form::AB, matmul::Out::Plain, [4096, 4096, 4096]),
        (Form::AB, matmul::Out::Plain, [8192, 8192, 8192]),
        (Form::AB, matmul::Out::BiasGelu, [32_768, 3072, 768]),
        (Form::AtB, matmul::Out::Add, [768, 3072, 32_768]),
        (Form::ABt, matmul::Out::Plain, [4096, 40_481, 768]),
    ]
    .map(|(form, out, shape)| product(form, out, shape))
    .into();
    for (sequences, length) in [(64, 512), (8, 4096)] {
        for with_backward in [false, true] {
            all.push(attention(sequences, length, 12, 64, with_backward));
        }
    }
    all.push(norm(32_768, 768, false));
    all.push(norm(32_768, 768, true));
    all
}
