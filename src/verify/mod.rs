//! Runs a CASE on a device: outputs poisoned and fenced, compared with the f64 oracle, twice the same bits. One CASE serves
//! test, gradient check, `wgpt check` and bench.

pub mod cases;

use crate::gpu::{Caps, Device, Matrix, Program, View};
use crate::ops::{Live, Spec};
use crate::{Error, Result, dims};

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its oracle takes under 50 ms: tests, `wgpt check`.
    Small,
    /// The size of a real step: benchmarks.
    Bench,
}

/// One tensor that a case writes.
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// Where it is, at capacity.
    pub matrix: Matrix,
    /// Rows that the oracle knows; rows past it are not looked at.
    pub rows: usize,
    /// What it holds before: `None` is poisoned with NaN, so that what is not written is seen.
    pub start: Option<Vec<f32>>,
}

impl Output {
    /// A fresh output of `rows` × `columns`, between two fences, poisoned.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn poisoned(device: &Device, name: &'static str, rows: usize, columns: usize) -> Result<Self> {
        Self::fenced(device, name, rows, columns, None)
    }

    /// A fresh output that starts as `start` (dense), between two fences.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn starting(device: &Device, name: &'static str, rows: usize, columns: usize, start: Vec<f32>) -> Result<Self> {
        Self::fenced(device, name, rows, columns, Some(start))
    }

    fn fenced(
        device: &Device,
        name: &'static str,
        rows: usize,
        columns: usize,
        start: Option<Vec<f32>>,
    ) -> Result<Self> {
        let words = dims::floats(rows, columns);
        let buffer = crate::gpu::Buffer::new(device, name, words + 2 * FENCE)?;
        Ok(Output { name, matrix: Matrix::over(buffer.range(name, FENCE, words), rows, columns), rows, start })
    }

    fn prepare(&self, device: &Device) -> Result<()> {
        let fence = [SENTINEL; FENCE];
        let (before, after) = self.fences();
        before.write(device, &fence)?;
        after.write(device, &fence)?;
        match &self.start {
            Some(start) => self.matrix.write(device, start),
            None => {
                // Padding is zero by contract; what a kernel must write starts as NaN.
                let row = |_| {
                    let columns = self.matrix.columns;
                    (0..self.matrix.pitch()).map(move |c| if c < columns { POISON } else { 0 })
                };
                let words: Vec<u32> = (0..self.matrix.rows).flat_map(row).collect();
                self.matrix.view.write(device, &words)
            }
        }
    }

    fn fences(&self) -> (View, View) {
        self.matrix.view.neighbours(FENCE)
    }
}

const FENCE: usize = dims::PITCH;
const SENTINEL: u32 = 0x5EA5_0DE5;
const POISON: u32 = 0x7fc0_dead;

/// A recorded case.
pub struct Run {
    /// The dispatches.
    pub program: Program<Live>,
    /// The live numbers.
    pub live: Live,
    /// What is looked at.
    pub outputs: Vec<Output>,
}

type Build = Box<dyn Fn(&Device, Spec) -> Result<Run> + Send + Sync>;

/// One case of one kernel.
pub struct Case {
    /// The kernel's stem, as in `ops::ALL`.
    pub op: &'static str,
    /// What is particular: form, epilogue, dropout.
    pub variant: String,
    /// Letters and sizes.
    pub shape: Vec<(&'static str, usize)>,
    /// Tests or benchmarks.
    pub purpose: Purpose,
    /// Largest error over the largest absolute value of the output.
    pub tolerance: f64,
    /// Why the tolerance is what it is.
    pub reason: &'static str,
    /// Operations.
    pub flops: f64,
    /// Bytes that must move.
    pub bytes: f64,
    /// Specs that an adapter can run, the chosen one first.
    pub specs: Box<dyn Fn(&Caps) -> Vec<Spec> + Send + Sync>,
    /// Allocates, uploads, records.
    pub build: Build,
    /// The oracle's values, dense, in the order of the outputs.
    pub oracle: Box<dyn Fn() -> Vec<Vec<f64>> + Send + Sync>,
}

impl Case {
    /// `matmul AB bias 33×65×17`
    pub fn label(&self) -> String {
        let sizes: Vec<_> = self.shape.iter().map(|(l, n)| format!("{l} {n}")).collect();
        format!("{} {} [{}]", self.op, self.variant, sizes.join(", "))
    }
}

/// What came out of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The largest error over the tolerance; 1 is the limit.
    pub error_over_tolerance: f64,
    /// What is wrong, empty when nothing is.
    pub faults: Vec<String>,
}

impl Outcome {
    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Runs a case with one Spec, twice from the same start.
///
/// # Errors
/// [`Error`] when it cannot be recorded or the device is lost; a wrong result is not an error but a fault.
pub fn check(device: &Device, case: &Case, spec: Spec, expected: &[Vec<f64>]) -> Result<Outcome> {
    let run = (case.build)(device, spec)?;
    let mut outcome = Outcome { error_over_tolerance: 0.0, faults: Vec::new() };
    let first = once(device, &run)?;
    let second = once(device, &run)?;
    if run.outputs.len() != expected.len() {
        let message = format!("{} outputs, the oracle has {}", run.outputs.len(), expected.len());
        return Err(Error::Kernel { kernel: case.op.into(), message });
    }
    for (i, (output, expected)) in run.outputs.iter().zip(expected).enumerate() {
        let got = &first[i];
        let name = output.name;
        if got.iter().zip(&second[i]).any(|(a, b)| a.to_bits() != b.to_bits()) {
            outcome.faults.push(format!("{name}: two runs differ in their bits"));
        }
        let (before, after) = output.fences();
        for (side, fence) in [("before", before), ("after", after)] {
            if fence.read::<u32>(device)?.iter().any(|w| *w != SENTINEL) {
                outcome.faults.push(format!("{name}: written {side} its range"));
            }
        }
        let pitch = output.matrix.pitch();
        let columns = output.matrix.columns;
        let padding =
            (0..output.rows).flat_map(|r| &got[r * pitch + columns..(r + 1) * pitch]).any(|x| x.to_bits() != 0);
        if padding {
            outcome.faults.push(format!("{name}: the padding of a row is not zero"));
        }
        let dense: Vec<f32> = dims::unpad_rows(&got[..output.rows * pitch], columns);
        let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs())).max(1e-30);
        let mut worst = (0.0, 0);
        for (j, (g, e)) in dense.iter().zip(expected).enumerate() {
            let error = if g.is_finite() { (f64::from(*g) - e).abs() / scale } else { f64::INFINITY };
            if error > worst.0 {
                worst = (error, j);
            }
        }
        if dense.len() != expected.len() {
            outcome.faults.push(format!("{name}: {} numbers, the oracle has {}", dense.len(), expected.len()));
        } else if worst.0 > case.tolerance {
            let (row, column) = (worst.1 / columns, worst.1 % columns);
            let (g, e) = (dense[worst.1], expected[worst.1]);
            outcome.faults.push(format!(
                "{name}[{row}, {column}]: got {g:e}, expected {e:e}: error {:.1e} of the largest, tolerance {:.1e}",
                worst.0, case.tolerance
            ));
        }
        outcome.error_over_tolerance = outcome.error_over_tolerance.max(worst.0 / case.tolerance);
    }
    Ok(outcome)
}

fn once(device: &Device, run: &Run) -> Result<Vec<Vec<f32>>> {
    for output in &run.outputs {
        output.prepare(device)?;
    }
    run.program.run(&run.live)?;
    run.outputs.iter().map(|o| o.matrix.view.read(device)).collect()
}

/// Numbers for a case: a hash of the index, in (-1, 1).
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut words = crate::philox::Words::new(u64::from(seed), crate::philox::Stream::Weights, 0, 0);
    (0..count).map(|_| (words.uniform() * 2.0 - 1.0) as f32).collect()
}

/// f32 numbers as the oracles take them.
pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}
