//! Products on matrix units and training in mixed precision, on any driver that has cooperative matrices. Mesa's software
//! driver runs fragments of 16 × 16, which it does not list.

use crate::common::device;
use crate::common::models::{capacity_of, random_batch, random_parameters, small_config};
use wgpt::config::ModelConfig;
use wgpt::gpu::caps::HALF_FRAGMENTS;
use wgpt::gpu::{AdapterKind, Device, Matrix, Recorder};
use wgpt::model::{Capacity, Training, TrainingOptions, plan_mixed};
use wgpt::ops::kernels::{Kernels, Precision};
use wgpt::ops::matmul::{Epilogue, Form, Halves, Matmul, Side};
use wgpt::ops::{RowCount, Spec, StepValues, matmul};
use wgpt::philox::{Stream, Words};
use wgpt::verify::cases::matmul::{Out, case};
use wgpt::verify::{Purpose, check};

/// The device with the fragments and the workgroup memory that all kernels for matrix units need, or the reason why there is none.
/// Mesa's software driver has no limit of workgroup memory of its own.
fn matrix_units() -> Result<Device, String> {
    let device = device();
    let caps = device.caps();
    if caps.cooperative.is_empty() {
        return Err(format!("skipped: {} has no cooperative matrices", caps.name));
    }
    Ok(device.narrowed(|caps| {
        caps.cooperative.push(HALF_FRAGMENTS.into());
        if caps.kind == AdapterKind::Cpu {
            caps.max_workgroup_bytes = caps.max_workgroup_bytes.max(48 << 10);
        }
    }))
}

/// How often each product runs; all runs have the same bits.
const RUNS: usize = 20;

/// Every form, operands in f32 and in f16, one part of K and three, and every epilogue, against the oracle: the operands are
/// numbers that f16 holds, so that the tolerances are those of f32. The sizes are odd, with more rows and columns than a tile,
/// and there are fewer live rows than the capacity. GPUs run every tile in every form. A software driver compiles a variant of
/// the smallest tile for some seconds and of another tile for half a minute, so that it runs one larger tile of each form.
#[test]
fn every_product_matches_the_oracle() {
    if let Err(reason) = matrix_units() {
        return println!("{reason}");
    }
    // A device each, so that the driver compiles for several at once.
    let counts = std::thread::scope(|scope| {
        let threads = [Form::AB, Form::ABt, Form::AtB].map(|form| scope.spawn(move || run_form(form)));
        threads.map(|thread| thread.join().expect("a form"))
    });
    let device = device();
    assert_eq!(counts, if device.caps().kind == AdapterKind::Cpu { [7, 7, 4] } else { [7, 7, 5] });
}

/// Runs the products of a form, and returns how many.
fn run_form(form: Form) -> usize {
    let device = matrix_units().expect("matrix units");
    let outs = [Out::Plain, Out::Add, Out::Bias, Out::BiasGelu, Out::GeluBackward, Out::Residual];
    let outs = &outs[..if form == Form::AtB { 2 } else { 6 }];
    let specs = cooperative_specs(&device, form).into_iter().filter(|spec| spec.halves().a == spec.halves().b);
    let (whole, parts): (Vec<_>, Vec<_>) = specs.partition(|spec| spec.parts() == 1);
    let (small, large): (Vec<_>, Vec<_>) = whole.into_iter().partition(is_smallest);
    let mut large: Vec<_> = large.into_iter().filter(|spec| spec.halves().a == (form == Form::AB)).collect();
    if device.caps().kind == AdapterKind::Cpu {
        let rows = if form == Form::ABt { 128 } else { 256 };
        large.retain(|spec| matches!(spec, matmul::Spec::Cooperative { tile_m, .. } if *tile_m == rows));
    }
    let count = (large.len() + small.len()).max(outs.len());
    let whole = large.into_iter().chain(small.into_iter().cycle()).take(count);
    let parts = parts.into_iter().filter(is_smallest).map(|spec| (spec, Out::Plain));
    let runs: Vec<_> = whole.zip(outs.iter().copied().cycle()).chain(parts.take(1)).collect();
    for (spec, out) in &runs {
        for [m, n, k] in [[261, 131, 97], [7, 13, 5]] {
            let live = if form == Form::AtB { k - 2 } else { m - 3 };
            let case = case(form, *out, [m, n, k], live, Purpose::Small);
            let outcome = check(&device, &case, Spec::Matmul(*spec), &(case.oracle)(), RUNS).expect("a run");
            assert!(outcome.is_ok(), "{} {spec:?}: {}", case.label(), outcome.faults.join("; "));
        }
    }
    runs.len()
}

fn is_smallest(spec: &matmul::Spec) -> bool {
    matches!(spec, matmul::Spec::Cooperative { tile_m: 64, .. })
}

fn cooperative_specs(device: &Device, form: Form) -> Vec<matmul::Spec> {
    let is_cooperative = |spec: &matmul::Spec| matches!(spec, matmul::Spec::Cooperative { .. });
    matmul::specs(device.caps(), form).into_iter().filter(is_cooperative).collect()
}

/// Numbers of every size that f16 has, and beyond: subnormal, too small, too large, infinite, not a number.
fn odd_numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut words = Words::new(seed, Stream::Order, 7, 0);
    let mut number = |i: usize| match words.below(64) {
        0 => 3e-6,
        1 => -1e-9,
        2 => 65_519.0,
        3 => -65_520.0,
        4 if i.is_multiple_of(7) => f32::INFINITY,
        5 if i.is_multiple_of(5) => f32::NAN,
        _ => (words.uniform() - 0.5) as f32 * 4.0,
    };
    (0..count).map(&mut number).collect()
}

/// Copies in f16 give the bits of operands that are narrowed on the way, whatever the numbers and the scale of gradients; also
/// after A, B, and then A by a kernel, have changed.
#[test]
fn copies_in_f16_change_no_bit() {
    let device = match matrix_units() {
        Ok(device) => device,
        Err(reason) => return println!("{reason}"),
    };
    let [m, n, k] = [70, 72, 90];
    for form in [Form::AB, Form::AtB] {
        let shape = if form == Form::AB { [m, k] } else { [k, m] };
        let results = |halves: Halves| -> Vec<Vec<u32>> {
            let matrix = |name, [rows, columns]: [usize; 2]| Matrix::new(&device, name, rows, columns).expect("memory");
            let (a, b) = (matrix("a", shape), matrix("b", [k, n]));
            let (first, second) = (matrix("first", [m, n]), matrix("second", [m, n]));
            let values = StepValues { rows: shape[0] as u32 - 3, ..StepValues::default() };
            let mut rec = Recorder::new(&device, StepValues { rows: shape[0] as u32, ..values });
            let is_wanted = |spec: &matmul::Spec| spec.halves() == halves && spec.parts() == 1 && is_smallest(spec);
            let spec = cooperative_specs(&device, form).into_iter().find(is_wanted).expect("a Spec");
            let record = |rec: &mut Recorder<StepValues>, c| {
                let call = Matmul {
                    form,
                    a: &a,
                    b: &b,
                    c,
                    rows: RowCount::Rows,
                    epilogue: Epilogue::None,
                    accumulate: false,
                    gradient: Some(Side::A),
                    parts: None,
                };
                matmul::matmul(rec, spec, &call).expect("a recording");
            };
            record(&mut rec, &first);
            // Part of the same buffer as A.
            rec.copy(&first.view.part(0, 640), &a.view.part(128, 640));
            record(&mut rec, &second);
            rec.clear(&b.view.part(0, 64));
            record(&mut rec, &first);
            let program = rec.finish();
            let mut all = Vec::new();
            for seed in [1, 2] {
                a.write(&device, &odd_numbers(seed, shape[0] * shape[1])).expect("a write");
                b.write(&device, &odd_numbers(seed + 10, k * n)).expect("a write");
                program.run(&values).expect("a run");
                all.extend([&first, &second].map(|c| c.view.read::<u32>(&device).expect("a read")));
            }
            all
        };
        let exact = results(Halves::default());
        for halves in [Halves { a: true, b: true }, Halves { a: true, b: false }, Halves { a: false, b: true }] {
            let halved = results(halves);
            for (i, (exact, halved)) in exact.iter().zip(&halved).enumerate() {
                let differing = exact.iter().zip(halved).filter(|(x, y)| x != y).count();
                assert_eq!(differing, 0, "{form:?} {halves:?}, result {i}");
            }
        }
        assert!(exact[0] != exact[1] && exact[0] != exact[2] && exact[1] != exact[3], "the products differ");
    }
}

/// A training whose products all read copies in f16, with accumulation and dropout, has the bits of one without copies.
#[test]
fn training_with_copies_in_f16_has_the_same_bits() {
    let device = match matrix_units() {
        Ok(device) => device,
        Err(reason) => return println!("{reason}"),
    };
    let mut config = ModelConfig { n_embd: 64, n_head: 2, n_layer: 2, ..small_config() };
    config.set_dropout(0.1);
    let parameters = random_parameters(&config, 5);
    let batches = [5, 6].map(|seed| random_batch(&config, &[40, 33, 7], seed));
    let train = |kernels: Kernels, recompute| {
        let options = TrainingOptions { recompute, ..options(Precision::Mixed) };
        let capacity = capacity_of(&batches[0]);
        let mut training =
            Training::with_kernels(&device, &config, &parameters, capacity, options, kernels).expect("a recording");
        for _ in 0..3 {
            for batch in &batches {
                training.step(batch, 1e-2, 1).expect("a step");
            }
        }
        let results = training.wait_for_results().expect("results");
        let bits: Vec<_> = results.iter().map(|result| (result.loss.to_bits(), result.grad_norm.to_bits())).collect();
        (bits, training.kernels().chosen())
    };
    let (exact, chosen) = train(Kernels::new(), false);
    let mut halved = chosen.clone();
    let mut copied = 0;
    for (shapes, spec) in &mut halved.matmul {
        if let matmul::Spec::Cooperative { halves, .. } = spec {
            assert_eq!(*halves, Halves::default(), "{shapes} is too small for copies");
            if !shapes.starts_with("ABt") {
                *halves = Halves { a: true, b: true };
                copied += 1;
            }
        }
    }
    assert!(copied >= 8, "{chosen:?}");
    assert_eq!(train(Kernels::with(halved.clone()), false), (exact.clone(), halved.clone()));
    assert_eq!(train(Kernels::with(halved), true).0, exact);
}

fn options(precision: Precision) -> TrainingOptions {
    TrainingOptions { precision, ..TrainingOptions::default() }
}

/// Thirty steps over four batches: in mixed precision, the losses are those of f32 within the rounding of f16, and the same bits
/// in a second training. With a learning rate of 1e-3, losses of f32 themselves differ by up to 0.03 when the first weights are
/// rounded to f16, on one batch.
#[test]
fn mixed_precision_trains_like_f32() {
    let device = match matrix_units() {
        Ok(device) => device,
        Err(reason) => return println!("{reason}"),
    };
    let config = ModelConfig { n_embd: 64, n_head: 2, ..small_config() };
    let parameters = random_parameters(&config, 5);
    let batches = [5, 6, 7, 8].map(|seed| random_batch(&config, &[40, 33, 7], seed));
    let losses = |precision| {
        let capacity = capacity_of(&batches[0]);
        let mut training =
            Training::new(&device, &config, &parameters, capacity, options(precision)).expect("a recording");
        for batch in batches.iter().cycle().take(30) {
            training.step(batch, 3e-4, 1).expect("a step");
        }
        let results = training.wait_for_results().expect("results");
        results.iter().map(|result| result.loss).collect::<Vec<_>>()
    };
    let (exact, mixed, again) = (losses(Precision::F32), losses(Precision::Mixed), losses(Precision::Mixed));
    assert_eq!(mixed, again);
    assert!(exact[29] < exact[0] - 1.5, "it learns: {exact:?}");
    assert!(exact != mixed, "operands were rounded");
    for (exact, mixed) in exact.iter().zip(&mixed) {
        assert!((exact - mixed).abs() < 1e-2, "{exact} {mixed}");
    }
}

/// The plan counts what a training in mixed precision allocates more than one in f32, for a model of which some operands have
/// copies, and for one of which all have, except those of compression.
#[test]
fn the_plan_counts_copies_in_f16() {
    let capacity = Capacity { rows: 1024, sequences: 8 };
    let narrow = ModelConfig { n_embd: 256, n_head: 4, vocab_size: 1100, ..small_config() };
    let wide = ModelConfig { n_embd: 1024, n_head: 16, attention_pattern: "FM".into(), ..narrow.clone() };
    for (config, recompute) in [(narrow.clone(), false), (narrow, true), (wide.clone(), false), (wide, true)] {
        let mut config = ModelConfig { n_layer: 2, n_positions: 128, ..config };
        config.set_dropout(if recompute { 0.0 } else { 0.1 });
        let allocated = |precision| {
            // Programs are recorded, but not run.
            let device = device().narrowed(|caps| {
                caps.cooperative = vec![HALF_FRAGMENTS.into()];
                (caps.f16, caps.int64, caps.max_workgroup_bytes) = (true, false, 48 << 10);
            });
            let zeros: Vec<_> = config.parameters().iter().map(|shape| vec![0.0; shape.rows * shape.columns]).collect();
            let options = TrainingOptions { recompute, ..options(precision) };
            let training = Training::new(&device, &config, &zeros, capacity, options).expect("a recording");
            let copied = training.kernels().chosen().matmul.values().any(|spec| spec.halves() != Halves::default());
            assert_eq!(copied, precision == Precision::Mixed);
            device.bytes_allocated()
        };
        let more = allocated(Precision::Mixed) - allocated(Precision::F32);
        let (width, blocks) = (config.n_embd, if recompute { 1 } else { 2 });
        let weights = 2 * 12 * width * width + 1100 * width;
        let columns = match width {
            // Inputs of c_fc and of the head, and a gradient.
            256 => width * (blocks + 2),
            // Inputs of c_attn, c_proj, c_fc and mlp_proj, and of the head, and their gradients: all but one of the logits are
            // as many as the inputs of a block.
            _ => width * (2 + blocks * 6 + 1) + width * (3 + 1 + 4) + 1152,
        };
        let planned = plan_mixed(&config, capacity, recompute).half_copies;
        assert_eq!(planned, 2 * (weights + 1024 * columns), "{width} {recompute}");
        assert_eq!(more, planned as u64, "{width} {recompute}");
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
