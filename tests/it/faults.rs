//! Each write, sync, rename and so on of a command fails once. Then the program reports the file, loses nothing that was
//! complete, and continues to the same bits. A few calls are tried here; `WGPT_FAULTS=all` tries all of them,
//! and `WGPT_FAULTS="--resume tuned"` those of the commands that contain these words (scripts/faults.sh).

use super::common::faults::{Calls, EINTR, EIO, ENOLCK, ENOSPC, Faults};
use super::common::files::copy_folder;
use super::common::program::{stderr, success, wgpt};
use super::common::published::write_published;
use super::common::runs::write_inputs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use wgpt::philox::{Stream, Words};

/// Calls that fail in turn for each command and error, unless all are tried.
const SAMPLE: u32 = 1;
/// Commands that run at the same time.
const WORKERS: usize = 3;

/// A command, with what it leaves.
struct Case {
    line: &'static str,
    /// The command that continues after an error once this folder exists; without it, the command itself is repeated.
    resume: Option<(&'static str, &'static str)>,
    /// The latest checkpoint of this run, or this file, or the files of this folder.
    result: &'static str,
}

const CASES: [Case; 8] = [
    Case {
        line: "pretrain --data text.txt --config tiny.toml --out run",
        resume: Some(("run", "pretrain --resume run")),
        result: "run",
    },
    Case {
        line: "pretrain --resume short --steps 2",
        resume: Some(("short", "pretrain --resume short --steps 2")),
        result: "short",
    },
    Case {
        line: "finetune classify --model model --train rows.tsv --valid rows.tsv --text text --label label --epochs 1 --out task",
        resume: Some(("task", "finetune classify --resume task")),
        result: "task",
    },
    Case {
        line: "finetune classify --resume tuned --epochs 2",
        resume: Some(("tuned", "finetune classify --resume tuned --epochs 2")),
        result: "tuned",
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
        result: "tokenizer",
    },
    Case { line: "import openai published --out imported", resume: None, result: "imported" },
];

/// The calls that fail, and the error.
struct Fault {
    name: &'static str,
    call: &'static str,
    errno: i32,
}

const FAULTS: [Fault; 5] = [
    Fault { name: "ENOSPC", call: "any", errno: ENOSPC },
    Fault { name: "EIO", call: "any", errno: EIO },
    Fault { name: "EINTR", call: "any", errno: EINTR },
    Fault { name: "ENOLCK of locks", call: "flock", errno: ENOLCK },
    Fault { name: "EIO of reads", call: "read", errno: EIO },
];

/// A folder with a text, examples, a pretraining run, a fine-tuned model and GPT-1's published files.
fn prepare(folder: &Path) {
    write_inputs(folder, "steps = 1\nwarmup = 1\neval_every = 1\nsample_every = 1\nkeep = 1\n");
    write_published(&folder.join("published"));
    success(&command(folder, "pretrain --data text.txt --config tiny.toml --out short").output().expect("starts"));
    let tuned = "finetune classify --model model --train rows.tsv --valid rows.tsv --text text --label label --epochs 1 --out tuned";
    success(&command(folder, tuned).output().expect("starts"));
}

fn command(folder: &Path, line: &str) -> Command {
    let mut command = wgpt(folder, &line.split_whitespace().collect::<Vec<_>>());
    // Several programs run side by side: more threads of the CPU driver take twice the processor time.
    command.env("WGPT_CACHE", folder.join("cache")).env("LP_NUM_THREADS", "1");
    command
}

/// The bytes of a result: a file, the files of a folder, or the weights and moments of a run's latest checkpoint.
fn result(path: &Path) -> Vec<u8> {
    let read = |path: PathBuf| fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.join("latest").exists() {
        let latest = String::from_utf8(read(path.join("latest"))).expect("UTF-8");
        let checkpoint = path.join("checkpoints").join(latest.trim());
        [read(checkpoint.join("model.safetensors")), read(checkpoint.join("optimizer.safetensors"))].concat()
    } else if path.is_dir() {
        super::common::files::names(path).iter().flat_map(|name| read(path.join(name))).collect()
    } else {
        read(path.to_path_buf())
    }
}

/// A copy of the prepared folder, new for each command.
struct Work<'a> {
    base: &'a Path,
    folder: PathBuf,
    faults: &'a Faults,
}

impl Work<'_> {
    fn renew(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        copy_folder(self.base, &self.folder);
    }

    /// The result of a command without faults, and the numbers of its calls.
    fn count(&self, case: &Case) -> (Vec<u8>, Calls) {
        self.renew();
        let (output, calls) = self.faults.count(&mut command(&self.folder, case.line), &self.folder);
        success(&output);
        (result(&self.folder.join(case.result)), calls)
    }

    /// Lets one call fail. Returns whether the command reported it, or what is wrong.
    fn try_fault(&self, case: &Case, fault: &Fault, at: u32, expected: &[u8]) -> Result<bool, String> {
        self.renew();
        let mut faulty = command(&self.folder, case.line);
        self.faults.inject(&mut faulty, &self.folder, &format!("{}={}", fault.call, fault.errno));
        let output = faulty.env("FAULT_AT", at.to_string()).output().expect("the program starts");
        let (messages, code) = (stderr(&output), output.status.code());
        // Reading an input is the check of an input, whose exit code is 2.
        let reported = code == Some(1) || (code == Some(2) && fault.call == "read");
        if reported {
            let error = messages.lines().last().unwrap_or_default();
            let names_a_file = error.split(": ").nth(1).is_some_and(|path| !path.is_empty());
            if !error.starts_with("error: ") || !error.contains("(os error ") || !names_a_file {
                return Err(format!("the error does not name the file and the reason: {messages}"));
            }
            let line = match case.resume {
                Some((folder, resume)) if self.folder.join(folder).exists() => resume,
                _ => case.line,
            };
            // A folder may be in its place, complete, when the sync of its name fails. A command refuses to write it again.
            if case.resume.is_some() || !self.folder.join(case.result).is_dir() {
                let next = command(&self.folder, line).output().expect("the program starts");
                if !next.status.success() {
                    return Err(format!("the next command fails: {}; before: {messages}", stderr(&next)));
                }
            }
        } else if code != Some(0) {
            // With 0, the call was repeated, or what failed was not necessary, such as the cache.
            return Err(format!("exit code {code:?}: {messages}"));
        }
        match result(&self.folder.join(case.result)) == expected {
            true => Ok(reported),
            false => Err(format!("other results: {messages}")),
        }
    }
}

#[test]
fn a_call_that_fails_loses_nothing() {
    let place = tempfile::tempdir().expect("folder");
    let Some(faults) = Faults::compile(place.path()) else { return };
    let chosen = std::env::var("WGPT_FAULTS").unwrap_or_default();
    let all = !chosen.is_empty();
    let base = place.path().join("base");
    fs::create_dir(&base).expect("folder");
    prepare(&base);
    let work =
        |number: usize| Work { base: &base, folder: place.path().join(format!("work-{number}")), faults: &faults };
    let (mut points, mut problems) = (0, Vec::new());
    for (number, case) in CASES.iter().enumerate() {
        if all && chosen != "all" && !case.line.contains(&chosen) {
            continue;
        }
        let (expected, counts) = work(0).count(case);
        for (kind, fault) in FAULTS.iter().enumerate() {
            let calls = match fault.call {
                "flock" => counts.flock,
                "read" => counts.read,
                _ => counts.any,
            };
            let mut words = Words::new(7, Stream::Order, number as u32, kind as u32);
            let which: Vec<u32> = match all {
                true => (1..=calls).collect(),
                false => (0..SAMPLE.min(calls)).map(|_| 1 + words.below(calls)).collect(),
            };
            let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            std::thread::scope(|scope| {
                for worker in 0..WORKERS {
                    let (work, which, next, found, expected) = (work(worker), &which, &next, &found, &expected);
                    scope.spawn(move || {
                        while let Some(at) = which.get(next.fetch_add(1, Ordering::SeqCst)) {
                            let result = work.try_fault(case, fault, *at, expected);
                            let result = result.map_err(|problem| {
                                format!("{}: call {at} of {calls} fails with {}: {problem}", case.line, fault.name)
                            });
                            found.lock().expect("results").push(result);
                        }
                    });
                }
            });
            let found = found.into_inner().expect("results");
            let reported = found.iter().filter(|result| **result == Ok(true)).count();
            let tried = found.len();
            println!("{}: {}: {tried} failures of {calls} calls, {reported} of them reported", case.line, fault.name);
            points += tried;
            problems.extend(found.into_iter().filter_map(Result::err).inspect(|problem| println!("{problem}")));
        }
    }
    println!("{points} failures in all");
    assert!(problems.is_empty(), "{} problems: {}", problems.len(), problems.join("\n"));
}
