//! Cases of attention over a cache, and of appending to it: spans of no row to several loops of a group, odd heads, with the
//! token's own key and without; the same rows for all rings and different ones, beyond a ring's end, to images and to
//! buffers; a token of gpt1 at 512 positions for the bench.

use super::inputs::input;
use crate::Result;
use crate::gpu::{Device, Image, Matrix, Recorder, Tensor, View};
use crate::ops::attention::head_scale;
use crate::ops::cache::{self, Append, AppendedRows, Decode, Span, append, decode};
use crate::ops::{RowCount, Spec, StepValues};
use crate::reference::cache as oracle;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// The spans of the tokens of a case, one after another. Before each is a row that no token sees, after it the own row.
fn spans(counts: &[usize]) -> Vec<Span> {
    let mut next = 0;
    let span = |rows: &usize| {
        let first = next + 1;
        next = first + rows + 1;
        Span { first: first as u32, rows: *rows as u32, own: first as u32 + *rows as u32, pad: 0 }
    };
    counts.iter().map(span).collect()
}

fn all_rows(counts: &[usize]) -> usize {
    counts.iter().map(|n| n + 2).sum()
}

/// The cache before the run. Rows that no token sees are large, so that reading them makes an error.
fn kept(counts: &[usize], c: usize, seed: u32, size: f32) -> Vec<f32> {
    let mut all: Vec<f32> = numbers(seed, all_rows(counts) * 2 * c).iter().map(|x| x * size).collect();
    for span in spans(counts) {
        for row in [span.first - 1, span.own] {
            all[row as usize * 2 * c..(row as usize + 1) * 2 * c].iter_mut().for_each(|x| *x *= 500.0);
        }
    }
    all
}

/// A tensor of `matrix`, which the program copies to an image if the Spec reads images.
fn place(device: &Device, rec: &mut Recorder<StepValues>, spec: cache::Spec, matrix: &Matrix) -> Result<Tensor> {
    if spec == cache::Spec::Buffer {
        return Ok(Tensor::Buffer(matrix.clone()));
    }
    let image = Image::new(device, &matrix.view.name, matrix.rows, matrix.columns)?;
    rec.copy_into_image(matrix, &image)?;
    Ok(Tensor::Image(image))
}

fn collect(rec: &mut Recorder<StepValues>, tensor: &Tensor, output: &Output) -> Result<()> {
    match tensor {
        Tensor::Image(image) => rec.copy_out_of_image(image, &output.matrix),
        Tensor::Buffer(_) => Ok(()),
    }
}

/// Scores of slots, which are seen without an own key, may be scaled by the model's width.
fn scale_of(c: usize, heads: usize, own: bool) -> f32 {
    head_scale(c, if own { heads } else { 1 })
}

fn specs(head_dim: usize) -> crate::verify::Specs {
    Box::new(move |caps| {
        let mut all: Vec<_> = cache::specs(caps, head_dim).into_iter().map(Spec::Cache).collect();
        all.reverse();
        all
    })
}

/// A case of attention: one token a sequence; `counts` are the numbers of rows that the tokens see.
pub fn decode_case(counts: Vec<usize>, heads: usize, head_dim: usize, own: bool, size: f32, purpose: Purpose) -> Case {
    let (b, c) = (counts.len(), heads * head_dim);
    let (seed, rows) = ((c * 3 + counts.iter().sum::<usize>()) as u32, all_rows(&counts));
    let seen: usize = counts.iter().map(|n| n + usize::from(own)).sum();
    let token = move || numbers(seed + 1, b * 3 * c).iter().map(|x| x * size).collect::<Vec<_>>();
    let (built, expected) = (counts.clone(), counts.clone());
    Case {
        op: "attention_decode",
        variant: format!("{counts:?}{}", if own { " own" } else { "" }),
        shape: vec![("B", b), ("H", heads), ("D", head_dim)],
        purpose,
        tolerance: 3e-6 * f64::from(size.max(1.0)).powi(2),
        reason: "a score's rounding grows with q·k and passes through exp; sums over T keys",
        flops: 4.0 * (seen * c) as f64,
        bytes: 4.0 * (2 * seen * c + 4 * b * c) as f64,
        specs: specs(head_dim),
        build: Box::new(move |device, spec| {
            let Spec::Cache(spec) = spec else { return Err(spec.wrong_kernel("attention_decode")) };
            let mut rec = Recorder::new(device, StepValues { rows: b as u32, ..StepValues::default() });
            let before = kept(&built, c, seed, size);
            let (y, cache) =
                (Output::poisoned(device, "y", b, c)?, Output::starting(device, "cache", rows, 2 * c, before)?);
            let qkv = place(device, &mut rec, spec, &input(device, "qkv", b, 3 * c, &token())?)?;
            let (y_tensor, cache_tensor) =
                (place(device, &mut rec, spec, &y.matrix)?, place(device, &mut rec, spec, &cache.matrix)?);
            let list = View::new(device, "spans", Span::WORDS * b)?;
            list.write(device, &spans(&built))?;
            let scale = scale_of(c, heads, own);
            let call = Decode { heads, qkv: &qkv, cache: &cache_tensor, spans: &list, own, scale, y: &y_tensor };
            decode(&mut rec, spec, &call)?;
            collect(&mut rec, &y_tensor, &y)?;
            collect(&mut rec, &cache_tensor, &cache)?;
            let values = StepValues { rows: b as u32, ..StepValues::default() };
            Ok(Run { program: rec.finish(), values, outputs: vec![y, cache] })
        }),
        oracle: Box::new(move || {
            let mut cache = wide(&kept(&expected, c, seed, size));
            let span = |s: &Span| oracle::Span { first: s.first as usize, rows: s.rows as usize, own: s.own as usize };
            let spans: Vec<_> = spans(&expected).iter().map(span).collect();
            let shape = oracle::Heads { c, heads, scale: f64::from(scale_of(c, heads, own)) };
            let y = oracle::decode(&wide(&token()), &mut cache, &spans, shape, own);
            vec![y, cache]
        }),
    }
}

/// The sizes of a case of appending to a cache.
#[derive(Clone, Copy, Debug)]
pub struct Filling {
    /// AppendedRows of x, and columns.
    pub x: [usize; 2],
    /// The first of the columns that are appended, and how many.
    pub columns: [usize; 2],
    /// AppendedRows of x from one stretch to the next.
    pub apart: usize,
    /// Which rows are appended.
    pub rows: AppendedRows,
    /// The number of rings, and rows of each.
    pub stretches: [usize; 2],
    /// Columns of the cache, and the first that is written.
    pub cache: [usize; 2],
    /// Whether the cache is a buffer whatever x is.
    pub buffer: bool,
}

impl Filling {
    /// A prompt's last rows of `n`, q, k, v side by side.
    fn prompt(n: usize, c: usize, [copies, stretch]: [usize; 2]) -> Filling {
        Filling {
            x: [n, 3 * c],
            columns: [c, 2 * c],
            apart: 0,
            rows: AppendedRows::last(n as u32, stretch as u32),
            stretches: [copies, stretch],
            cache: [2 * c, 0],
            buffer: false,
        }
    }

    /// Row `number` of every ring, each from its own row of x.
    fn row(number: u32, c: usize, [copies, stretch]: [usize; 2], buffer: bool) -> Filling {
        let rows = AppendedRows { skip: 0, count: 1, number };
        Filling { apart: 1, rows, buffer, ..Filling::prompt(copies, c, [copies, stretch]) }
    }
}

/// A case of appending to a cache.
pub fn append_case(how: Filling, purpose: Purpose) -> Case {
    let Filling { x: [n, x_columns], columns: [first, columns], apart, rows, stretches, cache: [width, at], buffer } =
        how;
    let seed = (n * 7 + x_columns) as u32;
    let [copies, stretch] = stretches;
    let all = copies * stretch;
    let texels = [first, columns, at].iter().all(|x| x.is_multiple_of(4));
    Case {
        op: "cache_append",
        variant: format!("{copies} of {stretch}, {rows:?}{}", if buffer { " to a buffer" } else { "" }),
        shape: vec![("N", n), ("columns", columns), ("apart", apart)],
        purpose,
        tolerance: 1e-12,
        reason: "a copy",
        flops: (copies * rows.count as usize * columns) as f64,
        bytes: 8.0 * (copies * rows.count as usize * columns) as f64,
        specs: specs(if texels { 4 } else { 1 }),
        build: Box::new(move |device, spec| {
            let Spec::Cache(spec) = spec else { return Err(spec.wrong_kernel("cache_append")) };
            let capacity = StepValues { rows: n as u32, ..StepValues::default() };
            let mut rec = Recorder::new(device, capacity);
            let x = input(device, "x", n, x_columns, &numbers(seed, n * x_columns))?;
            // A prompt's rows are read through their image copy; a token's rows are in an image.
            let x = if apart == 0 { Tensor::Buffer(x) } else { place(device, &mut rec, spec, &x)? };
            let cache = Output::starting(device, "cache", all, width, numbers(seed + 1, all * width))?;
            let tensor = place(device, &mut rec, if buffer { cache::Spec::Buffer } else { spec }, &cache.matrix)?;
            let call = Append {
                input: &x,
                rows: RowCount::Rows,
                columns: first..first + columns,
                rows_apart: apart,
                cache: &tensor,
                first_column: at,
                rings: copies,
                ring_rows: stretch,
            };
            append(&mut rec, &call, move |_| rows)?;
            collect(&mut rec, &tensor, &cache)?;
            Ok(Run { program: rec.finish(), values: capacity, outputs: vec![cache] })
        }),
        oracle: Box::new(move || {
            let mut cache = wide(&numbers(seed + 1, all * width));
            let how = oracle::Append {
                x_columns,
                x_at: first,
                columns,
                skip: rows.skip as usize,
                count: rows.count as usize,
                number: rows.number as usize,
                rows_apart: apart,
                cache_columns: width,
                cache_at: at,
                rings: copies,
                ring_rows: stretch,
            };
            oracle::append(&wide(&numbers(seed, n * x_columns)), &mut cache, &how);
            vec![cache]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for own in [true, false] {
        for (counts, heads, head_dim, size) in [
            (vec![1], 1, 4, 1.0),
            (vec![7, 8, 9], 2, 32, 1.0),
            (vec![300, 1, 63], 3, 12, 1.0),
            (vec![40, 600], 1, 64, 1.0),
            (vec![33], 2, 128, 1.0),
            (vec![257, 5], 3, 5, 1.0),
            (vec![17], 1, 1, 1.0),
            (vec![20, 31], 2, 33, 12.0),
            (vec![20, 31], 2, 8, 12.0),
            (vec![0, 9, 0], 2, 8, 1.0),
        ] {
            all.push(decode_case(counts, heads, head_dim, own, size, Purpose::Small));
        }
    }
    let mut fill = |how| all.push(append_case(how, Purpose::Small));
    for (n, c, places) in [(1, 1, [1, 1]), (5, 36, [3, 7]), (9, 35, [2, 7]), (70, 64, [1, 90]), (33, 132, [2, 20])] {
        fill(Filling::prompt(n, c, places));
    }
    for buffer in [false, true] {
        fill(Filling::row(2, 36, [3, 4], buffer));
        fill(Filling::row(5, 35, [2, 2], buffer));
        fill(Filling::row(0, 64, [1, 1], buffer));
    }
    // Keys of slots; values of slots, which are below all keys; no slot.
    for (skip, count, at) in [(0, 5, 0), (8, 5, 36), (8, 0, 36)] {
        let rows = AppendedRows { skip, count, number: 1 };
        fill(Filling { x: [16, 36], columns: [0, 36], rows, cache: [72, at], ..Filling::prompt(16, 36, [3, 6]) });
    }
    all.push(decode_case(vec![511], 12, 64, true, 1.0, Purpose::Bench));
    all.push(append_case(Filling::prompt(512, 768, [1, 512]), Purpose::Bench));
    all
}
