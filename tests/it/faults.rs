//! Each write, sync, rename and so on of a command fails once. Then the program reports the file, loses nothing that was
//! complete, and continues to the same bits. A few calls are tried here; `WGPT_FAULTS=all` tries all of them
//! (scripts/faults.sh).

use super::common::faults::{EINTR, EIO, ENOSPC, Faults};
use super::common::program::{stderr, success, wgpt};
use super::common::runs::tiny_toml;
use std::path::{Path, PathBuf};
use std::process::Output;
use wgpt::data::synthetic::stories::stories;
use wgpt::philox::{Stream, Words};

/// Calls that fail in turn for each command and error, unless all are tried.
const SAMPLE: u32 = 2;

/// A command, with the files it leaves.
struct Case {
    line: &'static str,
    /// The command that continues after an error once this folder exists; without it, the command itself is repeated.
    resume: Option<(&'static str, &'static str)>,
    /// The latest checkpoint of this run, or this file or folder.
    result: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        line: "pretrain --data text.txt --config tiny.toml --out run",
        resume: Some(("run", "pretrain --resume run")),
        result: "run",
    },
    Case {
        line: "pretrain --resume short --steps 6",
        resume: Some(("short", "pretrain --resume short --steps 6")),
        result: "short",
    },
    Case {
        line: "finetune classify --model short --train rows.tsv --valid rows.tsv --text text --label label --epochs 2 --out task",
        resume: Some(("task", "finetune classify --resume task")),
        result: "task",
    },
    Case {
        line: "predict --model tuned --data rows.tsv --text text --out answers.tsv",
        resume: None,
        result: "answers.tsv",
    },
    Case { line: "eval --model short --data text.txt --per-token losses.txt", resume: None, result: "losses.txt" },
    Case {
        line: "tokenizer train --data text.txt --vocab-size 280 --out tokenizer",
        resume: None,
        result: "tokenizer/tokenizer.json",
    },
];

/// A folder with a text, examples, a pretraining run and a fine-tuned model.
fn prepare(folder: &Path) {
    std::fs::write(folder.join("text.txt"), stories(5, 4000)).expect("text");
    let settings = tiny_toml("steps = 4\nwarmup = 2\neval_every = 2\ncheckpoint_every = 2\n");
    std::fs::write(folder.join("tiny.toml"), settings).expect("settings");
    let rows: String = (0..8).map(|i| format!("the word {i}\t{}\n", ["yes", "no"][i % 2])).collect();
    std::fs::write(folder.join("rows.tsv"), format!("text\tlabel\n{rows}")).expect("rows");
    success(&go(folder, "pretrain --data text.txt --config tiny.toml --out short"));
    let tuned = "finetune classify --model short --train rows.tsv --valid rows.tsv --text text --label label --epochs 1 --out tuned";
    success(&go(folder, tuned));
}

fn command(folder: &Path, line: &str) -> std::process::Command {
    let mut command = wgpt(folder, &line.split_whitespace().collect::<Vec<_>>());
    command.env("WGPT_CACHE", folder.join("cache"));
    command
}

fn go(folder: &Path, line: &str) -> Output {
    command(folder, line).output().expect("the program starts")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("folder").map(|entry| entry.expect("entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copy");
        }
    }
}

/// The bytes of a result: a file, or the weights and moments of a run's latest checkpoint.
fn result(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(name);
    let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.is_dir() {
        let latest = String::from_utf8(read(path.join("latest"))).expect("UTF-8");
        let checkpoint = path.join("checkpoints").join(latest.trim());
        [read(checkpoint.join("model.safetensors")), read(checkpoint.join("optimizer.safetensors"))].concat()
    } else {
        read(path)
    }
}

#[test]
fn a_call_that_fails_loses_nothing() {
    let place = tempfile::tempdir().expect("folder");
    let Some(faults) = Faults::compile(place.path()) else { return };
    let all = std::env::var("WGPT_FAULTS").is_ok_and(|which| which == "all");
    let (base, work, count) = (place.path().join("base"), place.path().join("work"), place.path().join("count"));
    std::fs::create_dir(&base).expect("folder");
    prepare(&base);
    let fresh = || {
        let _ = std::fs::remove_dir_all(&work);
        copy(&base, &work);
    };
    let mut points = 0;
    for (number, case) in CASES.iter().enumerate() {
        fresh();
        let mut counted = command(&work, case.line);
        success(
            &faults
                .inject(&mut counted, &work, "any=0")
                .env("FAULT_AT", "0")
                .env("FAULT_COUNT", &count)
                .output()
                .expect("starts"),
        );
        let expected = result(&work, case.result);
        let calls: u32 = std::fs::read_to_string(&count).expect("count").parse().expect("a number");
        assert!(calls > 0, "{}", case.line);
        let mut tried = 0;
        for (kind, errno) in [ENOSPC, EIO, EINTR].into_iter().enumerate() {
            let mut words = Words::new(7, Stream::Order, number as u32, kind as u32);
            let which: Vec<u32> =
                if all { (1..=calls).collect() } else { (0..SAMPLE).map(|_| 1 + words.below(calls)).collect() };
            for at in which {
                fresh();
                let what = format!("{}: call {at} of {calls} fails with error {errno}", case.line);
                let mut faulty = command(&work, case.line);
                let faulty = faults.inject(&mut faulty, &work, &format!("any={errno}")).env("FAULT_AT", at.to_string());
                let output = faulty.output().expect("the program starts");
                let messages = stderr(&output);
                match output.status.code() {
                    // The call was repeated, or what failed was not necessary, such as the cache.
                    Some(0) => {}
                    Some(1) => {
                        let error = messages.lines().last().unwrap_or_default();
                        assert!(error.starts_with("error: ") && error.contains("(os error "), "{what}: {messages}");
                        let names_a_file = error.split(": ").nth(1).is_some_and(|path| !path.is_empty());
                        assert!(names_a_file, "{what}: {messages}");
                        let line = match case.resume {
                            Some((folder, resume)) if work.join(folder).exists() => resume,
                            _ => case.line,
                        };
                        success(&go(&work, line));
                    }
                    other => panic!("{what}: exit code {other:?}: {messages}"),
                }
                assert!(result(&work, case.result) == expected, "{what}: other results; {messages}");
                tried += 1;
            }
        }
        println!("{}: {tried} failures of {calls} calls", case.line);
        points += tried;
    }
    println!("{points} failures in all");
}
