//! Cases of task_loss: classes of one sequence or two, a number, candidates that vary; scores to ±100, answers not known.

use super::inputs::{RowSizes, row_access, table};
use crate::data::batch::LossCounts;
use crate::gpu::{Recorder, View};
use crate::ops::layout::UNKNOWN_ANSWER;
use crate::ops::task_loss::{Logits, TaskLoss, task_loss};
use crate::ops::{RowAccess, Spec, StepValues};
use crate::reference::task_loss::{self as oracle, Answer};
use crate::verify::{Case, Output, Purpose, Run, float, numbers, wide};
use std::ops::Range;

/// Examples of the step in other micro-batches.
const OTHERS: usize = 3;

/// Examples over `b` sequences: two sequences each for `pairs`, for candidates 1, 2, 5, …; every fourth answer not known.
fn examples(kind: Logits, pairs: bool, b: usize, l: usize) -> Vec<(Range<usize>, Answer)> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < b {
        let i = all.len();
        let length = match kind {
            Logits::Candidates => [1, 2, 5, 4, 17][i % 5],
            _ => 1 + usize::from(pairs),
        };
        let end = (at + length).min(b);
        let answer = match kind {
            _ if i % 4 == 3 => Answer::Unknown,
            Logits::Classes => Answer::Class((i * 7 + 1) % l),
            Logits::Score => Answer::Score(i as f64 * 0.75 - 2.0),
            Logits::Candidates => Answer::Candidate((i * 3) % (end - at)),
        };
        all.push((at..end, answer));
        at = end;
    }
    all
}

fn word(answer: Answer) -> u32 {
    match answer {
        Answer::Class(i) | Answer::Candidate(i) => i as u32,
        Answer::Score(score) => (score as f32).to_bits(),
        Answer::Unknown => UNKNOWN_ANSWER,
    }
}

/// A case with a row a sequence and a column an output.
pub fn case(kind: Logits, pairs: bool, reach: f32, sizes: RowSizes, purpose: Purpose) -> Case {
    let RowSizes { rows: b, live, columns: l } = sizes;
    let scores = move || numbers((b * 13 + l) as u32, live * l).iter().map(|x| x * reach).collect::<Vec<_>>();
    let bias = move || numbers(l as u32 + 5, l);
    Case {
        op: "task_loss",
        variant: format!("{kind:?}{}, scores to {reach}", if pairs { " of pairs" } else { "" }),
        shape: vec![("B", b), ("live", live), ("L", l)],
        purpose,
        tolerance: 6e-6,
        reason: "an exp of some ulps over a sum of L of them",
        flops: 10.0 * (live * l) as f64,
        bytes: 4.0 * (4 * live * l) as f64,
        specs: Box::new(|caps| {
            let chosen = RowAccess::scalars(caps);
            let others = RowAccess::all(caps).into_iter().filter(|access| *access != chosen);
            std::iter::once(chosen).chain(others).map(Spec::Row).collect()
        }),
        build: Box::new(move |device, spec| {
            let access = row_access(spec, "task_loss")?;
            let examples = examples(kind, pairs, live, l);
            let words: Vec<u32> = examples
                .iter()
                .flat_map(|(rows, answer)| [rows.start as u32, rows.end as u32, word(*answer)])
                .collect();
            let list = table(device, "examples", 3 * b, &words)?;
            let bias_view = View::new(device, "bias", l)?;
            bias_view.write(device, &bias())?;
            let mut start = scores();
            start.resize(b * l, 0.0);
            let dscores = Output::starting(device, "dscores", b, l, start)?;
            let (logits, dlogits) =
                (Output::poisoned(device, "logits", b, l)?, Output::poisoned(device, "dlogits", b, l)?);
            let losses = Output { least: 1.0, ..Output::plain(device, "losses", [b, 1], None, float)? };
            let capacity = StepValues { sequences: b as u32, examples: b as u32, ..StepValues::default() };
            let mut rec = Recorder::new(device, capacity);
            let call = TaskLoss {
                kind,
                examples: &list,
                bias: &bias_view,
                scores: &dscores.matrix,
                logits: &logits.matrix,
                dlogits: &dlogits.matrix,
                losses: &losses.matrix.view,
            };
            task_loss(&mut rec, access, &call)?;
            let count = examples.iter().filter(|e| e.1 != Answer::Unknown).count() + OTHERS;
            let numbers = StepValues {
                sequences: live as u32,
                examples: examples.len() as u32,
                loss_counts: LossCounts { targets: 0, examples: count as u32 },
                ..StepValues::default()
            };
            let rows = |output: Output| Output { rows: live, ..output };
            // A gradient of about 1/count has the rounding of the 1 that it is the difference to.
            let least = |output: Output| Output { least: 1.0 / count as f64, ..rows(output) };
            let outputs = vec![least(dscores), rows(logits), least(dlogits), Output { rows: examples.len(), ..losses }];
            Ok(Run { program: rec.finish(), values: numbers, outputs })
        }),
        oracle: Box::new(move || {
            let examples = examples(kind, pairs, live, l);
            let count = examples.iter().filter(|e| e.1 != Answer::Unknown).count() + OTHERS;
            let candidates = kind == Logits::Candidates;
            let out = oracle::task_loss(&wide(&scores()), &wide(&bias()), &examples, candidates, count);
            vec![out.dscores, out.logits, out.dlogits, out.losses]
        }),
    }
}

/// All cases of the op.
pub fn cases() -> Vec<Case> {
    let small = |kind, pairs, reach, [rows, live, columns]: [usize; 3]| {
        case(kind, pairs, reach, RowSizes { rows, live, columns }, Purpose::Small)
    };
    vec![
        small(Logits::Classes, false, 4.0, [1, 1, 2]),
        small(Logits::Classes, false, 4.0, [33, 31, 3]),
        small(Logits::Classes, false, 100.0, [9, 7, 77]),
        small(Logits::Classes, true, 4.0, [32, 20, 2]),
        small(Logits::Classes, true, 4.0, [6, 6, 300]),
        // So many classes that eight invocations would have more turns than llvmpipe's loops.
        small(Logits::Classes, false, 4.0, [1, 1, 60_000]),
        small(Logits::Classes, true, 4.0, [2, 2, 60_000]),
        small(Logits::Score, false, 4.0, [7, 5, 1]),
        small(Logits::Score, true, 4.0, [64, 40, 1]),
        small(Logits::Candidates, false, 4.0, [64, 37, 1]),
        small(Logits::Candidates, false, 100.0, [2, 1, 1]),
        case(Logits::Classes, false, 4.0, RowSizes { rows: 64, live: 64, columns: 16 }, Purpose::Bench),
    ]
}
