//! What Windows does otherwise: files that another program has open, names, and forms of paths.

use super::common::files;
use super::common::program::{assert_refused, run, stderr, success, wgpt};
use super::common::runs::{latest_weights, tiny_toml};
use std::fs::File;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use wgpt::data::synthetic::stories::stories;

/// Others may read the file meanwhile, but neither write nor delete it.
const FILE_SHARE_READ: u32 = 1;

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("folder");
    std::fs::write(place.path().join("text.txt"), stories(5, 6000)).expect("text");
    let settings =
        tiny_toml("steps = 16\nwarmup = 2\neval_every = 100\ncheckpoint_every = 1\nsample_every = 0\nkeep = 2\n");
    std::fs::write(place.path().join("tiny.toml"), settings).expect("settings");
    place
}

fn pretrain(place: &Path, more: &[&str]) -> Command {
    wgpt(place, &[&["pretrain", "--data", "text.txt", "--config", "tiny.toml"], more].concat())
}

fn output(mut command: Command) -> Output {
    command.output().expect("the program starts")
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Opens a file as a program does that lets nobody change it, as soon as it exists.
fn hold(child: &mut Child, path: impl Fn() -> Option<PathBuf>) -> (PathBuf, File) {
    loop {
        if let Some(path) = path()
            && let Ok(file) = File::options().read(true).share_mode(FILE_SHARE_READ).open(&path)
        {
            return (path, file);
        }
        assert!(child.try_wait().expect("a state").is_none(), "the run ended first");
        std::thread::yield_now();
    }
}

#[test]
fn files_that_another_program_has_open_are_waited_for_or_named() {
    let place = place();
    let place = place.path();
    success(&output(pretrain(place, &["--out", "whole"])));
    let (run, checkpoints) = (place.join("run"), place.join("run/checkpoints"));

    // The file `latest` for a moment, and weights that the run wants to delete.
    let mut child = start(pretrain(place, &["--out", "run"]));
    let (_, latest) = hold(&mut child, || Some(run.join("latest")));
    while !run.join(".latest.partial").exists() {
        assert!(child.try_wait().expect("a state").is_none(), "the run ended first");
        std::thread::yield_now();
    }
    drop(latest);
    let newest = || {
        let names = std::fs::read_dir(&checkpoints).ok()?.flatten().map(|entry| entry.file_name());
        let newest = names.filter(|name| name.to_string_lossy().starts_with("step-")).max()?;
        (newest != "step-000000").then(|| checkpoints.join(newest).join("model.safetensors"))
    };
    let (held, weights) = hold(&mut child, newest);
    let ended = child.wait_with_output().expect("the end");
    success(&ended);
    let warned: Vec<String> =
        stderr(&ended).lines().filter(|line| line.starts_with("warning: ")).map(String::from).collect();
    let step = held.parent().and_then(Path::file_name).expect("a step").to_string_lossy().into_owned();
    let expected = ["an old checkpoint could not be deleted", &step];
    assert!(warned.len() == 1 && expected.iter().all(|part| warned[0].contains(part)), "{warned:?}");
    assert!(latest_weights(&run) == latest_weights(&place.join("whole")), "other weights");

    // Deleted once it is closed.
    drop(weights);
    success(&output(wgpt(place, &["pretrain", "--resume", "run", "--steps", "17"])));
    assert_eq!(files::names(&checkpoints), ["step-000000", "step-000016", "step-000017"]);

    // Files that stay open.
    for (name, code) in [("metrics.jsonl", 1), ("latest", 1)] {
        let file = File::options().read(true).share_mode(FILE_SHARE_READ).open(run.join(name)).expect("open");
        let refused = output(wgpt(place, &["pretrain", "--resume", "run", "--steps", "18"]));
        let messages = stderr(&refused);
        let named = messages.lines().any(|line| line.starts_with("error: ") && line.contains(name));
        assert!(refused.status.code() == Some(code) && named, "{name}: {messages}");
        drop(file);
    }
    success(&output(wgpt(place, &["pretrain", "--resume", "run", "--steps", "18"])));
    for steps in ["17", "18"] {
        success(&output(wgpt(place, &["pretrain", "--resume", "whole", "--steps", steps])));
    }
    assert!(latest_weights(&run) == latest_weights(&place.join("whole")), "other weights");
}

#[test]
fn names_that_windows_reserves_are_refused_before_the_work() {
    let place = place();
    let place = place.path();
    let before = files::names(place);
    for (out, why) in [
        ("NUL", "reserves this name for a device"),
        ("runs/con.1", "reserves this name for a device"),
        ("run.", "leaves out dots and blanks at the end"),
        ("run ", "leaves out dots and blanks at the end"),
        ("a?b", "allows no '?'"),
    ] {
        assert_refused(&output(pretrain(place, &["--out", out])), &[out.trim_end(), why]);
    }
    assert_eq!(files::names(place), before);
}

#[test]
fn every_form_of_a_path_is_read_and_written() {
    let place = place();
    let root = place.path().canonicalize().expect("a verbatim path");
    let deep: PathBuf =
        std::iter::once(root.clone()).chain((0..3).map(|i| format!("{i}{}", "x".repeat(99)).into())).collect();
    std::fs::create_dir_all(&deep).expect("a path of more than 260 characters");
    std::fs::rename(root.join("text.txt"), deep.join("Grüße.txt")).expect("move");
    let plain = |path: &Path| path.to_str().expect("UTF-8").trim_start_matches(r"\\?\").to_string();
    let (text, verbatim) = (plain(&deep.join("Grüße.txt")), deep.join("verbatim").to_str().expect("UTF-8").to_string());
    let drive = format!("{}drive", &plain(&root)[..2]);
    let train = |out: &str| {
        let words = [
            "pretrain",
            "--data",
            &text,
            "--config",
            r".\tiny.toml",
            "--steps",
            "1",
            "--set",
            "warmup=0",
            "--out",
            out,
        ];
        success(&run(&root, &words));
    };
    [&*plain(&deep.join("long")), &verbatim, &drive, r".\mixed/run\"].into_iter().for_each(train);
    let runs = [deep.join("long"), deep.join("verbatim"), root.join("drive"), root.join("mixed").join("run")];
    let first = latest_weights(&runs[0]);
    assert!(runs.iter().all(|run| latest_weights(run) == first));

    // What only the run writes is that in capital letters too; a device takes everything; a file may be read-only.
    let model = plain(&runs[0]);
    let eval = |out: &str| run(&root, &["eval", "--model", &model, "--data", &text, "--per-token", out]);
    assert_refused(&eval(&format!(r"{model}\LATEST")), &["is a file of"]);
    assert_refused(&eval(&format!(r"{model}\Best")), &["is a file of"]);
    std::fs::write(root.join("fixed.tsv"), "old").expect("write");
    let mut permissions = root.join("fixed.tsv").metadata().expect("metadata").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(root.join("fixed.tsv"), permissions.clone()).expect("read-only");
    assert_refused(&eval("fixed.tsv"), &["fixed.tsv: is read-only"]);
    success(&eval("NUL"));
    let hidden: Vec<String> = files::names(&root).into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(hidden, [""; 0]);
    permissions.set_readonly(false);
    std::fs::set_permissions(root.join("fixed.tsv"), permissions).expect("writable again, to be deleted");
}
