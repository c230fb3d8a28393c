//! How long a program runs, and medians.

use crate::Result;
use crate::gpu::{Device, Program};
use crate::ops::StepValues;
use std::time::{Duration, Instant};

/// Shortest duration of one timing, so that submission and waiting hardly count.
const SHORTEST: Duration = Duration::from_millis(40);
/// Timings that the median is taken over.
const TIMINGS: usize = 7;
/// Longest duration of all timings together: a slow program is timed fewer times.
const LONGEST: Duration = Duration::from_secs(3);

/// Seconds that one run of a program takes: the median over timings of several runs each.
///
/// # Errors
/// As [`Program::repeat`] and [`Device::wait`].
pub(super) fn seconds_per_run(device: &Device, program: &Program<StepValues>, values: &StepValues) -> Result<f64> {
    let begin = Instant::now();
    let timed = |runs: usize| -> Result<f64> {
        let start = Instant::now();
        program.repeat(values, runs)?;
        device.wait()?;
        Ok(start.elapsed().as_secs_f64() / runs as f64)
    };
    device.wait()?;
    timed(1)?; // compiles, and fills caches
    let once = timed(1)?;
    let runs = (SHORTEST.as_secs_f64() / once.max(1e-7)).ceil().clamp(1.0, 10_000.0) as usize;
    let mut all = vec![timed(runs)?];
    while all.len() < TIMINGS && begin.elapsed() < LONGEST {
        all.push(timed(runs)?);
    }
    Ok(median(&mut all))
}

/// Seconds between the device's timestamps around the items of a program, added up: the median over runs of a program that
/// has run before; `None` without timestamps.
///
/// # Errors
/// As [`Program::profile`].
pub(super) fn device_seconds(
    device: &Device,
    program: &Program<StepValues>,
    values: &StepValues,
) -> Result<Option<f64>> {
    if !device.caps().timestamps {
        return Ok(None);
    }
    let (begin, mut all) = (Instant::now(), Vec::new());
    while all.len() < TIMINGS && (all.is_empty() || begin.elapsed() < LONGEST / 6) {
        all.push(program.profile(values)?.iter().map(|timing| timing.ms * 1e-3).sum());
    }
    Ok(Some(median(&mut all)))
}

/// The median; NaN of no values. Sorts them.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n.is_multiple_of(2) => f64::midpoint(values[n / 2 - 1], values[n / 2]),
        n => values[n / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
