//! `wgpt compare`: the table, the JSON and the picture of runs, and runs that cannot be compared.

use super::common::program::{assert_refused, run, success};
use super::common::runs::write_inputs;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::Output;

fn wgpt(folder: &Path, line: &str) -> Output {
    println!("{line}");
    run(folder, &line.split_whitespace().collect::<Vec<_>>())
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn runs_are_compared_while_they_are_trained() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_inputs(folder, "eval_every = 2\nsample_every = 0\nwarmup = 1\n");
    for (name, more) in [("low", "--lr 1e-4"), ("high", "--lr 1e-2 --steps 6")] {
        let steps = if name == "low" { "--steps 4" } else { "" };
        success(&wgpt(folder, &format!("pretrain --config tiny.toml --data text.txt --out {name} {more} {steps}")));
    }
    // As a process leaves it that is writing a line.
    let mut metrics = std::fs::File::options().append(true).open(folder.join("low/metrics.jsonl")).expect("metrics");
    metrics.write_all(b"{\"step\":5,\"lo").expect("write");

    let output = wgpt(folder, "compare low high --out curves.svg");
    success(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let settings: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("setting"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(settings[0], ["setting", "low", "high"], "{text}");
    assert_eq!(settings[2..], [vec!["steps", "4", "6"], vec!["lr", "0.0001", "0.01"]], "{text}");
    let svg = std::fs::read_to_string(folder.join("curves.svg")).expect("picture");
    assert!(svg.contains(">low ") && svg.contains(">high ") && svg.matches("<path").count() >= 8, "{svg}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("warning"));

    let rows = rows(&wgpt(folder, "compare low high --json"));
    assert_eq!((&rows[0]["run"], &rows[0]["steps"], &rows[1]["steps"]), (&"low".into(), &4.into(), &6.into()));
    let last = std::fs::read_to_string(folder.join("high/metrics.jsonl")).expect("metrics");
    let last: Value = serde_json::from_str(last.lines().last().expect("a line")).expect("JSON");
    assert_eq!(rows[1]["valid_loss"], last["valid_loss"]);
    assert!(rows[1]["lowest_valid_loss"].as_f64() < rows[0]["lowest_valid_loss"].as_f64(), "{rows:?}");

    for (line, parts) in [
        ("compare low none", vec!["none", "must be the folder of a run"]),
        ("compare low low/checkpoints/step-000004", vec!["config.toml is missing"]),
        ("compare low --out high/metrics.jsonl", vec!["is a file of"]),
        ("compare low --out none/curves.svg", vec!["the folder none does not exist"]),
    ] {
        assert_refused(&wgpt(folder, line), &parts);
    }
}

#[test]
fn losses_that_are_not_comparable_have_a_warning() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_inputs(folder, "sample_every = 0\nwarmup = 1\n");
    std::fs::write(folder.join("other.txt"), wgpt::data::synthetic::stories::stories(6, 4000)).expect("text");
    for (name, more) in [
        ("first", "--data text.txt --tokenizer model"),
        ("text", "--data other.txt --tokenizer model"),
        ("vocabulary", "--data text.txt --vocab-size 280"),
    ] {
        success(&wgpt(folder, &format!("pretrain --config tiny.toml --steps 2 --out {name} {more}")));
    }
    let labels = "--text text --label label";
    let task =
        format!("finetune classify --model first --train rows.tsv --valid rows.tsv {labels} --epochs 2 --out task");
    success(&wgpt(folder, &task));
    for (other, warning) in [("text", "do not have the same text"), ("vocabulary", "have different tokenizers")] {
        let output = wgpt(folder, &format!("compare first {other} --out curves.svg"));
        success(&output);
        assert!(String::from_utf8_lossy(&output.stderr).contains(warning), "{output:?}");
    }
    let svg = std::fs::read_to_string(folder.join("curves.svg")).expect("picture");
    assert!(svg.contains("bits per byte on validation") && !svg.contains("nats"), "{svg}");
    assert_refused(&wgpt(folder, "compare first task"), &["task", "is a fine-tuning run", "must be a pretraining run"]);

    let output = wgpt(folder, "compare task --out curves.svg");
    success(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("valid accuracy") && !text.contains("setting"), "{text}");
    let row = &rows(&wgpt(folder, "compare task --json"))[0];
    assert_eq!(row["epochs"], 2);
    assert!(row["valid_accuracy"].is_number() && row["best_epoch"].is_number(), "{row}");
    let svg = std::fs::read_to_string(folder.join("curves.svg")).expect("picture");
    assert!(svg.contains("accuracy on validation") && svg.contains("loss on validation"), "{svg}");
}
