//! Cases of column_sum: out += the sums of columns by one pass or two, with blocks that are full, cut short and alone.

use super::inputs::{ROW_SIZES, RowSizes, input, row_access, row_specs};
use crate::gpu::Recorder;
use crate::ops::column_sum::{BLOCK, ColumnSum, column_sum};
use crate::ops::{RowAccess, RowCount, Spec, StepValues};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, Specs, numbers, wide};

/// A case of N rows, some of them live, and C columns.
pub fn case(RowSizes { rows: n, live, columns: c }: RowSizes, purpose: Purpose) -> Case {
    let seed = (n * 3 + c) as u32;
    Case {
        op: "column_sum",
        variant: "add".into(),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance: 1e-6,
        reason: "a sum over N rows in f32",
        flops: (live * c) as f64,
        bytes: 4.0 * (live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "column_sum")?;
            let x = input(device, "x", n, c, &numbers(seed, live * c))?;
            let partial = Output::workspace(device, "partial", n.div_ceil(BLOCK), c)?;
            let out = Output::starting(device, "out", 1, c, numbers(seed + 1, c))?;
            let mut recorder = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            column_sum(
                &mut recorder,
                access,
                &ColumnSum { input: &x, partial: &partial.matrix, output: &out.matrix, rows: RowCount::Rows },
            )?;
            let values = StepValues { rows: live as u32, ..StepValues::default() };
            Ok(Run { program: recorder.finish(), values, outputs: vec![out, partial] })
        }),
        oracle: Box::new(move || {
            let sums = reference::matmul::bias_gradient(&wide(&numbers(seed, live * c)), c);
            let before = wide(&numbers(seed + 1, c));
            vec![before.iter().zip(&sums).map(|(b, s)| b + s).collect(), Vec::new()]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all: Vec<_> = ROW_SIZES.iter().map(|sizes| case(*sizes, Purpose::Small)).collect();
    all.extend(
        [
            RowSizes { rows: 64, live: 64, columns: 65 },
            RowSizes { rows: 129, live: 128, columns: 3 },
            RowSizes { rows: 200, live: 0, columns: 31 },
        ]
        .map(|sizes| case(sizes, Purpose::Small)),
    );
    // Around the sizes at which GPUs sum in two passes: whole blocks, a cut block, and batches much smaller than the capacity.
    let many = [
        RowSizes { rows: 2048, live: 2048, columns: 65 },
        RowSizes { rows: 2049, live: 2049, columns: 65 },
        RowSizes { rows: 2600, live: 2561, columns: 257 },
        RowSizes { rows: 4000, live: 3, columns: 64 },
    ];
    all.extend(many.map(|sizes| case(sizes, Purpose::Small)));
    // So wide that no rows are shared, and wider than an image.
    let specs = || -> Specs { Box::new(|_| vec![Spec::Row(RowAccess::buffer(1))]) };
    all.push(Case { specs: specs(), ..case(RowSizes { rows: 3, live: 2, columns: 65_600 }, Purpose::Small) });
    all.push(case(RowSizes { rows: 1024, live: 1024, columns: 512 }, Purpose::Bench));
    all.push(case(RowSizes { rows: 8192, live: 8192, columns: 3072 }, Purpose::Bench));
    all
}
