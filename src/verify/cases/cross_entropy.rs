//! Cases of cross_entropy: logits to ±1000, targets ignored (some, all), a chunk of the batch that is half live.

use super::inputs::{ROW_SIZES, RowSizes, indices, row_access, row_specs};
use crate::gpu::{Buffer, Recorder};
use crate::ops::cross_entropy::{CrossEntropy, cross_entropy};
use crate::ops::{RowCount, StepValues};
use crate::reference;
use crate::reference::cross_entropy::IGNORED;
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};

/// Which rows have a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every row.
    All,
    /// Two of three.
    Some,
    /// No row.
    None,
}

/// Rows of the batch before the chunk.
const SKIP: usize = 64;

fn targets(kind: Targets, live: usize, v: usize) -> Vec<u32> {
    let mut all = indices((live + v) as u32, live, v);
    let ignored = |i: usize| kind == Targets::None || (kind == Targets::Some && i % 3 == 1);
    all.iter_mut().enumerate().filter(|(i, _)| ignored(*i)).for_each(|(_, t)| *t = IGNORED);
    all
}

/// A case of R rows of V logits within ±`reach`, `live` of them live; the chunk comes after `SKIP` rows of the batch.
pub fn case(kind: Targets, reach: f32, RowSizes { rows: r, live, columns: v }: RowSizes, purpose: Purpose) -> Case {
    let logits = move || numbers((r * 11 + v) as u32, r * v).iter().map(|x| x * reach).collect::<Vec<_>>();
    // The weight and the targets of the step's other micro-batches.
    let (weight, others) = (0.75f32, 5);
    Case {
        op: "cross_entropy",
        variant: format!("targets {kind:?}, logits to {reach}"),
        shape: vec![("R", r), ("live", live), ("V", v)],
        purpose,
        tolerance: 6e-6,
        reason: "an exp of some ulps over a sum of V of them",
        flops: 10.0 * (live * v) as f64,
        bytes: 4.0 * (2 * live * v) as f64,
        specs: row_specs(v),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "cross_entropy")?;
            let targets = targets(kind, live, v);
            let count = reference::cross_entropy::count(&targets);
            let mut start = logits();
            start[live * v..].fill(f32::NAN);
            let dlogits = Output::starting(device, "dlogits", r, v, start)?;
            // log of a sum whose largest term is 1: a loss near 0 has the rounding of that 1.
            let losses = Output { least: 1.0, ..Output::plain(device, "losses", [r, 1], None, float)? };
            let list = Buffer::new(device, "targets", SKIP + r)?.range("targets", SKIP, r);
            list.write(device, &targets)?;
            let capacity = StepValues { rows: (SKIP + r) as u32, ..StepValues::default() };
            let mut recorder = Recorder::new(device, capacity);
            let call = CrossEntropy {
                logits: &dlogits.matrix,
                targets: &list,
                losses: &losses.matrix.view,
                rows: RowCount::Chunk { skip: SKIP as u32, at_most: r as u32 },
                weight,
            };
            cross_entropy(&mut recorder, access, &call)?;
            let outputs = [dlogits, losses].into_iter().map(|o| Output { rows: live, ..o }).collect();
            let targets = if count == 0 { 0 } else { count + others } as u32;
            let values =
                StepValues { rows: (SKIP + live) as u32, loss_counts: targets.into(), ..StepValues::default() };
            Ok(Run { program: recorder.finish(), values, outputs })
        }),
        oracle: Box::new(move || {
            let targets = targets(kind, live, v);
            let count = match reference::cross_entropy::count(&targets) {
                0 => 0,
                count => count + others,
            };
            let out = reference::cross_entropy::cross_entropy(&wide(&logits()[..live * v]), v, &targets, count);
            vec![out.dlogits.iter().map(|d| d * f64::from(weight)).collect(), out.losses]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for sizes in ROW_SIZES {
        all.push(case(Targets::All, 1000.0, sizes, Purpose::Small));
        all.push(case(Targets::Some, 4.0, sizes, Purpose::Small));
        all.push(case(Targets::None, 4.0, sizes, Purpose::Small));
    }
    // More columns than registers hold, with logits that rise and fall.
    all.push(case(Targets::Some, 1000.0, RowSizes { rows: 7, live: 5, columns: 9001 }, Purpose::Small));
    all.push(case(Targets::Some, 4.0, RowSizes { rows: 3, live: 3, columns: 40_478 }, Purpose::Small));
    all.push(case(Targets::All, 4.0, RowSizes { rows: 1024, live: 1024, columns: 512 }, Purpose::Bench));
    all
}
