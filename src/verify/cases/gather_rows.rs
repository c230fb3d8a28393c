//! Cases of gather_rows and scatter_rows_add: fewer rows than capacity, rows named often or once.

use super::inputs::{ROW_SIZES, RowSizes, indices, input, row_access, row_specs, table};
use crate::gpu::Recorder;
use crate::ops::gather_rows::{IndexedRows, gather_rows, scatter_rows_add};
use crate::ops::{RowCount, StepValues};
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// A case of N rows at capacity, some of them live, of C columns, out of or into `others`.
pub fn case(scatter: bool, RowSizes { rows: n, live, columns: c }: RowSizes, others: usize, purpose: Purpose) -> Case {
    let seed = (n * 3 + c) as u32;
    let op = if scatter { "scatter_rows_add" } else { "gather_rows" };
    let index = move || if scatter { distinct(seed, live, others) } else { indices(seed, live, others) };
    Case {
        op,
        variant: "rows".into(),
        shape: vec![("N", n), ("live", live), ("C", c), ("R", others)],
        purpose,
        tolerance: 1e-7,
        reason: "moved as it is, or one addition rounded once",
        flops: (live * c) as f64,
        bytes: 4.0 * ((2 + usize::from(scatter)) * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, op)?;
            let index = table(device, "index", n, &index())?;
            let mut rec = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            let out = if scatter {
                let x = input(device, "x", n, c, &numbers(seed, live * c))?;
                let out = Output::starting(device, "out", others, c, numbers(seed + 1, others * c))?;
                scatter_rows_add(
                    &mut rec,
                    access,
                    &IndexedRows { input: &x, index: &index, output: &out.matrix, count: RowCount::Rows },
                )?;
                out
            } else {
                let x = input(device, "x", others, c, &numbers(seed, others * c))?;
                let out = Output::poisoned(device, "out", n, c)?;
                gather_rows(
                    &mut rec,
                    access,
                    &IndexedRows { input: &x, index: &index, output: &out.matrix, count: RowCount::Rows },
                )?;
                Output { rows: live, ..out }
            };
            let values = StepValues { rows: live as u32, ..StepValues::default() };
            Ok(Run { program: rec.finish(), values, outputs: vec![out] })
        }),
        oracle: Box::new(move || {
            let row = |x: &[f64], r: usize| x[r * c..(r + 1) * c].to_vec();
            if !scatter {
                let x = wide(&numbers(seed, others * c));
                return vec![index().iter().flat_map(|r| row(&x, *r as usize)).collect()];
            }
            let (x, mut out) = (wide(&numbers(seed, live * c)), wide(&numbers(seed + 1, others * c)));
            for (i, r) in index().into_iter().enumerate() {
                for (j, add) in row(&x, i).into_iter().enumerate() {
                    out[r as usize * c + j] += add;
                }
            }
            vec![out]
        }),
    }
}

/// `count` different numbers below `below`, in no order.
fn distinct(seed: u32, count: usize, below: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..below as u32).collect();
    for (i, j) in indices(seed, count, below).into_iter().enumerate() {
        all.swap(i, j as usize);
    }
    all.truncate(count);
    all
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for sizes in ROW_SIZES {
        all.push(case(false, sizes, sizes.live / 2 + 1, Purpose::Small));
        all.push(case(true, sizes, sizes.live + 7, Purpose::Small));
    }
    all.push(case(false, RowSizes { rows: 1024, live: 1024, columns: 128 }, 512, Purpose::Bench));
    all.push(case(true, RowSizes { rows: 1024, live: 1024, columns: 128 }, 2048, Purpose::Bench));
    all
}
