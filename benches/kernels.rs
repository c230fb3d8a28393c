//! Criterion benchmark of every kernel at the sizes of a real step, in the variant chosen for the adapter.
//!
//! `cargo bench --bench kernels -- WORD` runs the cases whose name contains WORD.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use wgpt::gpu::Device;
use wgpt::verify::{Purpose, cases};

fn kernels(criterion: &mut Criterion) {
    let device = match Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()) {
        Ok(device) => device,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    println!("{} ({})", device.caps().name, device.caps().driver);
    for case in cases::all().iter().filter(|c| c.purpose == Purpose::Bench) {
        let Some(spec) = (case.specs)(device.caps()).into_iter().next() else { continue };
        let run = (case.build)(&device, spec).expect("a recording");
        let mut group = criterion.benchmark_group(case.op);
        if case.flops > 0.0 {
            group.throughput(Throughput::Elements(case.flops as u64));
        } else {
            group.throughput(Throughput::Bytes(case.bytes as u64));
        }
        group.bench_function(case.label(), |bencher| {
            bencher.iter(|| {
                run.program.run(&run.values).expect("a run");
                device.wait().expect("the device");
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = kernels
}
criterion_main!(benches);
