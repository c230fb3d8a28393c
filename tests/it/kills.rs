//! A run that is killed again and again, at any moment, loses nothing that was saved, and ends with the bits of a run that was
//! never killed. A few kills happen here; `scripts/kills.sh` makes a thousand.
//!
//! `WGPT_KILLS` is the number of kills, `WGPT_KILLS_SEED` chooses their moments.

use super::common::faults::Faults;
use super::common::files::{copy_folder, names};
use super::common::program::{stderr, wgpt};
use super::common::runs::{checkpoint, latest_weights, metrics_without_times, write_inputs};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wgpt::philox::{Stream, Words};
use wgpt::store::Model;
use wgpt::train::metrics::{self, Line};

/// Kills, half of them in pretraining and half in fine-tuning, unless `WGPT_KILLS` says otherwise.
const KILLS: usize = 6;
/// Runs that are trained and killed at the same time: one for each of so many kills, and at most three. A run takes about four
/// kills, and then some time to its end.
const KILLS_A_WORKER: usize = 20;
/// SIGKILL's number.
const SIGKILL: i32 = 9;

/// A run of some 20 evaluations and checkpoints.
struct Kind {
    name: &'static str,
    start: &'static str,
    resume: &'static str,
    /// Files that are compared at the end.
    files: &'static [&'static str],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "pretraining",
        start: "pretrain --data text.txt --config tiny.toml --out run",
        resume: "pretrain --resume run",
        files: &["config.toml", "samples.txt", "kernels.json", "latest"],
    },
    Kind {
        name: "fine-tuning",
        start: "finetune classify --model model --train rows.tsv --valid rows.tsv --test rows.tsv --text text --label label --epochs 20 --batch 4 --lr 0.001 --out run",
        resume: "finetune classify --resume run",
        files: &["config.toml", "predictions.tsv", "baselines.json", "kernels.json", "latest", "best"],
    },
];

/// Settings of the pretraining run.
const SETTINGS: &str = "steps = 20\nwarmup = 3\neval_every = 1\ncheckpoint_every = 1\nsample_every = 7\n";

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Some time after its start.
    Time,
    /// At a call that changes a file or a folder of the checkpoints.
    Checkpoint,
    /// At a renaming of any file or folder.
    Rename,
    /// Shortly after a line of metrics.jsonl: an evaluation follows the line of its step.
    Evaluation,
    /// At any call that changes a file or a folder.
    Call,
}

const MOMENTS: [Moment; 5] = [Moment::Time, Moment::Checkpoint, Moment::Rename, Moment::Evaluation, Moment::Call];

impl Moment {
    fn call(self) -> &'static str {
        match self {
            Moment::Time => "start",
            Moment::Rename => "rename",
            Moment::Evaluation => "write",
            Moment::Checkpoint | Moment::Call => "any",
        }
    }

    /// The file or folder whose calls count.
    fn under(self, folder: &Path) -> PathBuf {
        match self {
            Moment::Checkpoint => folder.join("run/checkpoints"),
            Moment::Evaluation => folder.join("run/metrics.jsonl"),
            Moment::Time | Moment::Rename | Moment::Call => folder.to_path_buf(),
        }
    }
}

fn command(folder: &Path, line: &str) -> Command {
    wgpt(folder, &line.split_whitespace().collect::<Vec<_>>())
}

/// A run that was never killed.
struct Whole {
    place: tempfile::TempDir,
    faults: Faults,
    duration: Duration,
    /// The number of calls that change a file or a folder.
    calls: u32,
    /// The number of lines of metrics.jsonl.
    lines: u32,
    last_step: u32,
}

impl Whole {
    /// `None` where processes cannot be killed at a call.
    fn train(kind: &Kind) -> Option<Self> {
        let place = tempfile::tempdir().expect("folder");
        let faults = Faults::compile(place.path())?;
        let (base, whole) = (place.path().join("base"), place.path().join("whole"));
        fs::create_dir(&base).expect("folder");
        write_inputs(&base, SETTINGS);
        copy_folder(&base, &whole);
        let started = Instant::now();
        let (output, calls) = faults.count(&mut command(&whole, kind.start), &whole);
        let duration = started.elapsed();
        assert!(output.status.success(), "{}", stderr(&output));
        let run = whole.join("run");
        let lines = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics").lines().count() as u32;
        let last_step = latest(&run);
        Some(Whole { place, faults, duration, calls: calls.any, lines, last_step })
    }

    fn base(&self) -> PathBuf {
        self.place.path().join("base")
    }

    fn run(&self) -> PathBuf {
        self.place.path().join("whole/run")
    }

    /// Lets a command end at a moment of its own choice. Returns the moment if the process was killed, and `None` if it was
    /// done before.
    fn kill(&self, words: &mut Words, folder: &Path, line: &str) -> Option<Moment> {
        let moment = MOMENTS[words.below(MOMENTS.len() as u32) as usize];
        let run = folder.join("run");
        let calls = match moment {
            Moment::Time => 1,
            Moment::Checkpoint | Moment::Call => self.calls,
            // A checkpoint has some 30 calls, 2 or 3 of them renamings.
            Moment::Rename => self.calls / 10,
            Moment::Evaluation => self.lines,
        };
        // What is left of the run has so many of them.
        let done = if run.exists() { latest(&run) } else { 0 };
        let rest = f64::from(self.last_step - done) / f64::from(self.last_step);
        let at = if moment == Moment::Time { 1 } else { 1 + words.below((f64::from(calls) * rest) as u32 + 8) };
        let delay = match moment {
            Moment::Time => Some(words.below(self.duration.as_micros() as u32)),
            Moment::Evaluation => Some(words.below(20_000)),
            Moment::Checkpoint | Moment::Rename | Moment::Call => None,
        };
        let mut command = command(folder, line);
        self.faults.inject(&mut command, &moment.under(folder), &format!("{}=KILL", moment.call()));
        command.env("FAULT_AT", at.to_string());
        if let Some(delay) = delay {
            command.env("FAULT_DELAY", delay.to_string());
        }
        let output = command.output().expect("the program starts");
        match (output.status.code(), output.status.signal()) {
            (Some(0), _) => None,
            (None, Some(SIGKILL)) => Some(moment),
            _ => panic!("{line}, {moment:?} {at}: {}: {}", output.status, stderr(&output)),
        }
    }
}

/// The step of a run's latest checkpoint.
fn latest(run: &Path) -> u32 {
    let text = fs::read_to_string(run.join("latest")).expect("latest");
    text.trim().strip_prefix("step-").and_then(|step| step.parse().ok()).expect("a checkpoint's name")
}

/// Asserts that a run whose process was killed is whole up to its latest checkpoint, which is not before that of step `before`.
/// Returns the step of the latest checkpoint.
fn assert_nothing_lost(run: &Path, before: u32, what: &str) -> u32 {
    let step = latest(run);
    assert!(step >= before, "{what}: step {step} after step {before}");
    for name in names(&run.join("checkpoints")).iter().filter(|name| !name.starts_with('.')) {
        let path = run.join("checkpoints").join(name);
        Model::load(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(path.join("optimizer.safetensors").is_file() && path.join("state.json").is_file(), "{what}: {name}");
    }
    assert!(checkpoint(run, step).is_dir() && checkpoint(run, 0).is_dir(), "{what}: step {step}");
    Model::load(run).unwrap_or_else(|e| panic!("{what}: {e}"));
    let hidden = names(run).into_iter().filter(|name| !name.starts_with('.') && !KNOWN.contains(&name.as_str()));
    assert_eq!(hidden.collect::<Vec<_>>(), [""; 0], "{what}");
    // All lines but the last are complete; those up to the latest checkpoint are there.
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let complete = run.with_file_name("complete.jsonl");
    fs::write(&complete, &text[..text.rfind('\n').map_or(0, |end| end + 1)]).expect("write");
    let lines = metrics::read(&complete).unwrap_or_else(|e| panic!("{what}: {e}"));
    fs::remove_file(&complete).expect("remove");
    let steps: Vec<u32> = lines.iter().filter_map(step_of).collect();
    assert!(steps.iter().copied().eq(1..=steps.len() as u32) && steps.len() as u32 >= step, "{what}: {steps:?}");
    step
}

/// The step of a training step's line.
fn step_of(line: &Line) -> Option<u32> {
    match line {
        Line::Step(_) | Line::TaskStep(_) => Some(line.step()),
        _ => None,
    }
}

/// The names of a run's files and folders.
const KNOWN: [&str; 11] = [
    "config.toml",
    "metrics.jsonl",
    "loss.svg",
    "samples.txt",
    "kernels.json",
    "checkpoints",
    "latest",
    "best",
    "predictions.tsv",
    "baselines.json",
    "lock",
];

/// Trains a run that is killed again and again, and compares its end with the unbroken run. Returns the moments of the kills.
fn chain(kind: &Kind, whole: &Whole, seed: u64, number: u32) -> Vec<Moment> {
    let folder = whole.place.path().join(format!("chain-{number}"));
    copy_folder(&whole.base(), &folder);
    let (run, mut words, mut kills) = (folder.join("run"), Words::new(seed, Stream::Order, number, 0), Vec::new());
    let mut step = 0;
    loop {
        let line = if run.exists() { kind.resume } else { kind.start };
        let killed = whole.kill(&mut words, &folder, line);
        let what = format!("{}, chain {number}, kill {}, {killed:?}", kind.name, kills.len() + 1);
        if run.exists() {
            step = assert_nothing_lost(&run, step, &what);
        } else {
            assert!(
                names(&folder).iter().all(|name| name.starts_with('.') || INPUTS.contains(&name.as_str())),
                "{what}"
            );
        }
        match killed {
            Some(moment) => kills.push(moment),
            None => break,
        }
    }
    let what = format!("{}, chain {number}, after {} kills", kind.name, kills.len());
    assert_eq!(metrics_without_times(&run), metrics_without_times(&whole.run()), "{what}");
    assert!(latest_weights(&run) == latest_weights(&whole.run()), "{what}: other weights");
    for name in kind.files {
        assert!(
            fs::read(run.join(name)).expect(name) == fs::read(whole.run().join(name)).expect(name),
            "{what}: {name}"
        );
    }
    assert_eq!(names(&run), names(&whole.run()), "{what}: a file is left");
    assert_eq!(names(&run.join("checkpoints")), names(&whole.run().join("checkpoints")), "{what}: a folder is left");
    assert_eq!(names(&folder), names(&whole.place.path().join("whole")), "{what}: something is left beside the run");
    fs::remove_dir_all(&folder).expect("remove");
    kills
}

const INPUTS: [&str; 4] = ["model", "rows.tsv", "text.txt", "tiny.toml"];

#[test]
fn a_killed_run_loses_nothing_and_ends_with_the_same_bits() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<usize>().expect("a number"));
    let (all, seed) = (number("WGPT_KILLS").unwrap_or(KILLS), number("WGPT_KILLS_SEED").unwrap_or(1) as u64);
    for (index, kind) in (0..).zip(&KINDS) {
        let Some(whole) = Whole::train(kind) else { return };
        let (kills, chains) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
        let enough = || kills.lock().expect("kills").len() >= all / KINDS.len();
        std::thread::scope(|scope| {
            let work = || {
                while !enough() {
                    let number = chains.fetch_add(1, Ordering::SeqCst) as u32;
                    let of_chain = chain(kind, &whole, seed + index, number);
                    kills.lock().expect("kills").extend(of_chain);
                }
            };
            (0..(all / KILLS_A_WORKER).clamp(1, 3)).for_each(|_| drop(scope.spawn(work)));
        });
        let (kills, runs) = (kills.into_inner().expect("kills"), chains.into_inner());
        let of = |moment: &Moment| format!("{moment:?} {}", kills.iter().filter(|kill| *kill == moment).count());
        let moments = MOMENTS.iter().map(of).collect::<Vec<_>>().join(", ");
        println!("{}: {} kills of {runs} runs: {moments}", kind.name, kills.len());
        assert!(kills.len() >= all / KINDS.len());
    }
}
