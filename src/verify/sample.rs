//! Compares some elements of a case's outputs, where the whole oracle would take too long.

use super::{Case, Outcome, Run};
use crate::gpu::Device;
use crate::{Error, Result};

/// Elements of one output.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The output's name.
    pub output: &'static str,
    /// Row and column of each.
    pub places: Vec<[usize; 2]>,
    /// The oracle's values.
    pub expected: Vec<f64>,
}

/// Runs a recorded case once and compares the samples. Errors are relative to the largest expected number of a sample.
///
/// # Errors
/// [`Error`] when the device is lost or has no memory left, or a sample is of no output; a wrong result is a fault.
pub fn check_samples(device: &Device, case: &Case, run: &Run, samples: &[Sample]) -> Result<Outcome> {
    for output in run.outputs.iter().filter(|output| output.start.is_some()) {
        output.prepare(device)?;
    }
    run.program.run(&run.values)?;
    let mut outcome = Outcome { error_over_tolerance: 0.0, faults: Vec::new() };
    for Sample { output: name, places, expected } in samples {
        let Some(output) = run.outputs.iter().find(|output| output.name == *name) else {
            return Err(Error::kernel(case.op, format!("samples of `{name}`")).expected("the name of an output"));
        };
        let mut rows: Vec<usize> = places.iter().map(|[row, _]| *row).collect();
        rows.dedup();
        let pitch = output.pitch();
        let reads: Vec<_> =
            rows.iter().map(|row| output.matrix.view.part(row * pitch, pitch).read_async::<u32>(device)).collect();
        device.wait()?;
        let words = reads.into_iter().map(pollster::block_on).collect::<Result<Vec<Vec<u32>>>>()?;
        let largest = expected.iter().fold(output.least, |m, e| m.max(e.abs()));
        let (mut worst, mut fault) = (0.0, String::new());
        for ([row, column], expected) in places.iter().zip(expected) {
            let index = rows.iter().position(|r| r == row).unwrap_or(0);
            let got = output.number(words[index][*column], *column);
            let error = if got.is_finite() { (got - expected).abs() / largest } else { f64::INFINITY };
            if error > worst {
                worst = error;
                fault = format!("{name}[{row}, {column}]: got {got:e}, expected {expected:e}");
            }
        }
        if worst > case.tolerance {
            let what = format!("error {worst:.1e} of the largest, tolerance {:.1e}", case.tolerance);
            outcome.faults.push(format!("{fault}: {what}"));
        }
        outcome.error_over_tolerance = outcome.error_over_tolerance.max(worst / case.tolerance);
    }
    Ok(outcome)
}
