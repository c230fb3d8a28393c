//! Products on matrix units and training in mixed precision, on any driver that has cooperative matrices. Mesa's software
//! driver runs fragments of 16 × 16, which it does not list.

use crate::common::device;
use crate::common::models::{capacity_of, random_batch, random_parameters, small_config};
use std::collections::HashSet;
use wgpt::config::ModelConfig;
use wgpt::gpu::caps::HALF_FRAGMENTS;
use wgpt::model::{Training, TrainingOptions};
use wgpt::ops::kernels::Precision;
use wgpt::ops::{Spec, matmul};
use wgpt::verify::{Purpose, cases, check};

/// Every form and epilogue against the oracle: the operands are numbers that f16 holds, so that the tolerances are those of
/// f32. The tiles, in one part and in three, take turns, because software drivers need seconds for a product; `wgpt check
/// --all` runs each in every case.
#[test]
fn every_product_matches_the_oracle() {
    let device = device();
    if device.caps().cooperative.is_empty() {
        println!("skipped: {} has no cooperative matrices", device.caps().name);
        return;
    }
    let device = device.narrowed(|caps| caps.cooperative.push(HALF_FRAGMENTS.into()));
    let (mut runs, mut seen) = (0, HashSet::new());
    for case in cases::all().iter().filter(|case| case.op == "matmul" && case.purpose == Purpose::Small) {
        let expected = (case.oracle)();
        let mut specs = (case.specs)(device.caps());
        specs.retain(|spec| matches!(spec, Spec::Matmul(matmul::Spec::Cooperative { .. })));
        let spec = specs[runs % specs.len()];
        let outcome = check(&device, case, spec, &expected, 2).expect("a run");
        assert!(outcome.is_ok(), "{} {spec:?}: {}", case.label(), outcome.faults.join("; "));
        seen.insert(spec);
        runs += 1;
    }
    assert_eq!((runs > 100, seen.len()), (true, 6), "{runs} runs of {seen:?}");
}

fn options(precision: Precision) -> TrainingOptions {
    TrainingOptions { precision, ..TrainingOptions::default() }
}

/// Some steps on one batch: in mixed precision, the losses are those of f32 within the rounding of f16, and the same bits in a
/// second training.
#[test]
fn mixed_precision_trains_like_f32() {
    let device = device();
    if device.caps().cooperative.is_empty() {
        println!("skipped: {} has no cooperative matrices", device.caps().name);
        return;
    }
    let device = device.narrowed(|caps| caps.cooperative.push(HALF_FRAGMENTS.into()));
    let config = ModelConfig { n_embd: 64, n_head: 2, ..small_config() };
    let parameters = random_parameters(&config, 5);
    let batch = random_batch(&config, &[40, 33, 7], 5);
    let losses = |precision| {
        let mut training =
            Training::new(&device, &config, &parameters, capacity_of(&batch), options(precision)).expect("a recording");
        for _ in 0..6 {
            training.step(&batch, 1e-3, 1).expect("a step");
        }
        let results = training.wait_for_results().expect("results");
        results.iter().map(|result| result.loss).collect::<Vec<_>>()
    };
    let (exact, mixed, again) = (losses(Precision::F32), losses(Precision::Mixed), losses(Precision::Mixed));
    assert_eq!(mixed, again);
    assert!(exact[5] < exact[0] - 0.05, "it learns: {exact:?}");
    assert!(exact != mixed, "operands were rounded");
    for (exact, mixed) in exact.iter().zip(&mixed) {
        assert!((exact - mixed).abs() < 5e-3 * exact, "{exact} {mixed}");
    }
}

/// `mixed` is refused where there are no matrix units, and `auto` trains in f32.
#[test]
fn an_adapter_without_matrix_units_trains_in_f32() {
    let device = device().narrowed(|caps| caps.cooperative.clear());
    let config = small_config();
    let parameters = random_parameters(&config, 5);
    let batch = random_batch(&config, &[9, 5], 5);
    let train = |precision| Training::new(&device, &config, &parameters, capacity_of(&batch), options(precision));
    let error = train(Precision::Mixed).err().expect("refused").to_string();
    assert!(error.contains("precision = mixed") && error.contains("expected f32"), "{error}");
    let losses = |precision| {
        let mut training = train(precision).expect("a recording");
        training.step(&batch, 1e-3, 1).expect("a step");
        training.wait_for_results().expect("results")[0].loss.to_bits()
    };
    assert_eq!(losses(Precision::Auto), losses(Precision::F32));
}
