//! How long a submission may be: in floating-point operations, measured so that it takes about 0.3 seconds. Desktop drivers
//! reset a device after about two seconds.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Seconds that a submission should take.
const SECONDS: f64 = 0.3;
/// Seconds between two finished submissions from which the rate of a device is computed. Shorter times are too inexact,
/// and steps that short need not be split.
const MEASURABLE: f64 = 0.02;
/// The smallest and the largest budget: 0.3 seconds at 1 GFLOP/s, and at 300 TFLOP/s.
const BOUNDS: [f64; 2] = [3e8, 9e13];
/// Largest factor between a budget and the next one, so that one wrong measurement does little.
const LARGEST_CHANGE: f64 = 2.0;

/// The budget of a device, and what it is computed from.
pub(super) struct Budget(Mutex<State>);

struct State {
    budget: f64,
    /// Whether the caller set it.
    is_fixed: bool,
    /// Floating-point operations of all submissions so far.
    submitted: f64,
}

impl Budget {
    /// A first guess.
    pub fn new(flops: f64) -> Self {
        Budget(Mutex::new(State { budget: flops, is_fixed: false, submitted: 0.0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Floating-point operations after which a submission ends.
    pub fn flops(&self) -> f64 {
        self.state().budget
    }

    /// Sets the budget, which then stays as it is.
    pub fn fix(&self, flops: f64) {
        let mut state = self.state();
        (state.budget, state.is_fixed) = (flops, true);
    }

    /// Adds a submission, and returns the floating-point operations of all so far.
    pub fn count(&self, flops: f64) -> f64 {
        let mut state = self.state();
        state.submitted += flops;
        state.submitted
    }

    /// Takes into account that the device, always at work, did this many operations in this time.
    pub fn measured(&self, flops: f64, time: Duration) {
        let (mut state, seconds) = (self.state(), time.as_secs_f64());
        if state.is_fixed || seconds < MEASURABLE || flops <= 0.0 {
            return;
        }
        let wanted = (SECONDS * flops / seconds).clamp(BOUNDS[0], BOUNDS[1]);
        state.budget = wanted.clamp(state.budget / LARGEST_CHANGE, state.budget * LARGEST_CHANGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_comes_to_take_three_tenths_of_a_second() {
        for rate in [2e10, 1e12, 4e13] {
            let budget = Budget::new(2e11);
            for _ in 0..12 {
                budget.measured(0.5 * rate, Duration::from_millis(500));
            }
            assert!((budget.flops() / rate - 0.3).abs() < 1e-6, "{rate}: {}", budget.flops());
        }
    }

    #[test]
    fn one_measurement_changes_it_by_a_factor_of_two_at_most() {
        let budget = Budget::new(2e11);
        budget.measured(1e15, Duration::from_secs(1));
        assert_eq!(budget.flops(), 4e11);
        budget.measured(1.0, Duration::from_secs(1));
        budget.measured(1.0, Duration::from_secs(1));
        assert_eq!(budget.flops(), 1e11);
        for _ in 0..100 {
            budget.measured(1.0, Duration::from_secs(1));
        }
        assert_eq!(budget.flops(), BOUNDS[0]);
    }

    #[test]
    fn short_times_and_a_callers_budget_are_kept() {
        let budget = Budget::new(2e11);
        budget.measured(1e15, Duration::from_millis(1));
        budget.measured(0.0, Duration::from_secs(1));
        assert_eq!(budget.flops(), 2e11);
        budget.fix(7.0);
        budget.measured(1e15, Duration::from_secs(1));
        assert_eq!(budget.flops(), 7.0);
        assert_eq!([budget.count(2.0), budget.count(3.0)], [2.0, 5.0]);
    }
}
