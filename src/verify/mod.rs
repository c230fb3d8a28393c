//! Runs a case of a kernel on a device and compares it with its oracle. Outputs start as NaN between two guard ranges, and several
//! runs must give the same bits. Tests, gradient checks, `wgpt check` and benches share the cases.

pub mod all;
pub mod cases;
pub mod sample;
pub mod self_test;

use crate::gpu::{Caps, Device, Matrix, Program, View};
use crate::ops::{Spec, StepValues};
use crate::philox::{Stream, Words};
use crate::{Error, Result, dims};
use std::sync::{Mutex, PoisonError};

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
    /// Where it is stored, at capacity.
    pub matrix: Matrix,
    /// Rows that the oracle computes; the rows after them are not compared.
    pub rows: usize,
    /// What it holds before the run. `None` is NaN everywhere, so that numbers that are not written are found.
    pub start: Option<Vec<f32>>,
    /// Errors are relative to the largest expected number, or to this where that is larger.
    pub least: f64,
    /// Rows without padding, their words as these numbers; `None` for rows of [`dims::pitch`] floats.
    plain: Option<Number>,
}

/// The number that a word of a column represents.
pub type Number = fn(u32, usize) -> f64;

/// The [`Number`] of an f32.
pub fn float(word: u32, _: usize) -> f64 {
    f64::from(f32::from_bits(word))
}

/// The [`Number`] of an f32 of which only one thing is compared: 0 if it is finite, 1 if not.
pub fn not_finite(word: u32, column: usize) -> f64 {
    if float(word, column).is_finite() { 0.0 } else { 1.0 }
}

impl Output {
    /// A fresh output of `rows` × `columns`, between two fences, poisoned.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn poisoned(device: &Device, name: &'static str, rows: usize, columns: usize) -> Result<Self> {
        Self::fenced(device, name, rows, columns, None, None)
    }

    /// A fresh output that starts as `start` (dense), between two fences.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn starting(device: &Device, name: &'static str, rows: usize, columns: usize, start: Vec<f32>) -> Result<Self> {
        Self::fenced(device, name, rows, columns, Some(start), None)
    }

    /// A fresh list of `rows` × `columns` words without padding: losses, statistics, states. Each column
    /// has its own scale.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn plain(
        device: &Device,
        name: &'static str,
        [rows, columns]: [usize; 2],
        start: Option<Vec<f32>>,
        number: Number,
    ) -> Result<Self> {
        Self::fenced(device, name, rows, columns, start, Some(number))
    }

    /// A workspace of a kernel: fenced and poisoned. Its numbers are not compared, because the oracle has none.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn workspace(device: &Device, name: &'static str, rows: usize, columns: usize) -> Result<Self> {
        Ok(Output { rows: 0, ..Self::fenced(device, name, rows, columns, None, None)? })
    }

    fn fenced(
        device: &Device,
        name: &'static str,
        rows: usize,
        columns: usize,
        start: Option<Vec<f32>>,
        plain: Option<Number>,
    ) -> Result<Self> {
        let words = if plain.is_some() { rows * columns } else { dims::floats(rows, columns) };
        let buffer = crate::gpu::Buffer::new(device, name, words + 2 * FENCE)?;
        let matrix = Matrix::over(buffer.range(name, FENCE, words), rows, columns);
        Ok(Output { name, matrix, rows, start, least: 1e-30, plain })
    }

    fn pitch(&self) -> usize {
        if self.plain.is_some() { self.matrix.columns } else { self.matrix.pitch() }
    }

    fn number(&self, word: u32, column: usize) -> f64 {
        self.plain.unwrap_or(float)(word, column)
    }

    fn prepare(&self, device: &Device) -> Result<()> {
        let fence = [SENTINEL; FENCE];
        let (before, after) = self.fences();
        before.write(device, &fence)?;
        after.write(device, &fence)?;
        match &self.start {
            Some(start) if self.plain.is_some() => self.matrix.view.write(device, start),
            Some(start) => self.matrix.write(device, start),
            None => {
                // Padding is always zero; what a kernel must write starts as NaN.
                let row = |_| {
                    let columns = self.matrix.columns;
                    (0..self.pitch()).map(move |c| if c < columns { POISON } else { 0 })
                };
                let words: Vec<u32> = (0..self.matrix.rows).flat_map(row).collect();
                self.matrix.view.write(device, &words)
            }
        }
    }

    fn fences(&self) -> (View, View) {
        self.matrix.view.neighbors(FENCE)
    }
}

const FENCE: usize = dims::PITCH;
const SENTINEL: u32 = 0x5EA5_0DE5;
const POISON: u32 = 0x7fc0_dead;

/// A recorded case.
pub struct Run {
    /// The dispatches.
    pub program: Program<StepValues>,
    /// The values of its one run.
    pub values: StepValues,
    /// The tensors that are compared.
    pub outputs: Vec<Output>,
}

/// Specs that an adapter can run, the chosen one first.
pub type Specs = Box<dyn Fn(&Caps) -> Vec<Spec> + Send + Sync>;
type Build = Box<dyn Fn(&Device, Spec) -> Result<Run> + Send + Sync>;

/// One case of one kernel.
pub struct Case {
    /// The kernel's stem, as in `ops::ALL`.
    pub op: &'static str,
    /// How it differs from other cases of the op: form, epilogue, dropout.
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
    pub specs: Specs,
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

/// The result of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The largest error over the tolerance; 1 is the limit.
    pub error_over_tolerance: f64,
    /// What is wrong; empty if nothing is.
    pub faults: Vec<String>,
}

impl Outcome {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Runs a case with one Spec `runs` times from the same start; all runs must give the same bits.
///
/// # Errors
/// [`Error`] when it cannot be recorded or the device is lost; a wrong result is not an error but a fault.
pub fn check(device: &Device, case: &Case, spec: Spec, expected: &[Vec<f64>], runs: usize) -> Result<Outcome> {
    check_in_turn(device, case, spec, expected, runs, &Mutex::new(()))
}

/// As [`check`], on a device that other threads use, too. The lock is held while the device runs the case.
fn check_in_turn(
    device: &Device,
    case: &Case,
    spec: Spec,
    expected: &[Vec<f64>],
    runs: usize,
    turn: &Mutex<()>,
) -> Result<Outcome> {
    let run = (case.build)(device, spec)?;
    if run.outputs.len() != expected.len() {
        let error = Error::kernel(case.op, format!("{} outputs", run.outputs.len()));
        return Err(error.expected(format!("the oracle has {}", expected.len())));
    }
    let results = {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        repeat(device, &run, runs.max(1))?
    };
    let mut outcome = Outcome { error_over_tolerance: 0.0, faults: Vec::new() };
    for ((output, expected), result) in run.outputs.iter().zip(expected).zip(results) {
        let Results { words, differing, fences } = result;
        if differing > 0 {
            outcome.faults.push(format!("{}: {differing} of {runs} runs differ from the first in bits", output.name));
        }
        for (side, fence) in ["before", "after"].into_iter().zip(fences) {
            if fence.iter().any(|w| *w != SENTINEL) {
                outcome.faults.push(format!("{}: written {side} its range", output.name));
            }
        }
        let worst = compare(output, &words, expected, case.tolerance, &mut outcome.faults);
        outcome.error_over_tolerance = outcome.error_over_tolerance.max(worst / case.tolerance);
    }
    Ok(outcome)
}

/// Returns the largest error and adds what is wrong to `faults`.
fn compare(output: &Output, words: &[u32], expected: &[f64], tolerance: f64, faults: &mut Vec<String>) -> f64 {
    let (name, pitch, columns) = (output.name, output.pitch(), output.matrix.columns);
    let rows: Vec<&[u32]> = words.chunks_exact(pitch).take(output.rows).collect();
    // A zero of either sign: compilers may drop an addition of 0.
    if rows.iter().any(|row| row[columns..].iter().any(|w| w & 0x7fff_ffff != 0)) {
        faults.push(format!("{name}: the padding of a row is not zero"));
    }
    if output.rows * columns != expected.len() {
        faults.push(format!("{name}: {} numbers, the oracle has {}", output.rows * columns, expected.len()));
        return 0.0;
    }
    let mut scales = vec![output.least; columns];
    for (j, e) in expected.iter().enumerate() {
        scales[j % columns] = scales[j % columns].max(e.abs());
    }
    if output.plain.is_none() {
        let largest = scales.iter().fold(0.0f64, |m, s| m.max(*s));
        scales.fill(largest);
    }
    let (mut worst, mut at, mut kept) = (0.0, 0, None);
    for (j, e) in expected.iter().enumerate() {
        let (word, column) = (rows[j / columns][j % columns], j % columns);
        let got = output.number(word, column);
        let error = if got.is_finite() { (got - e).abs() / scales[column] } else { f64::INFINITY };
        if error > worst {
            (worst, at) = (error, j);
        }
        let start = output.start.as_ref().and_then(|s| s.get(j)).map(|s| output.number(s.to_bits(), column));
        if start == Some(*e) && got != *e {
            kept = Some(j);
        }
    }
    let place = |j: usize| {
        format!("{name}[{}, {}]: got {:e}", j / columns, j % columns, {
            output.number(rows[j / columns][j % columns], j % columns)
        })
    };
    if worst > tolerance {
        let what = format!("error {worst:.1e} of the largest, tolerance {tolerance:.1e}");
        faults.push(format!("{}, expected {:e}: {what}", place(at), expected[at]));
    }
    if let Some(j) = kept {
        faults.push(format!("{}, expected unchanged: {:e}", place(j), expected[j]));
    }
    worst
}

/// What several runs leave in an output.
struct Results {
    /// The words of the first run.
    words: Vec<u32>,
    /// Runs whose words are others.
    differing: usize,
    /// The fences after the last run.
    fences: [Vec<u32>; 2],
}

/// Most bytes of outputs that are read back without waiting in between.
const IN_FLIGHT: usize = 32 << 20;

/// Runs a recorded case from the same start, and waits as rarely as memory allows: a wait takes longer than most cases.
fn repeat(device: &Device, run: &Run, runs: usize) -> Result<Vec<Results>> {
    let bytes: usize = run.outputs.iter().map(|o| o.matrix.view.words as usize * 4).sum();
    let at_once = (IN_FLIGHT / bytes.max(1)).max(1);
    let mut all: Vec<Results> = Vec::new();
    let mut left = runs;
    while left > 0 {
        let mut reads = Vec::new();
        for _ in 0..at_once.min(left) {
            for output in &run.outputs {
                output.prepare(device)?;
            }
            run.program.run(&run.values)?;
            reads.push(run.outputs.iter().map(|o| o.matrix.view.read_async(device)).collect::<Vec<_>>());
        }
        left -= reads.len();
        device.wait()?;
        for outputs in reads {
            for (i, read) in outputs.into_iter().enumerate() {
                let words: Vec<u32> = pollster::block_on(read)?;
                match all.get_mut(i) {
                    None => all.push(Results { words, differing: 0, fences: Default::default() }),
                    Some(first) => first.differing += usize::from(first.words != words),
                }
            }
        }
    }
    let fences: Vec<_> = run.outputs.iter().map(Output::fences).collect();
    let reads: Vec<_> = fences.iter().map(|(a, b)| [a, b].map(|fence| fence.read_async(device))).collect();
    device.wait()?;
    for (results, [before, after]) in all.iter_mut().zip(reads) {
        results.fences = [pollster::block_on(before)?, pollster::block_on(after)?];
    }
    Ok(all)
}

/// Numbers for a case: a hash of the index, in (-1, 1).
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut all = vec![0.0; count];
    let threads = if count < MANY { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    // A counter of the stream has four words.
    let share = count.div_ceil(threads).next_multiple_of(4).max(4);
    let fill = |first: usize, all: &mut [f32]| {
        let mut words = Words::starting_at((first / 4) as u32, u64::from(seed), Stream::Weights, 0, 0);
        all.iter_mut().for_each(|x| *x = (words.uniform() * 2.0 - 1.0) as f32);
    };
    if threads == 1 {
        fill(0, &mut all);
        return all;
    }
    std::thread::scope(|scope| {
        for (i, part) in all.chunks_mut(share).enumerate() {
            scope.spawn(move || fill(i * share, part));
        }
    });
    all
}

/// Numbers from which on [`numbers`] uses threads.
const MANY: usize = 1 << 20;

/// f32 numbers as the oracles take them.
pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|x| f64::from(*x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_depend_on_the_threads() {
        let mut words = Words::new(5, Stream::Weights, 0, 0);
        let all = numbers(5, MANY + 1001);
        assert!(all.iter().all(|x| *x == (words.uniform() * 2.0 - 1.0) as f32));
        assert_eq!(numbers(5, 7), all[..7]);
    }
}
