//! Training over several devices of one process: the results of one device within rounding, the same bits after a kill, and an
//! end of the run where a device is lost.

use super::common::driver::FaultyDriver;
use super::common::program::{assert_one_line, stderr, success, wgpt};
use super::common::runs::{
    assert_close, latest_weights, layers, losses, metrics_without_times, no_cache, stop_after, tiny_toml, write_inputs,
};
use super::common::{device, files};
use std::path::Path;
use std::process::{Command, Stdio};
use wgpt::data::synthetic::stories::stories;
use wgpt::gpu::Device;
use wgpt::train::metrics::Line;
use wgpt::train::{NoObserver, Observer, Pretraining, StoppedRun, Trained, resume, train};

/// The adapter of the tests, for `--adapter` and [`Device::select`].
fn adapter() -> usize {
    std::env::var("WGPT_ADAPTER").map_or(0, |name| Device::select(&name).expect("an adapter")[0])
}

/// `--adapter` with the adapter of the tests so many times.
fn list(ranks: usize) -> String {
    vec![adapter().to_string(); ranks].join(",")
}

fn devices(ranks: usize) -> Vec<Device> {
    Device::open_each(&vec![adapter(); ranks]).expect("devices")
}

fn pretrain(
    place: &Path,
    out: &str,
    set: &[&str],
    devices: &[Device],
    observer: &mut dyn Observer,
) -> Trained<Pretraining> {
    let mut layers = layers(set);
    layers.toml("tiny.toml", &tiny_toml("sample_every = 0\n")).expect("TOML");
    let text = place.join("text.txt");
    std::fs::write(&text, stories(5, 6000)).expect("text");
    layers.option("data", text.to_str().expect("UTF-8"));
    let settings = layers.settings().expect("settings");
    let prepared = Pretraining::read(settings, None, &place.join(out), &no_cache()).expect("prepared");
    train(devices, prepared, observer).expect("a run")
}

/// With dropout, whose masks depend on the number of each sequence in the whole step.
#[test]
fn two_devices_have_the_losses_of_one() {
    let place = tempfile::tempdir().expect("folder");
    let set =
        ["steps=200", "warmup=20", "eval_every=100", "checkpoint_every=200", "lr=0.002", "n_layer=1", "n_positions=8"];
    for ranks in [1, 2] {
        pretrain(place.path(), &ranks.to_string(), &set, &devices(ranks), &mut NoObserver);
    }
    let [one, two] = ["1", "2"].map(|run| losses(&place.path().join(run)));
    assert!(one.len() == 203 && one[202] < 0.8 * one[0], "it learns: {one:?}");
    assert_close(&two, &one, 1e-4, "two devices");
    let first = metrics_without_times(&place.path().join("2")).into_iter().find_map(|line| match line {
        Line::Step(line) => Some(line),
        _ => None,
    });
    let first = first.expect("a step");
    let ranks = first.ranks.expect("ranks");
    assert_eq!((ranks.ranks, ranks.rank_tokens, first.tokens), (2, vec![16, 16], 32));
}

/// Batches that cannot be divided evenly, fewer sequences than ranks, documents, and a padded layout.
#[test]
fn batches_of_any_size_are_divided() {
    let place = tempfile::tempdir().expect("folder");
    let steps = ["steps=6", "warmup=2", "eval_every=6", "checkpoint_every=6"];
    for (i, (ranks, more)) in [
        (3, &["batch=4"][..]),
        (3, &["batch=2"]),
        (2, &["batch=6", "accumulate=3"]),
        (2, &["batch_tokens=70", "document_separator=."]),
        (2, &["batch=5", "document_separator=.", "batching=grouped"]),
    ]
    .into_iter()
    .enumerate()
    {
        let set = [&steps[..], more].concat();
        let [one, several] = [1, ranks].map(|ranks| {
            let out = format!("{i}-{ranks}");
            pretrain(place.path(), &out, &set, &devices(ranks), &mut NoObserver);
            losses(&place.path().join(out))
        });
        assert_close(&several, &one, 1e-4, &format!("{ranks} ranks, {more:?}"));
    }
}

/// Adapters whose last digits differ keep the same weights, and each goes on with its own kernels.
#[test]
fn unlike_adapters_train_together() {
    let place = tempfile::tempdir().expect("folder");
    let set = ["steps=8", "warmup=2", "eval_every=4", "checkpoint_every=4"];
    let unlike = || {
        let mut devices = devices(2);
        devices[1] = devices[1].narrowed(|caps| {
            caps.name = "another adapter".into();
            (caps.int64, caps.image_update) = (false, false);
        });
        devices
    };
    pretrain(place.path(), "one", &set, &devices(1), &mut NoObserver);
    pretrain(place.path(), "whole", &set, &unlike(), &mut NoObserver);
    let path = |run: &str| place.path().join(run);
    assert_close(&losses(&path("whole")), &losses(&path("one")), 1e-4, "unlike adapters");
    let kernels = std::fs::read_to_string(path("whole").join("kernels.json")).expect("kernels.json");
    assert!(kernels.contains("\"others\"") && kernels.contains("another adapter"), "{kernels}");
    pretrain(place.path(), "stopped", &set, &unlike(), &mut stop_after(5));
    let stopped = StoppedRun::<Pretraining>::open(&path("stopped"), layers(&[])).expect("a run");
    let prepared = stopped.prepare(&no_cache()).expect("the same text").expect("three steps");
    resume(&unlike(), stopped, prepared, &mut NoObserver).expect("the rest");
    assert_eq!(metrics_without_times(&path("stopped")), metrics_without_times(&path("whole")));
    assert!(latest_weights(&path("stopped")) == latest_weights(&path("whole")));
}

const TRAIN: &str = "pretrain --data text.txt --config tiny.toml";

fn program(place: &Path, line: &str) -> Command {
    wgpt(place, &line.split_whitespace().collect::<Vec<_>>())
}

fn go(place: &Path, line: &str) -> String {
    let output = program(place, line).output().expect("the program starts");
    success(&output);
    stderr(&output)
}

/// A resumed run has the ranks of its config.toml, whatever the number of adapters.
#[test]
fn a_killed_run_of_two_ranks_resumes_bit_for_bit() {
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, "steps = 24\nwarmup = 3\neval_every = 7\ncheckpoint_every = 1\nsample_every = 0\nkeep = 2\n");
    let whole = go(place, &format!("{TRAIN} --adapter {} --out whole", list(2)));
    assert!(whole.contains("adapter of rank 1: ") && whole.contains("(by rank alone "), "{whole}");
    assert!(std::fs::read_to_string(place.join("whole/config.toml")).expect("settings").contains("\nranks = 2\n"));
    // With one adapter, the key divides it.
    let mut child = program(place, &format!("{TRAIN} --adapter {} --ranks 2 --out killed", adapter()));
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    while !place.join("killed/checkpoints/step-000006").exists() {
        assert!(child.try_wait().expect("a state").is_none(), "the run ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("the end");
    let resumed = go(place, &format!("pretrain --resume killed --adapter {}", adapter()));
    assert!(resumed.contains("adapter of rank 1: ") && !resumed.contains("warning"), "{resumed}");
    let same = |run: &str| {
        assert_eq!(metrics_without_times(&place.join(run)), metrics_without_times(&place.join("whole")), "{run}");
        assert!(latest_weights(&place.join(run)) == latest_weights(&place.join("whole")), "{run}");
    };
    same("killed");
    assert_eq!(files::names(&place.join("killed/checkpoints")), ["step-000000", "step-000023", "step-000024"]);
    // Another number of ranks is allowed, with a warning.
    let longer = go(place, &format!("pretrain --resume killed --steps 26 --adapter {}", list(3)));
    assert!(longer.contains("was started with ranks = 2 and continues with 3; the last digits may differ"), "{longer}");
    let single = go(place, &format!("pretrain --resume killed --steps 28 --ranks 1 --adapter {}", adapter()));
    assert!(!single.contains("of rank"), "{single}");
    let refused = program(place, &format!("{TRAIN} --adapter {} --ranks 3", list(2))).output().expect("starts");
    assert_one_line(&refused, 2, &["ranks = 3: expected 2, the number of adapters that --adapter names"]);
    let refused = program(place, &format!("{TRAIN} --ranks 0")).output().expect("starts");
    assert_one_line(&refused, 2, &["--ranks 0: must be at least 1 and below 65"]);
}

/// Mesa's software driver trains small models with a device for each core, unless its threads are limited.
#[test]
fn the_cores_are_divided_among_ranks() {
    if !device().caps().is_lavapipe() {
        println!("skipped: the adapter is not lavapipe");
        return;
    }
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, "steps = 2\nwarmup = 1\nsample_every = 0\n");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let train = |line: &str, threads: Option<&str>| {
        let mut command = program(place, &format!("{TRAIN} {line}"));
        command.env_remove("LP_NUM_THREADS").envs(threads.map(|threads| ("LP_NUM_THREADS", threads)));
        let output = command.output().expect("the program starts");
        success(&output);
        stderr(&output)
    };
    let text = train("--batch 8 --out divided", None);
    let settings = std::fs::read_to_string(place.join("divided/config.toml")).expect("settings");
    match cores {
        1 => assert!(!settings.contains("\nranks = ") && !text.contains("of rank"), "{text}"),
        _ => {
            assert!(settings.contains("\nranks = 2\n"), "{settings}");
            assert!(text.contains("2 ranks share the cores; --ranks 1 trains on one device"), "{text}");
        }
    }
    for (run, line, threads) in [
        ("limited", "--batch 8", Some("1")),
        ("few", "--batch 7", None),
        ("single", "--batch 8 --ranks 1", None),
        ("measured", "--batch auto", None),
    ] {
        let text = train(&format!("{line} --out {run}"), threads);
        assert!(text.contains("\nadapter: ") || text.starts_with("adapter: "), "{run}: {text}");
    }
}

/// Processes that know nothing of each other would all train the same model.
#[cfg(not(feature = "mpi"))]
#[test]
fn several_processes_without_mpi_are_refused() {
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, "");
    let with = |name: &str, value: &str| program(place, &format!("{TRAIN} --steps 1")).env(name, value).output();
    for (name, value, alone) in [("OMPI_COMM_WORLD_SIZE", "4", "1"), ("PMIX_RANK", "3", "0")] {
        let refused = with(name, value).expect("the program starts");
        let expected = format!("{name} = {value}: expected {alone}: this wgpt was built without the feature mpi");
        assert_one_line(&refused, 2, &[&expected]);
    }
    success(&with("OMPI_COMM_WORLD_SIZE", "1").expect("the program starts"));
}

#[test]
fn fine_tuning_on_two_devices_has_the_losses_of_one() {
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    write_inputs(place, "");
    let tune = "finetune classify --model model --train rows.tsv --valid rows.tsv --text text --label label --batch 3 --epochs 4 \
                --lr 0.001";
    go(place, &format!("{tune} --adapter {} --out one", adapter()));
    go(place, &format!("{tune} --adapter {} --out two", list(2)));
    assert_close(&losses(&place.join("two")), &losses(&place.join("one")), 1e-4, "two devices");
    go(place, &format!("{tune} --epochs 2 --adapter {} --out stopped", list(2)).replace("--epochs 4", ""));
    go(place, "finetune classify --resume stopped --epochs 4");
    let [two, resumed] = ["two", "stopped"].map(|run| losses(&place.join(run)));
    // The learning rate is that of the longer run only from epoch 3 on.
    assert_eq!((two.len(), two[0]), (resumed.len(), resumed[0]));
}

#[test]
fn a_lost_device_ends_the_run_of_all() {
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    if device().caps().backend != "vulkan" {
        println!("skipped: the layer with faults is one of Vulkan");
        return;
    }
    let Some(driver) = FaultyDriver::compile(place) else { return };
    write_inputs(place, "steps = 6\nwarmup = 2\neval_every = 6\ncheckpoint_every = 2\nsample_every = 0\n");
    let faulty = |line: &str, fault: &str| {
        let mut command = program(place, &format!("{line} --adapter {}", list(2)));
        driver.inject(&mut command, fault).output().expect("the program starts")
    };
    // One batch of held-out tokens: rank 0 alone evaluates, and uses its device first.
    let train = format!("{TRAIN} --valid 0.01");
    success(&faulty(&format!("{train} --out whole"), ""));
    // A rank submits four times in a step.
    let output = faulty(&format!("{train} --out lost"), "lost_second=18");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "warning: rank 1 of 2, on ",
        "has failed, which ends the run",
        "the latest checkpoint is lost/checkpoints/step-000004",
        &format!("to continue: wgpt pretrain --resume lost --adapter {}\n", list(2)),
        "error: device: lost: ",
    ] {
        assert!(text.contains(part), "{text}: expected {part}");
    }
    go(place, &format!("pretrain --resume lost --adapter {}", adapter()));
    assert!(latest_weights(&place.join("lost")) == latest_weights(&place.join("whole")));
}
