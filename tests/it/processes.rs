//! Several processes and one folder: one of them is refused before it writes, and the run of the other is complete.

use super::common::files;
use super::common::program::{assert_refused, stderr, success, wgpt};
use super::common::runs::tiny_toml;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use wgpt::data::synthetic::stories::stories;
use wgpt::store::reservation::Reservation;
use wgpt::train::run_path::RunPath;

/// A model large enough that two processes write its first checkpoint at the same time.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("folder");
    std::fs::write(place.path().join("text.txt"), stories(5, 6000)).expect("text");
    let toml = tiny_toml("steps = 1\nwarmup = 1\n").replace("n_embd = 18", "n_embd = 256");
    std::fs::write(place.path().join("tiny.toml"), toml).expect("settings");
    let rows: String = (0..16).map(|i| format!("the word {i}\t{}\n", ["yes", "no"][i % 2])).collect();
    std::fs::write(place.path().join("rows.tsv"), format!("text\tlabel\n{rows}")).expect("rows");
    place
}

fn pretrain(place: &Path, more: &[&str]) -> Command {
    wgpt(place, &[&["pretrain", "--data", "text.txt", "--config", "tiny.toml"], more].concat())
}

/// Runs commands at the same time.
fn together(commands: Vec<Command>) -> Vec<Output> {
    let start = |mut command: Command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let children: Vec<_> = commands.into_iter().map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().expect("end")).collect()
}

#[test]
fn two_processes_create_one_run() {
    let place = place();
    let place = place.path();
    for attempt in 0..3 {
        let out = format!("new/run-{attempt}");
        let commands = ["1", "2"].map(|seed| pretrain(place, &["--out", &out, "--seed", seed]));
        let outputs = together(commands.into());
        let done: Vec<usize> = (0..2).filter(|i| outputs[*i].status.success()).collect();
        let [winner] = done[..] else { panic!("{}{}", stderr(&outputs[0]), stderr(&outputs[1])) };
        let refused = stderr(&outputs[1 - winner]);
        assert_eq!(outputs[1 - winner].status.code(), Some(2), "{refused}");
        assert!(refused.contains("must be the path of a new folder"), "{refused}");
        let config = std::fs::read_to_string(place.join(&out).join("config.toml")).expect("config.toml");
        assert!(config.contains(&format!("seed = {}\n", winner + 1)), "{config}");
        success(&wgpt(place, &["pretrain", "--resume", &out, "--steps", "2"]).output().expect("the program starts"));
        assert_eq!(files::names(&place.join("new")).len(), attempt + 1, "nothing else is left");
    }
}

#[test]
fn a_reserved_folder_is_refused_before_anything_is_written() {
    let place = place();
    let place = place.path();
    let says = "another process is writing this folder: must be the path of a new folder";
    let reserved = RunPath::reserve(&place.join("run")).expect("free");
    assert_refused(&pretrain(place, &["--out", "run"]).output().expect("the program starts"), &[says]);
    let words =
        "finetune classify --from-scratch --train rows.tsv --valid rows.tsv --text text --label label --out all";
    let of_seed = RunPath::reserve(&place.join("all/seed-2")).expect("free");
    let words: Vec<&str> = words.split(' ').chain(["--seeds", "1,2"]).collect();
    assert_refused(&wgpt(place, &words).output().expect("the program starts"), &["all/seed-2: ", says]);
    assert_eq!(files::names(&place.join("all")), [".seed-2.wgpt-lock"]);
    let tokenizer = Reservation::new(&place.join("tokenizer")).expect("free");
    let words = ["tokenizer", "train", "--data", "text.txt", "--vocab-size", "270", "--out", "tokenizer"];
    assert_refused(&wgpt(place, &words).output().expect("the program starts"), &[says]);
    drop((reserved, of_seed, tokenizer));
    assert_eq!(files::names(place), ["rows.tsv", "text.txt", "tiny.toml"]);
}

#[test]
fn runs_with_default_names_that_begin_together_have_folders_of_their_own() {
    let place = place();
    let place = place.path();
    for output in together((0..3).map(|_| pretrain(place, &[])).collect()) {
        success(&output);
    }
    let names = files::names(&place.join("runs"));
    assert!(names.len() == 3 && names.iter().all(|name| name.starts_with("nano-")), "{names:?}");
}

#[test]
fn the_seeds_of_two_processes_have_folders_of_their_own() {
    let place = place();
    let place = place.path();
    let words = "finetune classify --from-scratch --n-layer 1 --n-embd 16 --n-head 2 --n-positions 16 --vocab-size 270 --epochs 1 \
                 --train rows.tsv --valid rows.tsv --text text --label label";
    let run = |more: &[&str]| wgpt(place, &words.split_whitespace().chain(more.iter().copied()).collect::<Vec<_>>());
    for output in together(vec![run(&["--seeds", "1"]), run(&["--seeds", "1"]), run(&[])]) {
        success(&output);
    }
    let names = files::names(&place.join("runs"));
    let of_seeds = names.iter().filter(|name| place.join("runs").join(name).join("seed-1/config.toml").is_file());
    assert_eq!((names.len(), of_seeds.count()), (3, 2), "{names:?}");
}

#[test]
fn seeds_are_checked_before_the_first_run() {
    let place = place();
    let place = place.path();
    let run = |seeds: &str| {
        let words =
            "finetune classify --from-scratch --train rows.tsv --valid rows.tsv --text text --label label --out all";
        let words: Vec<&str> = words.split(' ').chain(["--seeds", seeds]).collect();
        wgpt(place, &words).output().expect("the program starts")
    };
    assert_refused(&run("1,2,1"), &["--seeds 1: is given twice"]);
    std::fs::create_dir_all(place.join("all/seed-2")).expect("folder");
    assert_refused(&run("1,2"), &["all/seed-2: exists already"]);
    assert_eq!(files::names(&place.join("all")), ["seed-2"]);
    // config.toml could not hold it.
    let output = run("18446744073709551615");
    assert!(output.status.code() == Some(2) && stderr(&output).contains("9223372036854775807"), "{}", stderr(&output));
    let output = pretrain(place, &["--seed", "9223372036854775808"]).output().expect("the program starts");
    assert_refused(&output, &["--seed 9223372036854775808: must be at most 9223372036854775807"]);
}
