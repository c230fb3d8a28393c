//! CASES of attention over a cache, and of filling it: spans of no row to several turns, odd heads, with the token's own key
//! and without; a token of gpt1 at 512 positions for the bench.

use super::input;
use crate::Result;
use crate::gpu::{Device, Image, Matrix, Recorder, Tensor, View};
use crate::ops::cache::{self, Decode, Span, append, decode};
use crate::ops::{Live, Spec};
use crate::reference::cache as oracle;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// The rows seen by the tokens of a case: one behind the other, each with a row that nobody sees before it and the own row
/// behind it.
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

/// The cache before: rows that nobody sees are large, so that they would be noticed.
fn kept(counts: &[usize], c: usize, seed: u32, size: f32) -> Vec<f32> {
    let mut all: Vec<f32> = numbers(seed, all_rows(counts) * 2 * c).iter().map(|x| x * size).collect();
    for span in spans(counts) {
        for row in [span.first - 1, span.own] {
            all[row as usize * 2 * c..(row as usize + 1) * 2 * c].iter_mut().for_each(|x| *x *= 500.0);
        }
    }
    all
}

/// A tensor over `matrix`, copied into an image by the program where the Spec reads images.
fn place(device: &Device, rec: &mut Recorder<Live>, spec: cache::Spec, matrix: &Matrix) -> Result<Tensor> {
    if spec == cache::Spec::Buffer {
        return Ok(Tensor::Buffer(matrix.clone()));
    }
    let image = Image::new(device, &matrix.view.name, matrix.rows, matrix.columns)?;
    rec.copy_into_image(matrix, &image)?;
    Ok(Tensor::Image(image))
}

fn collect(rec: &mut Recorder<Live>, tensor: &Tensor, output: &Output) -> Result<()> {
    match tensor {
        Tensor::Image(image) => rec.copy_out_of_image(image, &output.matrix),
        Tensor::Buffer(_) => Ok(()),
    }
}

fn specs(head_dim: usize) -> crate::verify::Specs {
    Box::new(move |caps| {
        let mut all: Vec<_> = cache::specs(caps, head_dim).into_iter().map(Spec::Cache).collect();
        all.reverse();
        all
    })
}

/// A case of attention: a token a sequence, which see `counts` rows.
pub fn decode_case(counts: Vec<usize>, heads: usize, head_dim: usize, own: bool, size: f32, purpose: Purpose) -> Case {
    let (b, c) = (counts.len(), heads * head_dim);
    let (seed, rows) = ((c * 3 + counts.iter().sum::<usize>()) as u32, all_rows(&counts));
    let seen: usize = counts.iter().map(|n| n + usize::from(own)).sum();
    let token = move || numbers(seed + 1, b * 3 * c).iter().map(|x| x * size).collect::<Vec<_>>();
    let (built, told) = (counts.clone(), counts.clone());
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
            let Spec::Cache(spec) = spec else { return Err(spec.foreign("attention_decode")) };
            let mut rec = Recorder::new(device, Live { rows: b as u32, ..Live::default() });
            let before = kept(&built, c, seed, size);
            let (y, cache) =
                (Output::poisoned(device, "y", b, c)?, Output::starting(device, "cache", rows, 2 * c, before)?);
            let qkv = place(device, &mut rec, spec, &input(device, "qkv", b, 3 * c, &token())?)?;
            let (y_tensor, cache_tensor) =
                (place(device, &mut rec, spec, &y.matrix)?, place(device, &mut rec, spec, &cache.matrix)?);
            let list = View::new(device, "spans", Span::WORDS * b)?;
            list.write(device, &spans(&built))?;
            let call = Decode { heads, qkv: &qkv, cache: &cache_tensor, spans: &list, own, y: &y_tensor };
            decode(&mut rec, spec, &call)?;
            collect(&mut rec, &y_tensor, &y)?;
            collect(&mut rec, &cache_tensor, &cache)?;
            let live = Live { rows: b as u32, ..Live::default() };
            Ok(Run { program: rec.finish(), live, outputs: vec![y, cache] })
        }),
        oracle: Box::new(move || {
            let mut cache = wide(&kept(&told, c, seed, size));
            let spans: Vec<_> = spans(&told).iter().map(|s| [s.first, s.rows, s.own].map(|x| x as usize)).collect();
            let y = oracle::decode(&wide(&token()), &mut cache, &spans, c, heads, own);
            vec![y, cache]
        }),
    }
}

/// A case of filling a cache from `live` of `n` rows.
pub fn append_case(n: usize, live: usize, c: usize, [copies, stretch]: [usize; 2], purpose: Purpose) -> Case {
    let seed = (n * 7 + c) as u32;
    let rows = copies * stretch;
    Case {
        op: "cache_append",
        variant: format!("{copies} of {stretch}"),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance: 1e-12,
        reason: "a copy",
        flops: (copies * live * 2 * c) as f64,
        bytes: 4.0 * ((copies + 1) * live * 2 * c) as f64,
        specs: specs(if c.is_multiple_of(4) { 4 } else { 1 }),
        build: Box::new(move |device, spec| {
            let Spec::Cache(spec) = spec else { return Err(spec.foreign("cache_append")) };
            let mut rec = Recorder::new(device, Live { rows: n as u32, ..Live::default() });
            let qkv = input(device, "qkv", n, 3 * c, &numbers(seed, live * 3 * c))?;
            let before = numbers(seed + 1, rows * 2 * c);
            let cache = Output::starting(device, "cache", rows, 2 * c, before)?;
            let tensor = place(device, &mut rec, spec, &cache.matrix)?;
            append(&mut rec, spec, &qkv, &tensor, [copies, stretch])?;
            collect(&mut rec, &tensor, &cache)?;
            let live = Live { rows: live as u32, ..Live::default() };
            Ok(Run { program: rec.finish(), live, outputs: vec![cache] })
        }),
        oracle: Box::new(move || {
            let mut cache = wide(&numbers(seed + 1, rows * 2 * c));
            oracle::append(&wide(&numbers(seed, live * 3 * c)), &mut cache, c, copies, stretch);
            vec![cache]
        }),
    }
}

/// All of them.
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
    for (n, live, c, places) in
        [(1, 1, 1, [1, 1]), (5, 5, 36, [3, 7]), (9, 4, 35, [2, 9]), (70, 70, 64, [1, 90]), (33, 20, 130, [2, 40])]
    {
        all.push(append_case(n, live, c, places, Purpose::Small));
    }
    all.push(decode_case(vec![511], 12, 64, true, 1.0, Purpose::Bench));
    all.push(append_case(512, 512, 768, [1, 512], Purpose::Bench));
    all
}
