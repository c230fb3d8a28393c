//! Every registered kernel, every Spec that the adapter can run, against its f64 oracle: the registry's cases, then shapes
//! that proptest draws. WGPT_CASES=word takes only labels with that word, WGPT_ADAPTER another adapter.

use crate::common::device;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::time::Instant;
use wgpt::ops;
use wgpt::verify::cases::matmul::Out;
use wgpt::verify::cases::{cross_entropy, layer_norm, matmul};
use wgpt::verify::{Case, Purpose, cases, check};

/// Runs with every Spec. Prints for each op the number of runs, the largest error in units of the tolerance, and the time.
fn run_all(cases: &[Case]) {
    let device = device();
    let only = std::env::var("WGPT_CASES").unwrap_or_default();
    let mut failures = Vec::new();
    let mut ops: BTreeMap<&str, (usize, f64, f64)> = BTreeMap::new();
    for case in cases.iter().filter(|c| c.purpose == Purpose::Small && c.label().contains(&only)) {
        let started = Instant::now();
        let expected = (case.oracle)();
        let entry = ops.entry(case.op).or_default();
        for spec in (case.specs)(device.caps()) {
            entry.0 += 1;
            match check(&device, case, spec, &expected, 2) {
                Ok(outcome) => {
                    entry.1 = entry.1.max(outcome.error_over_tolerance);
                    if !outcome.is_ok() {
                        failures.push(format!("{} {spec:?}: {}", case.label(), outcome.faults.join("; ")));
                    }
                }
                Err(e) => failures.push(format!("{} {spec:?}: {e}", case.label())),
            }
        }
        entry.2 += started.elapsed().as_secs_f64();
    }
    for (op, (runs, worst, seconds)) in &ops {
        println!("{op:20} {runs:4} runs, error up to {:3.0} % of the tolerance, {seconds:.1} s", worst * 100.0);
    }
    let runs: usize = ops.values().map(|o| o.0).sum();
    println!("{runs} runs on {}", device.caps().name);
    assert!(failures.is_empty(), "{} of {runs}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_kernel_matches_its_oracle() {
    run_all(&cases::all());
}

#[test]
fn every_op_has_small_and_bench_cases() {
    let (all, device) = (cases::all(), device());
    for kernel in ops::ALL {
        for purpose in [Purpose::Small, Purpose::Bench] {
            let found = all.iter().any(|c| c.op == kernel.op && c.purpose == purpose);
            assert!(found, "{} has no {purpose:?} case", kernel.op);
        }
    }
    for case in &all {
        let op = case.op;
        assert!(ops::ALL.iter().any(|k| k.op == op), "{op} is not registered");
        assert!(!(case.specs)(device.caps()).is_empty(), "{} has no Spec", case.label());
        assert!(case.flops > 0.0 || case.purpose == Purpose::Small, "{} has no FLOPs", case.label());
        assert!(case.bytes > 0.0 || case.purpose == Purpose::Small, "{} has no bytes", case.label());
    }
}

/// Shapes are the same on every run: a failure names its own, which `cases` of the op can then keep.
fn draw<S: Strategy>(count: usize, strategy: S) -> Vec<S::Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

/// Sizes that are often one off a multiple of 8, 64 or 128.
fn size(most: usize) -> impl Strategy<Value = usize> {
    let near = |step: usize| (1..=(most / step).max(1), 0..3usize).prop_map(move |(n, off)| n * step + off - 1);
    proptest::prop_oneof![1..=most, near(8), near(64), near(128)].prop_map(move |n| n.clamp(1, most))
}

#[test]
fn random_shapes_match_the_oracles() {
    use wgpt::ops::matmul::Form;
    let mut all = Vec::new();
    for form in [Form::AB, Form::ABt, Form::AtB] {
        for out in [Out::Plain, Out::Add, Out::Bias, Out::BiasGelu, Out::GeluBackward, Out::Residual] {
            let epilogue = !matches!(out, Out::Plain | Out::Add);
            if form == Form::AtB && epilogue {
                continue;
            }
            let count = if epilogue { 2 } else { 4 };
            for (m, n, k, share) in draw(count, (size(150), size(150), size(300), 0.0..1.0)) {
                let extent = if form == Form::AtB { k } else { m };
                let live = ((extent as f64 * share) as usize).max(1);
                all.push(matmul::case(form, out, [m, n, k], live, Purpose::Small));
            }
        }
    }
    for (n, c, share) in draw(8, (size(150), size(800), 0.0..1.0)) {
        let shape = [n, ((n as f64 * share) as usize).max(1), c];
        all.push(layer_norm::forward_case(layer_norm::Rows::Ordinary, true, shape, Purpose::Small));
        all.push(layer_norm::backward_case(layer_norm::Rows::Ordinary, true, shape, Purpose::Small));
        all.push(cross_entropy::case(cross_entropy::Targets::Some, 30.0, shape, Purpose::Small));
    }
    run_all(&all);
}
