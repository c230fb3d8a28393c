//! Drivers that compute wrongly, that have too little memory, and that lose the device. A Vulkan layer makes these faults
//! (common/driver.c). `WGPT_FAULTS=all` tries more of them.

use super::common::device;
use super::common::driver::FaultyDriver;
use super::common::program::{stderr, success, wgpt, wgpt_with_self_test};
use super::common::runs::{latest_weights, layers, place_of_a_short_run, tiny_toml};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use wgpt::config::ModelConfig;
use wgpt::gpu::{AdapterKind, Caps, Device};
use wgpt::model::{Capacity, Training, initial_parameters};
use wgpt::ops::kernels::Precision;
use wgpt::ops::optimizer::Arithmetic;
use wgpt::verify::self_test::{SelfTest, Workload};

const TRAIN: &str = "pretrain --data text.txt --config tiny.toml";

/// The layer. Prints why where there is none: it is for drivers of Vulkan.
fn faulty_driver(place: &Path) -> Option<FaultyDriver> {
    if device().caps().backend != "vulkan" {
        println!("skipped: the layer with faults is one of Vulkan");
        return None;
    }
    FaultyDriver::compile(place)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn go(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// Asserts exit code 1, all `parts` on standard error, and that the last line is the error. Returns standard error.
fn assert_failed(output: &Output, parts: &[&str]) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}: expected {parts:?}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("error: ")), "{text}");
    text
}

#[test]
fn a_driver_that_computes_wrongly_is_found_before_the_run() {
    let place = place_of_a_short_run();
    let Some(driver) = faulty_driver(place.path()) else { return };
    let all = std::env::var("WGPT_FAULTS").is_ok_and(|faults| faults == "all");
    let faults: &[(&str, &str)] = match all {
        true => &[
            ("exp", "`attention`"),
            ("log", "`cross_entropy`"),
            ("sqrt", "`global_norm`"),
            ("narrow_store", "`attention`"),
            ("lost_store", "`embedding`"),
            ("barrier", "`attention`"),
            ("last_turn", "`attention`"),
            ("turns=40", "`attention`"),
        ],
        false => &[("exp", "`attention`"), ("lost_store", "`embedding`"), ("barrier", "`attention`")],
    };
    let cache = place.path().join("cache");
    for (fault, kernel) in faults {
        let train = || {
            let mut command = wgpt_with_self_test(place.path(), &words(&format!("{TRAIN} --out run")));
            driver.inject(command.env("WGPT_CACHE", &cache), fault);
            go(&mut command)
        };
        // A test that failed is not remembered.
        for _ in 0..if *fault == "exp" { 2 } else { 1 } {
            let parts = ["testing ", "computes wrongly: kernel ", kernel, "`wgpt check`", "--adapter"];
            assert_failed(&train(), &parts);
            assert!(driver.counts()[0] > 0, "{fault} changed no shader");
        }
        let left = std::fs::read_dir(place.path()).expect("folder");
        let left =
            left.map(|entry| entry.expect("entry").file_name()).filter(|name| name.to_string_lossy().contains("run"));
        assert_eq!(left.count(), 0, "{fault}");
    }
    assert!(!cache.join("self-tests").exists());
}

#[test]
fn a_self_test_that_passed_is_remembered_for_the_driver_and_the_size() {
    let place = place_of_a_short_run();
    let run = |cache: &Path, more: &str| {
        let line = format!("{TRAIN} --steps 1 --warmup 1 {more}");
        stderr(&go(wgpt_with_self_test(place.path(), &words(&line)).env("WGPT_CACHE", cache)))
    };
    let cache = place.path().join("cache");
    let tested = |text: &str| text.contains("testing ") && text.contains(" kernels before their first run");
    let off = run(&cache, "--self-test false --out off");
    assert!(!tested(&off) && !cache.join("self-tests").exists(), "{off}");
    let first = run(&cache, "--out first");
    assert!(tested(&first) && first.contains("step 1"), "{first}");
    let second = run(&cache, "--out second");
    assert!(!tested(&second) && second.contains("step 1"), "{second}");
    assert!(tested(&run(&cache, "--n-head 3 --out other")), "heads of another width");
    let remembered: Vec<String> = std::fs::read_dir(cache.join("self-tests"))
        .expect("folder")
        .map(|entry| std::fs::read_to_string(entry.expect("entry").path()).expect("text"))
        .collect();
    let Caps { name, driver, .. } = device().caps().clone();
    assert!(remembered.len() == 2 && remembered.iter().all(|text| text.contains(&name) && text.contains(&driver)));
    // A file in the place of the cache: warned of, and the run goes on.
    std::fs::write(place.path().join("file"), "").expect("write");
    let unwritable = run(&place.path().join("file"), "--out third");
    let warnings =
        unwritable.lines().filter(|line| line.starts_with("warning: the next run will test the kernels again"));
    assert!(tested(&unwritable) && unwritable.contains("step 1") && warnings.count() == 1, "{unwritable}");
}

/// The self-test of a training has every kernel that the training records.
#[test]
fn a_self_test_has_all_kernels_of_its_training() {
    let stems = |device: &Device| device.variants().iter().map(|variant| variant.stem).collect::<BTreeSet<_>>();
    let adapter = device();
    for more in [
        &[][..],
        &["dropout=0", "n_embd=32"],
        &["attention_pattern=LMF", "local_block=5", "n_embd=32", "recompute=true"],
        &["attention_pattern=M", "kv_groups=head", "optimizer=hf2018"],
    ] {
        let mut layers = layers(&[]);
        layers.toml("tiny.toml", &tiny_toml("")).expect("settings");
        more.iter().for_each(|set| layers.set(set).expect("key=value"));
        let settings = layers.settings().expect("settings");
        let options = wgpt::train::optimizer_options(&settings, 1.0);
        // Devices with pipelines of their own.
        let [trained, tested] = [(); 2].map(|()| adapter.narrowed(|_| {}));
        let config: &ModelConfig = &settings.model;
        let capacity = Capacity::of_windows(config, 4);
        Training::new(&trained, config, &initial_parameters(config, 1), capacity, options).expect("a model");
        let workload = Workload { precision: options.precision, arithmetic: options.adam.arithmetic, samples: false };
        SelfTest::new(config, workload).run(&tested).expect("a correct driver");
        let missing: Vec<_> = stems(&trained).difference(&stems(&tested)).copied().collect();
        assert_eq!(missing, [""; 0], "{more:?}");
    }
}

#[test]
fn a_self_test_depends_on_driver_and_model_and_precision() {
    let workload = Workload { precision: Precision::F32, arithmetic: Arithmetic::Torch, samples: true };
    let config = ModelConfig::default();
    let caps = Caps::webgpu_defaults();
    let test = |config: &ModelConfig, workload| SelfTest::new(config, workload).description(&caps);
    let base = test(&config, workload);
    assert_eq!(base, test(&config, workload));
    let other_driver = Caps { driver: "2".into(), kind: AdapterKind::Other, ..caps.clone() };
    let dropout = ModelConfig { attn_pdrop: 0.1, ..config.clone() };
    for other in [
        SelfTest::new(&config, workload).description(&other_driver),
        test(&dropout, workload),
        test(&config, Workload { samples: false, ..workload }),
        test(&config, Workload { arithmetic: Arithmetic::Hf2018, ..workload }),
    ] {
        assert_ne!(base, other);
    }
    let gpu = Caps::table().into_iter().find(|caps| caps.name == "NVIDIA").expect("a GPU");
    let gpu = Caps { cooperative: vec![wgpt::gpu::caps::HALF_FRAGMENTS.into()], ..gpu };
    let mixed = SelfTest::new(&config, Workload { precision: Precision::Mixed, ..workload }).description(&gpu);
    assert!(
        mixed.contains("Cooperative") && !SelfTest::new(&config, workload).description(&gpu).contains("Cooperative")
    );
}

#[test]
fn a_run_that_the_device_has_no_memory_for_is_made_smaller() {
    let place = place_of_a_short_run();
    let Some(driver) = faulty_driver(place.path()) else { return };
    // The driver's memory is taken in blocks of some tens of MiB.
    let large = "--set n_positions=64 --set n_embd=64 --set batch=1024 --steps 1 --warmup 1 --checkpoint-every 1";
    let train = |fault: &str, more: &str| {
        let mut command = wgpt(place.path(), &words(&format!("{TRAIN} {large} {more}")));
        go(driver.inject(&mut command, fault))
    };
    let output = train("memory=400000000", "--out smaller");
    success(&output);
    let text = stderr(&output);
    assert!(text.contains("the device cannot allocate the ") && text.contains(": chose accumulate = "), "{text}");
    let settings = std::fs::read_to_string(place.path().join("smaller/config.toml")).expect("config.toml");
    assert!(!settings.contains("accumulate = 1\n") || settings.contains("recompute = true"), "{settings}");
    let refused = train("memory=400000000", "--accumulate 1 --recompute false --out refused");
    assert_failed(
        &refused,
        &["out of memory for ", "the device has too little memory for this run: use a larger accumulate"],
    );
    assert!(!place.path().join("refused").exists());
}

#[test]
fn every_command_says_what_to_do_without_memory_and_after_a_loss_of_the_device() {
    let place = place_of_a_short_run();
    let Some(driver) = faulty_driver(place.path()) else { return };
    let rows: String = (0..8).map(|i| format!("the word {i}\t{}\n", ["yes", "no"][i % 2])).collect();
    std::fs::write(place.path().join("rows.tsv"), format!("text\tlabel\n{rows}")).expect("rows");
    let tune = "finetune classify --train rows.tsv --valid rows.tsv --text text --label label --epochs 1";
    success(&go(&mut wgpt(place.path(), &words(&format!("{TRAIN} --out short")))));
    success(&go(&mut wgpt(place.path(), &words(&format!("{tune} --model short --out tuned")))));
    let faulty = |line: &str, fault: &str| {
        let mut command = wgpt(place.path(), &words(line));
        go(driver.inject(&mut command, fault))
    };
    let commands = [
        (format!("{TRAIN} --out a"), "use a larger accumulate"),
        (format!("{tune} --model short --out b"), "use a larger accumulate"),
        ("eval --model short --data text.txt".into(), "choose another adapter"),
        ("eval --task --model tuned --data rows.tsv --text text --label label".into(), "choose another adapter"),
        ("predict --model tuned --data rows.tsv --text text".into(), "choose another adapter"),
        ("generate --model short --prompt the --tokens 4".into(), "choose another adapter"),
    ];
    for (line, advice) in &commands {
        assert_failed(&faulty(line, "lost=1"), &["the device was lost: ", advice, "error: device: lost: "]);
        let compiled = faulty(line, "pipeline_memory");
        assert_failed(&compiled, &["too little ", "memory", advice, "error: device: out of memory for "]);
        let opened = assert_failed(
            &faulty(line, "memory=1000"),
            &["too little free memory", "error: device: out of memory for "],
        );
        assert!(opened.contains("opening "), "{opened}");
    }
    for left in ["a", "b"] {
        assert!(!place.path().join(left).exists(), "{left}");
    }
    // In the middle of a run, its last checkpoint is named, and the run continues from there to the same bits.
    success(&faulty(&format!("{TRAIN} --out whole"), ""));
    let [_, submissions] = driver.counts();
    let (mut at, mut checkpoint) = (submissions, false);
    while !checkpoint {
        at -= 5;
        let _ = std::fs::remove_dir_all(place.path().join("lost"));
        let text = stderr(&faulty(&format!("{TRAIN} --out lost"), &format!("lost={at}")));
        checkpoint = text.contains("the latest checkpoint is lost/checkpoints/step-00000")
            && text.contains("to continue: wgpt pretrain --resume lost")
            && text.contains("error: device: lost: ");
    }
    success(&go(&mut wgpt(place.path(), &words("pretrain --resume lost"))));
    assert!(latest_weights(&place.path().join("lost")) == latest_weights(&place.path().join("whole")));
}
