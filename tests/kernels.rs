//! Every registered kernel, every Spec that the adapter can run, against its f64 oracle.

use wgpt::gpu::Device;
use wgpt::verify::{Purpose, cases, check};

#[test]
fn every_case_with_every_spec() {
    let device = Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter");
    let only = std::env::var("WGPT_CASES").unwrap_or_default();
    let (mut runs, mut failures) = (0, Vec::new());
    for case in cases::all().iter().filter(|c| c.purpose == Purpose::Small && c.label().contains(&only)) {
        let expected = (case.oracle)();
        for spec in (case.specs)(device.caps()) {
            runs += 1;
            let start = std::time::Instant::now();
            match check(&device, case, spec, &expected) {
                Ok(outcome) if outcome.is_ok() => {}
                Ok(outcome) => failures.push(format!("{} {spec:?}: {}", case.label(), outcome.faults.join("; "))),
                Err(e) => failures.push(format!("{} {spec:?}: {e}", case.label())),
            }
            if !only.is_empty() {
                println!("{:7.2} s {} {spec:?}", start.elapsed().as_secs_f64(), case.label());
            }
        }
    }
    println!("{runs} runs on {}", device.caps().name);
    assert!(failures.is_empty(), "{} of {runs}:\n{}", failures.len(), failures.join("\n"));
}
