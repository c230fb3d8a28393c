//! Checks many cases on all CPU cores: oracles, inputs and comparisons on threads, while the device runs one case at a time.

use super::{Case, Outcome, check_in_turn};
use crate::Result;
use crate::gpu::{AdapterKind, Caps, Device};
use crate::ops::Spec;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

/// How each case is checked.
#[derive(Clone, Copy, Debug)]
pub struct Thoroughness {
    /// Every variant that runs on the adapter, or only the one that is chosen for it.
    pub all_variants: bool,
    /// Runs of each variant, whose bits are compared.
    pub runs: usize,
}

impl Thoroughness {
    /// Runs of a variant: more where the invocations of a workgroup run in an order that differs from run to run.
    pub fn usual_runs(caps: &Caps) -> usize {
        if caps.kind == AdapterKind::Cpu { 2 } else { 20 }
    }
}

/// The outcomes of a case's variants. An error: the variant could not be recorded, or the device is lost.
pub type Outcomes = Vec<(Spec, Result<Outcome>)>;

/// Checks all cases, and hands the outcomes of each to `done` with the case's index, in the order in which they are ready.
/// Stops early at an error of `done`, and returns it.
///
/// # Errors
/// Those of `done`.
pub fn check_all<E>(
    device: &Device,
    cases: &[&Case],
    thoroughness: Thoroughness,
    mut done: impl FnMut(usize, Outcomes) -> Result<(), E>,
) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cases.len());
    let (next, turn) = (AtomicUsize::new(0), Mutex::new(()));
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, turn) = (sender.clone(), &next, &turn);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return };
                    // The receiver is closed after an error of `done`.
                    if sender.send((index, outcomes(device, case, thoroughness, turn))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver.into_iter().try_for_each(|(index, outcomes)| done(index, outcomes))
    })
}

fn outcomes(device: &Device, case: &Case, thoroughness: Thoroughness, turn: &Mutex<()>) -> Outcomes {
    let expected = (case.oracle)();
    let variants = if thoroughness.all_variants { usize::MAX } else { 1 };
    let specs = (case.specs)(device.caps()).into_iter().take(variants);
    specs.map(|spec| (spec, check_in_turn(device, case, spec, &expected, thoroughness.runs, turn))).collect()
}
