//! Cases of dropout: few and most values dropped, ragged positions and sequence numbers, and the first known answer of
//! Philox's authors, which does not depend on our oracle.

use super::inputs::{ROW_SIZES, RowSizes, ragged, row_access, row_specs, table};
use crate::gpu::Recorder;
use crate::ops::dropout::{Dropout, dropout};
use crate::ops::{RowCount, StepValues};
use crate::philox::{KNOWN_ANSWERS, Site, place, step_key};
use crate::reference;
use crate::verify::{Case, Output, Purpose, Run, numbers, wide};

/// Where a mask comes from.
#[derive(Clone, Debug)]
struct Mask {
    key: [u32; 2],
    place: u32,
    positions: Vec<u32>,
    sequences: Vec<u32>,
}

fn with(mask: Mask, rate: f32, RowSizes { rows: n, live, columns: c }: RowSizes, purpose: Purpose) -> Case {
    let x = move || numbers((n * 5 + c) as u32, n * c);
    let oracle = mask.clone();
    Case {
        op: "dropout",
        variant: format!("rate {rate}"),
        shape: vec![("N", n), ("live", live), ("C", c)],
        purpose,
        tolerance: 2e-7,
        reason: "1/(1 - rate) and one product, each rounded once",
        flops: 25.0 * (live * c) as f64,
        bytes: 4.0 * (2 * live * c) as f64,
        specs: row_specs(c),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "dropout")?;
            let out = Output::starting(device, "x", n, c, x())?;
            let mut recorder = Recorder::new(device, StepValues { rows: n as u32, ..StepValues::default() });
            let call = Dropout {
                x: &out.matrix,
                positions: &table(device, "positions", n, &mask.positions)?,
                sequences: &table(device, "sequences", n, &mask.sequences)?,
                rows: RowCount::Rows,
                rate,
                place: mask.place,
            };
            dropout(&mut recorder, access, &call)?;
            let values = StepValues { rows: live as u32, dropout_key: mask.key, ..StepValues::default() };
            Ok(Run { program: recorder.finish(), values, outputs: vec![out] })
        }),
        oracle: Box::new(move || {
            let Mask { key, place, positions, sequences } = &oracle;
            let all = wide(&x());
            let mut out = reference::dropout::apply(&all[..live * c], c, positions, sequences, *key, *place, rate);
            // Rows past the live ones are unchanged.
            out.extend(&all[live * c..]);
            vec![out]
        }),
    }
}

/// A case with ragged sequences.
pub fn case(rate: f32, sizes: RowSizes, purpose: Purpose) -> Case {
    let RowSizes { live, columns: c, .. } = sizes;
    let (positions, sequences) = ragged(live, 64);
    let mask = Mask { key: step_key(9, c as u32), place: place(0, 3, Site::ResidualMlp), positions, sequences };
    with(mask, rate, sizes, purpose)
}

/// Counter and key all zero: 4 columns are one Philox call, whose words the authors published.
fn known() -> Case {
    let (counter, key, words) = KNOWN_ANSWERS[0];
    let mask = Mask { key, place: counter[3], positions: vec![counter[1]], sequences: vec![counter[2]] };
    let mut case = with(mask, 0.5, RowSizes { rows: 1, live: 1, columns: 4 }, Purpose::Small);
    case.variant = "known answer".into();
    case.oracle = Box::new(move || {
        let kept = |(x, word): (&f32, u32)| if word >= 1 << 31 { 2.0 * f64::from(*x) } else { 0.0 };
        vec![numbers(9, 4).iter().zip(words).map(kept).collect()]
    });
    case
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = vec![known()];
    for sizes in ROW_SIZES {
        all.extend([0.1, 0.9].map(|rate| case(rate, sizes, Purpose::Small)));
    }
    let ends = Mask { key: [u32::MAX; 2], place: u32::MAX, positions: vec![u32::MAX; 2], sequences: vec![u32::MAX, 0] };
    all.push(with(ends, 0.5, RowSizes { rows: 2, live: 2, columns: 65 }, Purpose::Small));
    all.push(case(0.1, RowSizes { rows: 1024, live: 1024, columns: 128 }, Purpose::Bench));
    all
}
