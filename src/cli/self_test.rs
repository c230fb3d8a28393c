//! The self-test of the kernels before a run, on a driver on which they have not been tested yet.

use super::output::note;
use super::user_cache::passed_tests;
use crate::Result;
use crate::gpu::Device;
use crate::train::Objective;
use crate::train::optimizer_options;
use crate::verify::self_test::{SelfTest, Workload};

/// Tests the kernels that a run needs on each device, unless this test passed before or the key `self_test` is false.
///
/// # Errors
/// As [`SelfTest::run`]. Such a test is not remembered.
pub(super) fn self_test<O: Objective>(devices: &[Device], objective: &O) -> Result<()> {
    let settings = objective.settings();
    if !settings.self_test {
        return Ok(());
    }
    let options = optimizer_options(settings, objective.lm_coef());
    let (precision, arithmetic) = (options.precision, options.adam.arithmetic);
    let test = SelfTest::new(objective.model(), Workload { precision, arithmetic, samples: O::WRITES_SAMPLES });
    let passed = passed_tests();
    let mut tested = Vec::new();
    for device in devices {
        let description = test.description(device.caps());
        if tested.contains(&description) || passed.contains(&description) {
            continue;
        }
        note(format_args!(
            "testing {} kernels before their first run on this driver at this size (self_test = false: no test)",
            test.kernels().len()
        ));
        test.run(device)?;
        if let Err(error) = passed.insert(&description) {
            note(format_args!("warning: the next run will test the kernels again: {error}"));
        }
        tested.push(description);
    }
    Ok(())
}
