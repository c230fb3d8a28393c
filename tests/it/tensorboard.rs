//! Event files, read by TensorBoard. The Python that WGPT_PYTHON names, else `python3`, runs it if it has tensorboard.

use super::common::program::{run, success};
use super::common::runs::write_inputs;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The steps and values of each tag in an event file's folder, as TensorBoard reads them.
const READ: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
";

fn python() -> Option<String> {
    let python = std::env::var("WGPT_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import tensorboard"]).output().is_ok_and(|o| o.status.success());
    has.then_some(python)
}

fn read(python: &str, run: &Path) -> Value {
    let output = Command::new(python).args(["-c", READ]).arg(run.join("tensorboard")).output().expect("Python starts");
    serde_json::from_str(success(&output).trim()).expect("JSON")
}

/// The steps and values of a key in metrics.jsonl.
fn measured(run: &Path, key: &str) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| Some((line["step"].as_u64()?, line[key].as_f64()?))).collect()
}

#[test]
fn tensorboard_reads_every_number_of_a_run_and_of_a_resumed_one() {
    let Some(python) = python() else {
        println!("skipped: no Python with tensorboard; set WGPT_PYTHON to one");
        return;
    };
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_inputs(folder, "eval_every = 2\nsample_every = 0\nwarmup = 1\ntensorboard = true\n");
    let wgpt = |line: &str| success(&run(folder, &line.split_whitespace().collect::<Vec<_>>()));
    wgpt("pretrain --config tiny.toml --data text.txt --steps 4 --out run");
    wgpt("pretrain --resume run --steps 6");
    wgpt(
        "finetune classify --model run --train rows.tsv --valid rows.tsv --test rows.tsv --text text --label label --epochs 2 \
         --tensorboard --out task",
    );
    for (name, tags) in [
        (
            "run",
            vec![
                ("train/loss", "loss"),
                ("train/lr", "lr"),
                ("train/grad_norm", "grad_norm"),
                ("valid/loss", "valid_loss"),
            ],
        ),
        ("task", vec![("train/loss", "loss"), ("train/task_loss", "task_loss"), ("valid/accuracy", "valid_accuracy")]),
    ] {
        let events = read(&python, &folder.join(name));
        for (tag, key) in tags {
            let expected = measured(&folder.join(name), key);
            let found = events[tag].as_array().unwrap_or_else(|| panic!("{name}: {tag}: {events}"));
            let found = found
                .iter()
                .map(|pair| (pair[0].as_u64().expect("a step"), pair[1].as_f64().expect("a number") as f32));
            let expected: Vec<_> = expected.into_iter().map(|(step, value)| (step, value as f32)).collect();
            assert!(!expected.is_empty());
            assert_eq!(found.collect::<Vec<_>>(), expected, "{name}: {tag}");
        }
    }
    let test = &read(&python, &folder.join("task"))["test/accuracy"];
    assert_eq!(test.as_array().map(Vec::len), Some(1), "{test}");
}
