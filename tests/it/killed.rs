//! A training process that is killed: the run continues to the bits of one that was not.

use super::common::files;
use super::common::program::{success, wgpt};
use super::common::runs::{latest_weights, metrics_without_times, tiny_toml};
use std::path::Path;
use std::process::{Command, Stdio};
use wgpt::data::synthetic::stories::stories;

/// Checkpoints of every step, so that most moments are within one.
const SETTINGS: &str = "steps = 24\nwarmup = 3\neval_every = 7\ncheckpoint_every = 1\nsample_every = 0\nkeep = 2\n";

fn pretrain(place: &Path, out: &str) -> Command {
    wgpt(place, &["pretrain", "--data", "text.txt", "--config", "tiny.toml", "--out", out])
}

/// Whether a folder has a name that ends in this.
fn has(folder: &Path, end: &str) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(end))
}

/// Starts a new run and kills its process as soon as `moment` is there, at the latest after step 20.
fn kill(place: &Path, out: &str, moment: impl Fn(&Path) -> bool) {
    let mut command = pretrain(place, out);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    let run = place.join(out);
    let late = || std::fs::read_to_string(run.join("latest")).is_ok_and(|latest| latest.as_str() >= "step-000020");
    while !moment(&run) && !late() {
        assert!(child.try_wait().expect("a state").is_none(), "{out}: the run ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    assert!(!child.wait().expect("the end").success(), "{out}");
}

#[test]
fn a_killed_process_resumes_bit_for_bit() {
    let place = tempfile::tempdir().expect("folder");
    let place = place.path();
    std::fs::write(place.join("text.txt"), stories(5, 6000)).expect("text");
    std::fs::write(place.join("tiny.toml"), tiny_toml(SETTINGS)).expect("settings");
    success(&pretrain(place, "whole").output().expect("the program starts"));
    let checkpoints = |run: &Path| run.join("checkpoints");
    kill(place, "new", |run| run.with_file_name(".new.partial").exists());
    kill(place, "written", |run| checkpoints(run).join("step-000003").exists() && has(&checkpoints(run), ".partial"));
    kill(place, "deleted", |run| has(&checkpoints(run), ".old"));
    kill(place, "named", |run| checkpoints(run).join("step-000008").exists());
    for out in ["new", "written", "deleted", "named"] {
        let mut command = match place.join(out).exists() {
            true => wgpt(place, &["pretrain", "--resume", out]),
            false => pretrain(place, out),
        };
        success(&command.output().expect("the program starts"));
        assert_eq!(metrics_without_times(&place.join(out)), metrics_without_times(&place.join("whole")), "{out}");
        assert!(latest_weights(&place.join(out)) == latest_weights(&place.join("whole")), "{out}: other weights");
        assert_eq!(
            files::names(&checkpoints(&place.join(out))),
            ["step-000000", "step-000023", "step-000024"],
            "{out}"
        );
    }
    let left: Vec<String> = files::names(place).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [""; 0], "leftovers of the killed processes");
}
