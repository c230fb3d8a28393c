//! Every registered kernel, every Spec that the adapter can run, against its f64 oracle: the registry's cases, then shapes
//! that proptest draws. WGPT_CASES=word takes only labels with that word, WGPT_ADAPTER another adapter.

use crate::common::device;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::time::Instant;
use wgpt::gpu::{Matrix, Recorder};
use wgpt::ops::column_sum::{ColumnSum, column_sum};
use wgpt::ops::{self, RowCount, Spec, StepValues};
use wgpt::verify::all::{Thoroughness, check_all};
use wgpt::verify::cases::matmul::Out;
use wgpt::verify::cases::{RowSizes, column_sum, cross_entropy, large, layer_norm, matmul};
use wgpt::verify::sample::check_samples;
use wgpt::verify::{Case, Output, Purpose, Run, cases, check, numbers, wide};

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

/// Small versions of the large cases, each output: the samples are the oracle's elements.
#[test]
fn samples_of_large_cases_are_those_of_the_kernels() {
    use wgpt::ops::matmul::Form;
    let device = device();
    for (large, outputs) in [
        (large::product(Form::AB, Out::Plain, [65, 97, 130]), 1),
        (large::product(Form::AB, Out::BiasGelu, [130, 64, 40]), 2),
        (large::product(Form::AtB, Out::Add, [40, 65, 300]), 1),
        (large::product(Form::ABt, Out::Plain, [33, 130, 64]), 1),
        (large::attention(3, 70, 2, 16, false), 2),
        (large::attention(2, 130, 3, 8, true), 4),
        (large::norm(130, 65, false), 3),
        (large::norm(200, 70, true), 2),
    ] {
        let case = &large.case;
        let spec = (case.specs)(device.caps())[0];
        let (run, mut samples) = large.build_with_samples(&device, spec).expect("a recording");
        assert_eq!(samples.len(), outputs, "{}", case.label());
        let outcome = check_samples(&device, case, &run, &samples).expect("a run");
        assert!(outcome.is_ok(), "{}: {:?}", case.label(), outcome.faults);
        for sample in &mut samples {
            assert!(sample.expected.iter().any(|e| *e != 0.0), "{}: {}", case.label(), sample.output);
            let last = sample.expected.len() - 1;
            sample.expected[last] += 0.01 * sample.expected[last].abs() + 1e-3;
        }
        let wrong = check_samples(&device, case, &run, &samples).expect("a run");
        assert_eq!(wrong.faults.len(), outputs, "{}: {:?}", case.label(), wrong.faults);
    }
}

/// Column sums that are added to those of the run before, and then copied to the output: every run after the first differs.
#[test]
fn every_run_is_compared_with_the_first() {
    let (device, [rows, columns]) = (device(), [40, 33]);
    let mut case = column_sum::case(RowSizes { rows, live: rows, columns }, Purpose::Small);
    let expected: Vec<f64> = wide(&numbers(3, rows * columns))
        .chunks_exact(columns)
        .fold(vec![0.0; columns], |sum, row| sum.iter().zip(row).map(|(a, b)| a + b).collect());
    case.build = Box::new(move |device, spec| {
        let Spec::Row(access) = spec else { return Err(spec.wrong_kernel("column_sum")) };
        let input = Matrix::new(device, "input", rows, columns)?;
        input.write(device, &numbers(3, rows * columns))?;
        let partial = Matrix::new(device, "partial", 8, columns)?;
        let sum = Matrix::new(device, "sum", 1, columns)?;
        let shown = Output::poisoned(device, "shown", 1, columns)?;
        let values = StepValues { rows: rows as u32, ..StepValues::default() };
        let mut recorder = Recorder::new(device, values);
        let call = ColumnSum { input: &input, partial: &partial, output: &sum, rows: RowCount::Rows };
        column_sum(&mut recorder, access, &call)?;
        recorder.copy(&sum.view, &shown.matrix.view);
        Ok(Run { program: recorder.finish(), values, outputs: vec![shown] })
    });
    let spec = (case.specs)(device.caps())[0];
    for (runs, faults) in [(1, vec![]), (5, vec!["shown: 4 of 5 runs differ from the first in bits"])] {
        let outcome = check(&device, &case, spec, std::slice::from_ref(&expected), runs).expect("a run");
        assert_eq!(outcome.faults, faults);
    }
}

/// All cases at once give what each alone gives, every one once; an error of the receiver ends it.
#[test]
fn cases_are_checked_on_all_cores() {
    let device = device();
    let all = column_sum::cases();
    let cases: Vec<&Case> = all.iter().filter(|case| case.purpose == Purpose::Small).collect();
    let thoroughness = Thoroughness { all_variants: true, runs: 2 };
    let mut seen = vec![0; cases.len()];
    check_all(&device, &cases, thoroughness, |index, outcomes| -> Result<(), ()> {
        seen[index] += 1;
        assert_eq!(outcomes.len(), (cases[index].specs)(device.caps()).len());
        for (spec, outcome) in outcomes {
            let outcome = outcome.expect("a run");
            assert!(outcome.is_ok(), "{} {spec:?}: {:?}", cases[index].label(), outcome.faults);
        }
        Ok(())
    })
    .expect("no error");
    assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
    let mut received = 0;
    let ended = check_all(&device, &cases, thoroughness, |_, _| {
        received += 1;
        Err("stop")
    });
    assert_eq!((ended, received), (Err("stop"), 1));
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
        let sizes = RowSizes { rows: n, live: ((n as f64 * share) as usize).max(1), columns: c };
        all.push(layer_norm::forward_case(layer_norm::Rows::Ordinary, true, sizes, Purpose::Small));
        all.push(layer_norm::backward_case(layer_norm::Rows::Ordinary, true, sizes, Purpose::Small));
        all.push(cross_entropy::case(cross_entropy::Targets::Some, 30.0, sizes, Purpose::Small));
    }
    run_all(&all);
}
