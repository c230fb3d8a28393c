//! The self-test of the kernels before a run, on a driver on which they have not been tested yet.

use super::output::note;
use super::user_cache::passed_tests;
use crate::Result;
use crate::config::ModelConfig;
use crate::gpu::Device;
use crate::model::TrainingOptions;
use crate::train::Objective;
use crate::train::optimizer_options;
#[cfg(feature = "mpi")]
use crate::train::ranks::Setup;
use crate::verify::self_test::{SelfTest, Workload};

/// What a self-test depends on.
pub(super) struct SelfTested {
    model: ModelConfig,
    options: TrainingOptions,
    writes_samples: bool,
    /// The key `self_test`.
    wanted: bool,
}

impl SelfTested {
    /// For a run of this process.
    pub fn of<O: Objective>(objective: &O) -> Self {
        let settings = objective.settings();
        SelfTested {
            model: objective.model().clone(),
            options: optimizer_options(settings, objective.lm_coef()),
            writes_samples: O::WRITES_SAMPLES,
            wanted: settings.self_test,
        }
    }

    /// For a run of another process.
    #[cfg(feature = "mpi")]
    pub fn by(setup: &Setup) -> Self {
        let Setup { options, self_test, writes_samples, .. } = *setup;
        SelfTested { model: setup.config(), options, writes_samples, wanted: self_test }
    }
}

/// Tests the kernels that a run needs on each device, unless this test passed before or the key `self_test` is false.
///
/// # Errors
/// As [`SelfTest::run`]. Such a test is not remembered.
pub(super) fn self_test(devices: &[Device], run: &SelfTested) -> Result<()> {
    if !run.wanted {
        return Ok(());
    }
    let (precision, arithmetic) = (run.options.precision, run.options.adam.arithmetic);
    let test = SelfTest::new(&run.model, Workload { precision, arithmetic, samples: run.writes_samples });
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
