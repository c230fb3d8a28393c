//! Resuming: a stopped or killed run gives bit for bit the results of one that was never stopped. Settings that may change,
//! damaged checkpoints, the lock, Ctrl-C.

use crate::common::program::assert_one_line;
#[cfg(unix)]
use crate::common::program::stderr;
use crate::common::runs::{layers, metrics_without_times, no_cache, stop_after, tiny_toml};
use crate::common::{device, files, program};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;
use wgpt::Result;
use wgpt::data::synthetic::stories::stories;
use wgpt::gpu::Device;
use wgpt::store::Model;
use wgpt::train::metrics::Line;
use wgpt::train::{NoObserver, Observer, Pretraining, Settings, StoppedRun, Trained, resume, train};

/// Batches in two parts, a checkpoint every fourth step.
const SETTINGS: &str = "accumulate = 2\nsteps = 10\nwarmup = 3\neval_every = 3\ncheckpoint_every = 4\n\
    sample_every = 5\nkeep = 9\n";

/// A folder with a text, and the settings of a run on it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("text.txt"), stories(5, 6000)).expect("text");
        std::fs::write(folder.path().join("tiny.toml"), tiny_toml(SETTINGS)).expect("settings");
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, set: &[&str]) -> Settings {
        let mut layers = layers(set);
        layers.toml("tiny.toml", &tiny_toml(SETTINGS)).expect("TOML");
        layers.option("data", self.path("text.txt").to_str().expect("UTF-8"));
        layers.settings().expect("settings")
    }

    fn begin(&self, device: &Device, name: &str, observer: &mut dyn Observer) -> Trained<Pretraining> {
        self.begin_with(&[], device, name, observer)
    }

    fn begin_with(
        &self,
        set: &[&str],
        device: &Device,
        name: &str,
        observer: &mut dyn Observer,
    ) -> Trained<Pretraining> {
        let settings = self.settings(set);
        let prepared = Pretraining::read(settings, None, &self.path(name), &no_cache()).expect("prepared");
        train(slice::from_ref(device), prepared, observer).expect("a run")
    }

    /// The program in this folder.
    fn wgpt(&self, words: &[&str]) -> Command {
        program::wgpt(self.folder.path(), &[&["pretrain"], words].concat())
    }

    /// Runs the program. Asserts an exit code and one line on standard error that has all `expected` parts.
    fn assert_line(&self, words: &[&str], code: i32, expected: &[&str]) {
        println!("{words:?}");
        assert_one_line(&self.wgpt(words).output().expect("the program starts"), code, expected);
    }
}

fn go_on(device: &Device, run: &Path, set: &[&str], observer: &mut dyn Observer) -> Result<Trained<Pretraining>> {
    let stopped = StoppedRun::<Pretraining>::open(run, layers(set))?;
    let prepared = stopped.prepare(&no_cache())?.expect("something is left to do");
    resume(slice::from_ref(device), stopped, prepared, observer)
}

/// What a run leaves, without times: lines of metrics, and the bytes of files.
#[derive(PartialEq)]
struct Left {
    lines: Vec<Line>,
    files: Vec<(String, Vec<u8>)>,
}

fn left(run: &Path, step: u32) -> Left {
    let lines = metrics_without_times(run);
    let checkpoint = format!("checkpoints/step-{step:06}");
    let in_checkpoint = ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"];
    let names = in_checkpoint.map(|name| format!("{checkpoint}/{name}")).into_iter();
    let names = names.chain(["config.toml", "samples.txt", "loss.svg", "kernels.json"].map(String::from));
    let files = names.map(|name| {
        let bytes = std::fs::read(run.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, bytes)
    });
    Left { files: files.collect(), lines }
}

fn assert_same(a: &Left, b: &Left, what: &str) {
    assert_eq!(a.lines, b.lines, "{what}");
    for ((name, a), (_, b)) in a.files.iter().zip(&b.files) {
        assert!(a == b, "{what}: {name} differs");
    }
}

#[test]
fn a_stopped_run_resumes_bit_for_bit() {
    let (device, place) = (device(), Place::new());
    let whole = place.begin(&device, "whole", &mut NoObserver);
    assert!(whole.finished && whole.steps == 10);
    let whole = left(&place.path("whole"), 10);
    assert_eq!(whole.lines.iter().filter(|line| matches!(line, Line::Step(_))).count(), 10);

    // Before the first checkpoint, at one, between two, and at an evaluation.
    for stop in [1, 4, 6, 9] {
        let name = format!("stopped-{stop}");
        let (run, stopped) = (place.path(&name), place.begin(&device, &name, &mut stop_after(stop)));
        let latest = std::fs::read_to_string(run.join("latest")).expect("latest");
        assert_eq!((stopped.finished, latest), (false, format!("step-{stop:06}\n")));
        drop(stopped);
        let end = go_on(&device, &run, &[], &mut NoObserver).expect("the rest");
        assert!(end.finished && end.objective.evaluation.expect("an evaluation").step == 10);
        assert_same(&left(&run, 10), &whole, &format!("stopped at {stop}"));
    }

    // Again and again.
    let run = place.path("often");
    place.begin(&device, "often", &mut stop_after(1));
    while !go_on(&device, &run, &[], &mut stop_after(1)).expect("a step").finished {}
    assert_same(&left(&run, 10), &whole, "stopped at every step");
}

#[test]
fn a_run_with_padded_batches_resumes_bit_for_bit() {
    let (device, place) = (device(), Place::new());
    for form in ["grouped", "padded"] {
        // Stories as documents, so that windows differ in length, over the border of an epoch.
        let set = [&format!("batching={form}"), "document_separator=", "batch=36", "steps=9"];
        let name = |what: &str| format!("{form}-{what}");
        place.begin_with(&set, &device, &name("whole"), &mut NoObserver);
        place.begin_with(&set, &device, &name("stopped"), &mut stop_after(6));
        let end = go_on(&device, &place.path(&name("stopped")), &[], &mut NoObserver).expect("the rest");
        assert!(end.finished);
        assert_same(&left(&place.path(&name("stopped")), 9), &left(&place.path(&name("whole")), 9), form);
    }
}

/// Copies the run's folder whenever the results of a step are read: the state that a killed process leaves.
struct Snapshot<'a> {
    run: &'a Path,
    copies: &'a Path,
}

impl Observer for Snapshot<'_> {
    fn recorded(&mut self, line: &Line) {
        match line {
            Line::Step(line) => files::copy_folder(self.run, &self.copies.join(line.step.to_string())),
            Line::Evaluation(line) if line.step > 0 => {
                files::copy_folder(self.run, &self.copies.join(format!("{}-evaluated", line.step)));
            }
            _ => {}
        }
    }
    fn sampled(&mut self, step: u32, text: &str) {
        assert!(!text.is_empty());
        files::copy_folder(self.run, &self.copies.join(format!("{step}-sampled")));
    }
}

#[test]
fn a_killed_run_resumes_bit_for_bit() {
    let (device, place) = (device(), Place::new());
    let (run, copies) = (place.path("whole"), place.path("copies"));
    place.begin(&device, "whole", &mut Snapshot { run: &run, copies: &copies });
    let whole = left(&run, 10);
    // Killed before the first checkpoint but that of step 0, between two, behind a sample, at the end before the last.
    for copy in ["3", "6", "6-evaluated", "5-sampled", "10-sampled"] {
        let run = copies.join(copy);
        // Half a line, and what a write of a checkpoint leaves that was cut off.
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
        std::fs::write(run.join("metrics.jsonl"), metrics + "{\"step\":11,\"lo").expect("metrics");
        std::fs::create_dir(run.join("checkpoints/.step-000008.partial")).expect("folder");
        let end = go_on(&device, &run, &[], &mut NoObserver).expect("the rest");
        assert!(end.finished, "{copy}");
        assert_same(&left(&run, 10), &whole, &format!("killed at {copy}"));
        let names = files::names(&run.join("checkpoints"));
        assert!(!names.iter().any(|name| name.starts_with('.')), "{copy}: {names:?}");
    }
}

#[test]
fn a_resumed_run_accepts_changes_of_some_settings_alone() {
    let (device, place) = (device(), Place::new());
    let run = place.path("run");
    place.begin(&device, "run", &mut stop_after(4));
    let refused = |set: &[&str], expected: &str| {
        let error = StoppedRun::<Pretraining>::open(&run, layers(set))
            .and_then(|run| run.prepare(&no_cache()).map(drop))
            .expect_err(expected);
        assert!(error.to_string().contains(expected) && error.is_invalid_input(), "{error}");
    };
    refused(&["lr=0.5"], "lr = 0.5: the run was started with lr = 0.002; when a run is resumed only data, steps,");
    for set in [
        "seed=1",
        "n_layer=3",
        "batch=8",
        "batching=padded",
        "dropout=0",
        "preset=mini",
        "valid=0.2",
        "accumulate=1",
        "clip=0",
    ] {
        refused(
            &[set],
            &set.replace('=', " = ")
                .replace("dropout = 0", "dropout = 0.0")
                .replace("mini", "\"mini\"")
                .replace("padded", "\"padded\""),
        );
    }
    refused(&["steps=2"], "4 steps are done, but steps = 2: must be more to continue");
    let config = run.join("config.toml");
    let settings = std::fs::read_to_string(&config).expect("settings");
    std::fs::write(&config, settings.replace("lr = 0.002", "lr = 0.5")).expect("edit");
    refused(&[], "config.toml: lr = 0.5: the run has lr = 0.002, and only data, steps,");
    std::fs::write(&config, settings).expect("restore");
    std::fs::write(place.path("other.txt"), stories(6, 6000)).expect("text");
    refused(&[&format!("data={}", place.path("other.txt").display())], "the training data differs from the run's");
    std::fs::rename(place.path("text.txt"), place.path("moved.txt")).expect("move");
    refused(&[], "text.txt: could not be read");

    // The text moved to another path, and the run becomes longer.
    let moved = format!("data={}", place.path("moved.txt").display());
    let stopped = StoppedRun::<Pretraining>::open(&run, layers(&[&moved, "steps=12", "keep=1"])).expect("a run");
    let prepared = stopped.prepare(&no_cache()).expect("prepared").expect("more");
    let warnings = stopped.warnings(&prepared);
    assert!(warnings.len() == 1 && warnings[0].starts_with("12 steps instead of 10: "), "{warnings:?}");
    let schedule = prepared.settings.schedule(12);
    let end = resume(slice::from_ref(&device), stopped, prepared, &mut NoObserver).expect("the rest");
    assert_eq!((end.steps, end.finished), (12, true));
    let rates = &end.curve.rate;
    assert!(rates[4..].iter().all(|(step, rate)| *rate == schedule.rate(step - 1)), "{rates:?}");
    drop(end);
    // keep=1: step 0 and the newest.
    assert_eq!(files::names(&run.join("checkpoints")).len(), 2);
    // It keeps the changed settings, and is finished.
    let again = StoppedRun::<Pretraining>::open(&run, layers(&[])).expect("a run");
    assert_eq!(
        (again.step(), again.settings.keep, again.prepare(&no_cache()).expect("finished").is_none()),
        (12, 1, true)
    );
    drop(again);
    place.assert_line(
        &["--resume", "run"],
        0,
        &["run is finished: 12 steps are done; to continue, use a larger --steps"],
    );
    place.assert_line(&["--resume", "run", "--lr", "1"], 2, &["lr = 1.0: the run was started with lr = 0.002"]);
    place.assert_line(
        &["--resume", "run", "--config", "tiny.toml"],
        2,
        &["--config: must not be used with --resume: a run continues in its own folder"],
    );
    place.assert_line(&["--resume", "none"], 2, &["none: is not a folder: must be the folder of a run"]);
    place.assert_line(
        &["--resume", "run/checkpoints/step-000012"],
        2,
        &["step-000012: is a checkpoint: must be the folder of its run"],
    );
    place.assert_line(&["--resume", "."], 2, &["config.toml is missing: must be the folder of a run"]);
}

#[test]
fn a_damaged_checkpoint_is_reported_with_the_intact_ones() {
    let (device, place) = (device(), Place::new());
    let run = place.path("run");
    place.begin(&device, "run", &mut stop_after(5));
    let checkpoint = run.join("checkpoints").join("step-000005");
    let open = || StoppedRun::<Pretraining>::open(&run, layers(&[]));
    open().expect("whole");
    let damaged = |file: &str, what: &str| {
        let error = open().expect_err(what);
        let message = error.to_string();
        assert!(error.is_invalid_input() && message.contains(file) && !message.contains('\n'), "{what}: {message}");
        assert!(
            message.contains("undamaged: step-000004, step-000000; write one of these names to"),
            "{what}: {message}"
        );
        let loaded = Model::load(&checkpoint).expect_err(what).to_string();
        assert!(loaded.contains(file) && message.starts_with(&loaded), "{what}: {loaded}");
    };
    let files = files::names(&checkpoint);
    assert_eq!(files.len(), 6, "{files:?}");
    for file in &files {
        let path = checkpoint.join(file);
        let good = std::fs::read(&path).expect("read");
        for at in [0, 7, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).expect("write");
            damaged(file, &format!("{file} with a bit of byte {at} flipped"));
        }
        for length in [0, 9, good.len() - 1] {
            std::fs::write(&path, &good[..length]).expect("write");
            damaged(file, &format!("{file} cut to {length} bytes"));
        }
        std::fs::write(&path, [&good[..], b" "].concat()).expect("write");
        damaged(file, &format!("{file} with a byte more"));
        if file != "state.json" {
            std::fs::remove_file(&path).expect("remove");
            damaged(file, &format!("{file} missing"));
        }
        std::fs::write(&path, &good).expect("write");
    }
    let state = checkpoint.join("state.json");
    let good = std::fs::read(&state).expect("read");
    for nonsense in ["", "{}", "nonsense", "{\"format\": 1, \"files\": {\"../../config.toml\": \"\"}}"] {
        std::fs::write(&state, nonsense).expect("write");
        damaged("state.json", nonsense);
    }
    std::fs::remove_file(&state).expect("remove");
    assert!(open().expect_err("no state").to_string().contains("state.json: is missing: undamaged: step-000004"));
    std::fs::write(&state, good).expect("write");
    // Weights that are whole, but another model's.
    std::fs::write(run.join("latest"), "step-000099\n").expect("write");
    assert!(
        open()
            .expect_err("none")
            .to_string()
            .contains("step-000099: is not a folder, although latest names it: undamaged: ")
    );
    std::fs::write(run.join("latest"), "../../elsewhere\n").expect("write");
    assert!(open().expect_err("outside").to_string().contains("must be the name of a checkpoint, such as step-000300"));

    // The remedy that the error names.
    std::fs::write(run.join("latest"), "step-000004\n").expect("write");
    let end = go_on(&device, &run, &[], &mut NoObserver).expect("the rest");
    assert!(end.finished);
    drop(end);
    let whole = place.path("whole");
    place.begin(&device, "whole", &mut NoObserver);
    assert_same(&left(&run, 10), &left(&whole, 10), "from an older checkpoint");
}

#[test]
fn a_resumed_run_keeps_its_kernels() {
    let (device, place) = (device(), Place::new());
    let run = place.path("run");
    place.begin(&device, "run", &mut stop_after(2));
    let path = run.join("kernels.json");
    let text = std::fs::read_to_string(&path).expect("kernels");
    let mut kernels: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let caps = device.caps();
    assert_eq!((&kernels["adapter"], &kernels["driver"]), (&caps.name.clone().into(), &caps.driver.clone().into()));
    let shape = "AB [32, 18] [18, 54]";
    assert!(!kernels["specs"]["matmul"][shape].is_null(), "{text}");
    assert!(!kernels["specs"]["attention"]["N 32, D 9"].is_null(), "{text}");

    #[derive(Default)]
    struct Warnings(Vec<String>);
    impl Observer for Warnings {
        fn warned(&mut self, warning: &str) {
            self.0.push(warning.into());
        }
        fn stop(&self) -> bool {
            true
        }
    }
    let go_on_with = |kernels: &serde_json::Value| {
        std::fs::write(&path, kernels.to_string()).expect("write");
        let mut warnings = Warnings::default();
        let trained = go_on(&device, &run, &[], &mut warnings).expect("a recording");
        let chosen = trained.training.kernels().chosen();
        drop(trained);
        let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
        assert_eq!(saved["specs"], serde_json::to_value(&chosen).expect("JSON"), "kernels.json is what is in use");
        (saved["specs"]["matmul"][shape].clone(), warnings.0.join("; "))
    };
    // A Spec that the rule does not take, and that every adapter can run.
    let rule = kernels["specs"]["matmul"][shape].clone();
    let tile_m = if rule["tiled"]["tile_m"] == 64 { 128 } else { 64 };
    let other = serde_json::json!({"tiled": {"tile_m": tile_m, "tile_n": 64, "rows": 4, "parts": 1}});
    kernels["specs"]["matmul"][shape] = other.clone();
    assert_eq!(go_on_with(&kernels), (other.clone(), String::new()));
    // One that none can run.
    kernels["specs"]["matmul"][shape] = serde_json::json!({"tiled": {"tile_m": 7}});
    let (spec, warnings) = go_on_with(&kernels);
    assert!(
        spec == rule && warnings.contains(&format!("cannot run the variants for matmul {shape}")),
        "{spec} {warnings}"
    );
    // Another driver keeps them, another adapter does not.
    kernels["specs"]["matmul"][shape] = other.clone();
    kernels["driver"] = "older".into();
    let (spec, warnings) = go_on_with(&kernels);
    assert!(spec == other && warnings.contains("the driver was older and is"), "{spec} {warnings}");
    kernels["adapter"] = "Voodoo 2".into();
    let (spec, warnings) = go_on_with(&kernels);
    assert!(spec == rule && warnings.contains("the run was started on Voodoo 2"), "{spec} {warnings}");
    std::fs::write(&path, "{}").expect("write");
    let error = StoppedRun::<Pretraining>::open(&run, layers(&[])).expect_err("no kernels").to_string();
    assert!(error.contains("kernels.json") && error.contains("without this file, kernels are chosen again"), "{error}");
}

#[test]
fn a_run_is_open_in_one_process_at_a_time() {
    let (device, place) = (device(), Place::new());
    place.begin(&device, "run", &mut stop_after(1));
    let held = StoppedRun::<Pretraining>::open(&place.path("run"), layers(&[])).expect("a run");
    let says = "run: another process is training this run: only one process at a time can";
    place.assert_line(&["--resume", "run"], 2, &[says]);
    drop(held);

    /// Opens the run's folder while the run trains.
    struct Second<'a>(&'a Place, bool);
    impl Observer for Second<'_> {
        fn recorded(&mut self, line: &Line) {
            if matches!(line, Line::Step(line) if line.step == 3) {
                let error =
                    StoppedRun::<Pretraining>::open(&self.0.path("new"), layers(&[])).expect_err("locked").to_string();
                assert!(error.contains("another process is training this run"), "{error}");
                self.1 = true;
            }
        }
    }
    let mut second = Second(&place, false);
    place.begin(&device, "new", &mut second);
    assert!(second.1);
    assert!(StoppedRun::<Pretraining>::open(&place.path("new"), layers(&[])).is_ok(), "the lock is gone with the run");
}

/// Sends a signal to a run of the program after it printed `line`. Returns its exit code and its standard error.
#[cfg(unix)]
fn interrupted(command: &mut Command, line: &str, signal: &str) -> (Option<i32>, String) {
    use std::io::BufRead;
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut messages = String::new();
    let lines = std::io::BufReader::new(child.stderr.take().expect("stderr")).lines();
    let mut sent = false;
    for text in lines {
        messages += &(text.expect("a line") + "\n");
        if !sent && messages.contains(line) {
            sent = true;
            let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
            assert!(kill.expect("kill").success());
        }
    }
    let status = child.wait().expect("end");
    assert!(sent, "{messages}");
    (status.code(), messages)
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_prints_how_to_resume() {
    let place = Place::new();
    let words = ["--data", "text.txt", "--config", "tiny.toml", "--steps", "2000000", "--out", "run"];
    let words = [&words[..], &["--eval-every", "1000000", "--sample-every", "0", "--checkpoint-every", "1000000"]];
    let (code, messages) = interrupted(&mut place.wgpt(&words.concat()), "step 1/2000000", "-INT");
    assert_eq!(code, Some(130), "{messages}");
    assert!(
        messages.contains("interrupted: finishing the step")
            && messages.contains("to continue: wgpt pretrain --resume run\n")
    );
    let latest = || -> u32 {
        let latest = std::fs::read_to_string(place.path("run/latest")).expect("latest");
        latest.trim().strip_prefix("step-").and_then(|step| step.parse().ok()).expect("a step")
    };
    let first = latest();
    assert!(
        first > 0 && messages.contains(&format!("stopped after {first} steps, saved to run")),
        "{first}: {messages}"
    );

    // Stopped by another signal.
    let (code, messages) = interrupted(&mut place.wgpt(&["--resume", "run"]), "tokens/s", "-TERM");
    let second = latest();
    assert_eq!(code, Some(130), "{messages}");
    assert!(
        second > first && messages.contains(&format!("after {} steps", grouped(first))),
        "{first} {second}: {messages}"
    );

    // The end of its terminal. A process that `nohup` started ignores it, and so do those that it starts, these tests maybe.
    #[cfg(target_os = "linux")]
    let second = {
        let through = |program: &str, first: &[&str], own: Command| {
            let mut command = Command::new(program);
            command.current_dir(place.folder.path()).env("WGPT_CACHE", "").args(first);
            command.arg(own.get_program()).args(own.get_args());
            command
        };
        let mut listening = through("env", &["--default-signal=HUP"], place.wgpt(&["--resume", "run"]));
        let (code, messages) = interrupted(&mut listening, "tokens/s", "-HUP");
        assert!(code == Some(130) && latest() > second, "{messages}");
        let own = place.wgpt(&["--resume", "run", "--steps", &(latest() + 20).to_string()]);
        let mut ignoring = through("sh", &["-c", "trap '' HUP; exec \"$0\" \"$@\""], own);
        let (code, messages) = interrupted(&mut ignoring, "adapter: ", "-HUP");
        assert_eq!(code, Some(0), "{messages}");
        latest()
    };

    // The rest.
    let steps = (second + 3).to_string();
    let output = place.wgpt(&["--resume", "run", "--steps", &steps]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains(&format!("warning: {steps} steps instead of ")), "{}", stderr(&output));
    assert_eq!(latest(), second + 3);
    let lines = wgpt::train::metrics::read(place.path("run/metrics.jsonl")).expect("metrics");
    let steps: Vec<u32> = lines.iter().filter(|l| matches!(l, Line::Step(_))).map(Line::step).collect();
    assert_eq!(steps, (1..=second + 3).collect::<Vec<_>>());
    let elapsed: Vec<f64> =
        lines.iter().filter_map(|line| if let Line::Step(s) = line { Some(s.elapsed_s) } else { None }).collect();
    assert!(elapsed.windows(2).all(|pair| pair[0] <= pair[1]), "elapsed time decreases");
}

/// With a comma between thousands.
#[cfg(unix)]
fn grouped(number: u32) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

#[test]
fn a_resumed_run_has_the_settings_of_its_folder() {
    let (device, place) = (device(), Place::new());
    let run = place.path("run");
    place.begin(&device, "run", &mut stop_after(1));
    let stopped = StoppedRun::<Pretraining>::open(&run, layers(&[])).expect("a run");
    let prepared = stopped.prepare(&no_cache()).expect("prepared").expect("more");
    let first = Pretraining::read(place.settings(&[]), None, &run, &no_cache()).expect("prepared");
    assert_eq!(prepared.settings.to_toml(), first.settings.to_toml());
    assert_eq!((prepared.steps, prepared.baseline), (first.steps, first.baseline));
}
