//! Criterion benchmark of a training step of nano with 8 × 128 tokens: forward and backward pass, optimizer step, and reading
//! the loss.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use wgpt::config::ModelConfig;
use wgpt::data::batch::{Batch, Sequence};
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Training, TrainingOptions, initial_parameters};
use wgpt::philox::{Stream, Words};

fn step(criterion: &mut Criterion) {
    let device = match Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()) {
        Ok(device) => device,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    println!("{} ({})", device.caps().name, device.caps().driver);
    let config = ModelConfig::default();
    let (b, t) = (8, config.n_positions);
    let mut words = Words::new(1, Stream::Order, 0, 0);
    let sequences: Vec<Sequence> = (0..b)
        .map(|_| {
            let ids: Vec<u32> = (0..=t).map(|_| words.below(config.vocab_size as u32)).collect();
            Sequence { ids: ids[..t].to_vec(), targets: ids[1..].to_vec() }
        })
        .collect();
    let batch = Batch::from_sequences(&sequences).expect("a batch");
    let options = TrainingOptions::default();
    let capacity = Capacity { rows: b * t, sequences: b };
    let start = initial_parameters(&config, 1);
    let mut training = Training::new(&device, &config, &start, capacity, options).expect("a recording");
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements((b * t) as u64));
    let mut last = 0.0;
    group.bench_function("nano 8×128", |bencher| {
        bencher.iter(|| {
            training.step(&batch, 2.5e-4, 0).expect("a step");
            for result in training.wait_for_results().expect("a result") {
                last = result.loss;
            }
        });
    });
    group.finish();
    println!("loss after the last step: {last:.4}");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
    targets = step
}
criterion_main!(benches);
