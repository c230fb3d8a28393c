//! Runs on file systems that lack something: file locks, syncing of folders or files, mapped files.

use super::common::faults::{EBADF, EINVAL, ENODEV, ENOLCK, ENOSPC, ENOSYS, EOPNOTSUPP, Faults};
use super::common::files;
use super::common::program::{assert_refused, stderr, success, wgpt};
use super::common::runs::{latest_weights, place_of_a_short_run};
use std::path::Path;
use std::process::{Command, Output};

/// A pretraining run in a new folder, with a cache.
fn pretrain(place: &Path, out: &str) -> Command {
    let mut command = wgpt(place, &["pretrain", "--data", "text.txt", "--config", "tiny.toml", "--out", out]);
    command.env("WGPT_CACHE", place.join("cache"));
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

#[test]
fn a_run_goes_on_without_locks_syncs_or_maps() {
    let place = place_of_a_short_run();
    let place = place.path();
    let Some(faults) = Faults::compile(place) else { return };
    success(&run(&mut pretrain(place, "whole")));
    for (call, errors, warning) in [
        ("flock", &[ENOLCK, ENOSPC, ENOSYS, EOPNOTSUPP][..], "this file system has no file locks"),
        ("dirsync", &[EINVAL, ENOSYS, EOPNOTSUPP, EBADF], "this file system cannot sync folders"),
        ("sync", &[EINVAL, ENOSYS, EOPNOTSUPP], "this file system cannot sync files"),
        ("map", &[ENODEV], ""),
    ] {
        for errno in errors {
            let (name, fault) = (format!("{call}-{errno}"), format!("{call}={errno}"));
            let assert_warned_once = |output: &Output| {
                success(output);
                let warned = stderr(output)
                    .lines()
                    .filter(|line| line.starts_with("warning: ") && line.contains(warning))
                    .count();
                let others = stderr(output).lines().filter(|line| line.contains("this file system")).count();
                let expected = usize::from(!warning.is_empty());
                assert!(others == expected && (expected == 0 || warned == 1), "{fault}: {}", stderr(output));
            };
            assert_warned_once(&run(faults.inject(&mut pretrain(place, &name), place, &fault)));
            assert_eq!(latest_weights(&place.join(&name)), latest_weights(&place.join("whole")), "{fault}");
            let mut longer = wgpt(place, &["pretrain", "--resume", &name, "--steps", "6"]);
            assert_warned_once(&run(faults.inject(&mut longer, place, &fault)));
        }
    }
    let hidden = files::names(place).into_iter().filter(|name| name.starts_with('.')).collect::<Vec<_>>();
    assert_eq!(hidden, [""; 0]);
}

#[test]
fn without_locks_a_folder_is_still_written_by_one_process() {
    let place = place_of_a_short_run();
    let place = place.path();
    let Some(faults) = Faults::compile(place) else { return };
    let lock = place.join(".run.wgpt-lock");
    std::fs::write(&lock, "").expect("lock");
    let output = run(faults.inject(&mut pretrain(place, "run"), place, &format!("flock={ENOLCK}")));
    assert_refused(
        &output,
        &["run: another process may be writing this folder, as .run.wgpt-lock exists: if none is, delete that file"],
    );
    assert!(lock.exists() && !place.join("run").exists());
    // With locks, the file of a process that ended early does not disturb.
    success(&run(&mut pretrain(place, "run")));
    assert!(!lock.exists());
}

#[test]
fn a_full_disk_of_the_cache_is_named_and_done_without() {
    let place = place_of_a_short_run();
    let place = place.path();
    let Some(faults) = Faults::compile(place) else { return };
    let cache = place.join("cache");
    std::fs::create_dir(&cache).expect("folder");
    success(&run(pretrain(place, "whole").env("WGPT_CACHE", "")));
    for call in ["write", "open", "mkdir", "sync", "rename"] {
        let mut command = pretrain(place, call);
        if call == "write" {
            command.env("WGPT_CACHE", "cache");
        }
        let output = run(faults.inject(&mut command, &cache, &format!("{call}={ENOSPC}")));
        success(&output);
        let messages = stderr(&output);
        let says = |line: &&str| line.starts_with("warning: the token cache ") && line.contains("No space left");
        assert_eq!(messages.lines().filter(says).count(), 1, "{call}: {messages}");
        assert_eq!(latest_weights(&place.join(call)), latest_weights(&place.join("whole")), "{call}");
    }
}

#[test]
fn a_full_temporary_folder_is_named_with_what_moves_it() {
    let place = place_of_a_short_run();
    let place = place.path();
    let Some(faults) = Faults::compile(place) else { return };
    let temporary = place.join("temporary");
    std::fs::create_dir(&temporary).expect("folder");
    for call in ["write", "sync", "mkdir"] {
        let mut command = pretrain(place, "run");
        faults.inject(&mut command, &temporary, &format!("{call}={ENOSPC}"));
        let output = run(command.env("WGPT_CACHE", "").env("TMPDIR", &temporary));
        let says =
            ["error: ", "temporary", "No space left", "the variable TMPDIR names another one, WGPT_CACHE a cache"];
        let error = stderr(&output);
        let last = error.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{call}: {error}");
        assert!(says.iter().all(|part| last.contains(part)), "{call}: {error}");
        assert_eq!(files::names(&temporary), [""; 0], "{call}");
        assert!(!place.join("run").exists());
    }
    success(&run(pretrain(place, "run").env("WGPT_CACHE", "").env("TMPDIR", &temporary)));
}

#[test]
fn a_resumed_run_does_not_tokenize_its_text_again() {
    let place = place_of_a_short_run();
    let place = place.path();
    success(&run(&mut pretrain(place, "run")));
    let mut longer = wgpt(place, &["pretrain", "--resume", "run", "--steps", "6"]);
    let output = run(longer.env("WGPT_CACHE", place.join("cache")));
    success(&output);
    assert!(stderr(&output).contains("tokens read from the cache: "), "{}", stderr(&output));
    assert_eq!(files::names(&place.join("cache/tokens")).len(), 1, "one entry");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_one_before() {
    let place = place_of_a_short_run();
    let place = place.path();
    let Some(faults) = Faults::compile(place) else { return };
    success(&run(&mut pretrain(place, "run")));
    let mut longer = wgpt(place, &["pretrain", "--resume", "run", "--steps", "6"]);
    let full = faults.inject(&mut longer, &place.join("run/checkpoints"), &format!("write={ENOSPC}"));
    let output = run(full);
    let messages = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{messages}");
    let says = [
        "the latest checkpoint is run/checkpoints/step-000004",
        "to continue: wgpt pretrain --resume run",
        "No space left",
    ];
    assert!(says.iter().all(|part| messages.contains(part)), "{messages}");
    success(&run(&mut wgpt(place, &["pretrain", "--resume", "run"])));
}
