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
use wgpt::verify::{Case, Purpose, cases, check};

/// Every tile and form with every kind of edge, in one part and in several, and every epilogue of a form, against the oracle:
/// the operands are numbers that f16 holds, so that the tolerances are those of f32. Software drivers need seconds to compile a
/// tile of a form with an epilogue, and little for its cases. Therefore an epilogue is tested with one tile, and tiles in parts
/// without one. `wgpt check --all` runs each with each.
#[test]
fn every_product_matches_the_oracle() {
    let device = device();
    if device.caps().cooperative.is_empty() {
        println!("skipped: {} has no cooperative matrices", device.caps().name);
        return;
    }
    let device = device.narrowed(|caps| caps.cooperative.push(HALF_FRAGMENTS.into()));
    let mut epilogues: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    // Sizes past those of a texture concern other kernels, and are a tile's longest runs here.
    let is_wanted = |case: &&Case| {
        case.op == "matmul" && case.purpose == Purpose::Small && case.shape.iter().all(|(_, n)| *n < 1000)
    };
    for case in cases::all().iter().filter(is_wanted) {
        let expected = (case.oracle)();
        let index = epilogues.iter().position(|epilogue| *epilogue == case.variant).unwrap_or_else(|| {
            epilogues.push(case.variant.clone());
            epilogues.len() - 1
        });
        let specs = (case.specs)(device.caps()).into_iter().filter_map(|spec| match spec {
            Spec::Matmul(spec @ matmul::Spec::Cooperative { .. }) => Some(spec),
            _ => None,
        });
        let (whole, parts): (Vec<_>, Vec<_>) = specs.partition(|spec| spec.parts() == 1);
        let form = case.variant.split(' ').next().expect("a form").to_string();
        let parts = parts.into_iter().filter(|_| case.variant.ends_with(" Plain"));
        for spec in parts.chain([whole[index % whole.len()]]) {
            let outcome = check(&device, case, Spec::Matmul(spec), &expected, 2).expect("a run");
            assert!(outcome.is_ok(), "{} {spec:?}: {}", case.label(), outcome.faults.join("; "));
            seen.insert((form.clone(), spec));
        }
    }
    // Three tiles of three forms in parts; in one part, all but the one that the two epilogues of AᵀB leave out.
    assert_eq!((epilogues.len(), seen.len()), (14, 17), "{epilogues:?} {seen:?}");
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
