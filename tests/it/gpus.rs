//! The measurement of a GPU: scripts/gpu.sh with programs that fail, hang and have no memory, benches/torch_step.py, and the
//! table of docs/gpus, which is what the files there give.

use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The results in a folder by file name, in the order of the names; none where there is no such folder.
fn results(folder: &str) -> Vec<(String, Value)> {
    let files = std::fs::read_dir(repository().join(folder)).into_iter().flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).expect("text");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, value)
    };
    files.iter().map(read).collect()
}

fn rows<'a>(result: &'a Value, key: &str) -> &'a [Value] {
    result[key].as_array().unwrap_or_else(|| panic!("{key} is a list"))
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or(f64::NAN)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// The row of the adapter that was measured, among all of the machine.
fn device(result: &Value) -> &Value {
    let is_own = |row: &&Value| row["name"] == result["adapter"];
    rows(result, "devices").iter().find(is_own).unwrap_or(&Value::Null)
}

/// The speed of wgpt over that of PyTorch in a step, both with the loss read after each step.
fn share(result: &Value, step: &Value, dtype: &str) -> String {
    let other = pytorch(result, step, dtype);
    other.map_or(String::new(), |other| format!("{:.2}", number(other, "step_ms") / number(step, "step_ms")))
}

/// The row of PyTorch for the same step.
fn pytorch<'a>(result: &'a Value, step: &Value, dtype: &str) -> Option<&'a Value> {
    let same = |row: &&Value| row["preset"] == step["preset"] && row["batch"] == step["batch"] && row["dtype"] == dtype;
    rows(result, "pytorch").iter().find(same)
}

/// The number types of a step's products; the first results do not name them.
fn precision(step: &Value) -> &str {
    step["precision"].as_str().unwrap_or("f32")
}

fn has_losses_of_pytorch(result: &Value, step: &Value) -> bool {
    let equal = |other: &Value, key: &str| (number(step, key) - number(other, key)).abs() < 3e-4;
    pytorch(result, step, "f32").is_some_and(|other| ["loss_first", "loss_5"].iter().all(|key| equal(other, key)))
}

/// The tables of docs/gpus/README.md.
fn tables(results: &[(String, Value)]) -> String {
    let mut out = String::from(
        "| adapter | model | batch | precision | ms drained | ms pipelined | TFLOP/s | losses | over PyTorch f32 | tf32 | bf16 |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (_, result) in results {
        for step in rows(result, "steps") {
            let losses = match step["losses_ok"].as_bool() {
                Some(true) => "as known",
                Some(false) => "wrong",
                None if has_losses_of_pytorch(result, step) => "as PyTorch's",
                None => "not known",
            };
            let [adapter, preset, precision] = [text(result, "adapter"), text(step, "preset"), precision(step)];
            let [ms, pipelined] = ["step_ms", "step_ms_pipelined"].map(|key| number(step, key));
            let [f32, tf32, bf16] = ["f32", "tf32", "bf16"].map(|dtype| share(result, step, dtype));
            let (batch, tflops) = (&step["batch"], number(step, "gflops") / 1e3);
            let speed = format!("{ms:.2} | {pipelined:.2} | {tflops:.2}");
            let _ = writeln!(
                out,
                "| {adapter} | {preset} | {batch} | {precision} | {speed} | {losses} | {f32} | {tf32} | {bf16} |"
            );
        }
    }
    out.push_str(
        "\n| adapter | driver | date, commit | kernels correct | fastest product, TFLOP/s | its M, N, K |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (_, result) in results {
        let check = if rows(result, "check_all").is_empty() { "check" } else { "check_all" };
        let check = rows(result, check);
        let correct = check.iter().filter(|row| row["faults"].as_array().is_some_and(Vec::is_empty)).count();
        let products = rows(result, "kernels").iter().filter(|row| row["op"] == "matmul");
        let fastest = products.max_by(|a, b| number(a, "gflops").total_cmp(&number(b, "gflops")));
        let (speed, shape) = fastest.map_or_else(Default::default, |row| {
            let sizes = ["M", "N", "K"].map(|letter| row["shape"][letter].to_string());
            (format!("{:.2}", number(row, "gflops") / 1e3), sizes.join(", "))
        });
        let [adapter, date, commit] = ["adapter", "date", "commit"].map(|key| text(result, key));
        let (driver, date) = (text(device(result), "driver"), date.get(..10).unwrap_or_default());
        let _ = writeln!(
            out,
            "| {adapter} | {driver} | {date}, {commit} | {correct} of {} | {speed} | {shape} |",
            check.len()
        );
    }
    out
}

/// The table of runs of scripts/speedrun.sh.
fn speedrun_table(results: &[(String, Value)]) -> String {
    if results.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "| adapter | model | validation loss | steps | tokens | minutes | date, commit |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (_, result) in results {
        let [adapter, preset, date, commit] = ["adapter", "preset", "date", "commit"].map(|key| text(result, key));
        let [target, loss, minutes] = ["target_loss", "valid_loss", "minutes"].map(|key| number(result, key));
        let (steps, tokens, date) = (&result["steps"], &result["tokens"], date.get(..10).unwrap_or_default());
        let losses = format!("{target:.2} ({loss:.4})");
        let _ =
            writeln!(out, "| {adapter} | {preset} | {losses} | {steps} | {tokens} | {minutes:.2} | {date}, {commit} |");
    }
    out
}

const BEGIN: &str = "<!-- tables: written by the test tables_are_those_of_the_files -->\n";
const END: &str = "<!-- end of the tables -->";

/// With WGPT_WRITE_TABLES=1, writes the tables instead.
#[test]
fn tables_are_those_of_the_files() {
    let path = repository().join("docs/gpus/README.md");
    let readme = std::fs::read_to_string(&path).expect("docs/gpus/README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the mark before the tables");
    let (found, after) = rest.split_once(END).expect("the mark after the tables");
    let expected = format!("\n{}\n{}", tables(&results("docs/gpus")), speedrun_table(&results("docs/gpus/speedrun")));
    if std::env::var_os("WGPT_WRITE_TABLES").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).expect("written");
        return;
    }
    let how = "write them with WGPT_WRITE_TABLES=1 cargo test --test it gpus::tables";
    assert_eq!(found, expected, "docs/gpus/README.md has other tables than its files give: {how}");
}

/// The name of a file of results: the words of a text.
fn file_name(words: &str) -> String {
    let words = words.to_lowercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("{}.json", words.join("-"))
}

#[test]
fn files_of_speedruns_have_the_format() {
    for (name, result) in results("docs/gpus/speedrun") {
        check_speedrun(&name, &result);
    }
}

fn check_speedrun(name: &str, result: &Value) {
    assert_eq!(result["format"], 1, "{name}");
    for key in ["program", "commit", "date", "adapter", "driver", "preset", "text_sha256"] {
        assert!(!text(result, key).is_empty(), "{name}: {key}");
    }
    assert_eq!(name, file_name(&format!("{} {}", text(result, "adapter"), text(result, "preset"))));
    assert!(number(result, "valid_loss") <= number(result, "target_loss"), "{name}");
    assert!(["steps", "tokens", "minutes"].iter().all(|key| number(result, key) > 0.0), "{name}: {result}");
}

#[cfg(unix)]
#[test]
fn a_speedrun_stops_at_its_loss() {
    let place = tempfile::tempdir().expect("folder");
    std::fs::write(place.path().join("text.txt"), wgpt::data::synthetic::stories::stories(3, 40_000)).expect("text");
    let run = |loss: &str, text: &str| {
        let mut script = std::process::Command::new("bash");
        script.arg(repository().join("scripts/speedrun.sh")).args(["--loss", loss, "--out", "results", text]);
        script.arg(env!("CARGO_BIN_EXE_wgpt")).current_dir(place.path()).env("WGPT_CACHE", "");
        script.output().expect("bash starts")
    };
    let output = run("6.2", "text.txt");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names = crate::common::files::names(&place.path().join("results"));
    names.retain(|name| name.ends_with(".json"));
    let json = std::fs::read_to_string(place.path().join("results").join(&names[0])).expect("results");
    let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    check_speedrun(&names[0], &result);
    assert_eq!((number(&result, "steps"), number(&result, "tokens")), (25.0, 25.0 * 1024.0), "{json}");
    let output = run("6.2", "none.txt");
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.txt: not a file"));
}

#[test]
fn files_of_results_have_the_format() {
    let all = results("docs/gpus");
    assert!(!all.is_empty());
    for (name, result) in &all {
        assert_eq!(result["format"], 1, "{name}");
        assert_eq!(*name, file_name(text(result, "adapter")), "the name of the file is that of the adapter");
        for key in ["program", "commit", "date", "system"] {
            assert!(result[key].is_string(), "{name}: {key}");
        }
        for key in ["check", "check_all", "kernels", "pretraining", "parts"] {
            rows(result, key);
        }
        assert!(!device(result).is_null() && !rows(result, "steps").is_empty(), "{name}");
        for step in rows(result, "steps") {
            let key = |row: &Value| (row["preset"].clone(), row["batch"].clone());
            let others = rows(result, "pytorch").iter().filter(|row| row["dtype"] == "f32" && key(row) == key(step));
            for other in others {
                for loss in ["loss_first", "loss_5"] {
                    let difference = (number(step, loss) - number(other, loss)).abs();
                    let most = if precision(step) == "f32" { 1e-3 } else { 2e-2 };
                    assert!(difference < most, "{name}: {loss} of {:?}: PyTorch's differs by {difference}", key(step));
                }
            }
        }
    }
}

#[test]
fn tables_show_what_is_missing_and_wrong() {
    let result = serde_json::json!({
        "adapter": "A", "date": "2026-01-02T03:04:05Z", "commit": "c",
        "devices": [{"name": "B", "driver": "other"}, {"name": "A", "driver": "D 1"}],
        "steps": [
            {"preset": "nano", "batch": 8, "step_ms": 4.0, "step_ms_pipelined": 3.0, "gflops": 1500.0, "losses_ok": true},
            {"preset": "mini", "batch": 8, "step_ms": 4.0, "step_ms_pipelined": 3.0, "gflops": 1500.0, "losses_ok": false},
            {"preset": "gpt1", "batch": 4, "step_ms": 1.0, "step_ms_pipelined": 3.0, "gflops": 1500.0, "losses_ok": null,
             "loss_first": 9.0001, "loss_5": 8.0},
            {"preset": "gpt1", "batch": 2, "step_ms": 1.0, "step_ms_pipelined": 3.0, "gflops": 1500.0, "losses_ok": null,
             "loss_first": 9.0001, "loss_5": 8.1},
        ],
        "pytorch": [
            {"preset": "nano", "batch": 8, "dtype": "tf32", "step_ms": 2.0},
            {"preset": "gpt1", "batch": 4, "dtype": "f32", "step_ms": 2.0, "loss_first": 9.0, "loss_5": 8.0},
            {"preset": "gpt1", "batch": 2, "dtype": "f32", "step_ms": 2.0, "loss_first": 9.0, "loss_5": 8.0},
        ],
        "check": [{"kernel": "a", "faults": []}, {"kernel": "b", "faults": ["c"]}], "check_all": [],
        "kernels": [
            {"op": "matmul", "gflops": 2500.0, "shape": {"M": 1, "N": 2, "K": 3}},
            {"op": "matmul", "gflops": 500.0, "shape": {"M": 4, "N": 5, "K": 6}},
            {"op": "other", "gflops": 9000.0, "shape": {}},
        ],
    });
    let tables = tables(&[("a.json".into(), result)]);
    for line in [
        "| A | nano | 8 | f32 | 4.00 | 3.00 | 1.50 | as known |  | 0.50 |  |",
        "| A | mini | 8 | f32 | 4.00 | 3.00 | 1.50 | wrong |  |  |  |",
        "| A | gpt1 | 4 | f32 | 1.00 | 3.00 | 1.50 | as PyTorch's | 2.00 |  |  |",
        "| A | gpt1 | 2 | f32 | 1.00 | 3.00 | 1.50 | not known | 2.00 |  |  |",
        "| A | D 1 | 2026-01-02, c | 1 of 2 | 2.50 | 1, 2, 3 |",
    ] {
        assert!(tables.lines().any(|found| found == line), "{line}\n{tables}");
    }
}

/// What the program prints in scripts/gpu.sh: a part each of success, lack of memory, hanging and wrong results.
#[cfg(unix)]
const PROGRAM: &str = r#"#!/usr/bin/env bash
step() {
    printf '{"preset":"%s","batch":%s,"precision":"f32","adapter":"Test GPU (1)","step_ms":%s,"step_ms_pipelined":1.5,' "$1" "$2" "$3"
    printf '"gflops":2500.0,"loss_first":6.25,"loss_5":6.0,"losses_ok":%s,"profile":[{"kernel":"a","ms":1.0}]}\n' "$4"
}
case "$*" in
--version) echo "wgpt 9.9.9" ;;
"devices --json") echo '{"index":0,"name":"Test GPU (1)","backend":"vulkan","driver":"D","kind":"discrete"}' ;;
*"step --preset nano --batch 8 "*) step nano 8 2.0 true ;;
*"step --preset nano --batch 64 "*) step nano 64 2.0 null ;;
*"step --preset mini --batch 64 "*) printf '{"preset":"mini",'; exec sleep 60 ;;
*"step --preset mini --batch 16 "*) step mini 16 4.0 null ;;
*"step --preset gpt1 --batch 64 "*) echo 'error: no memory for "x" \ y' >&2; exit 1 ;;
*"step --preset gpt1 --batch 16 "*) step gpt1 16 8.0 false; echo "error: losses" >&2; exit 1 ;;
"check --json")
    echo '{"kernel":"a","cases":1,"faults":[]}'
    echo '{"kernel":"b","cases":1,"faults":["wrong"]}'
    exit 1
    ;;
"bench kernels --json")
    echo '{"op":"matmul","variant":"AB","shape":{"M":1,"N":2,"K":3},"dtype":"f32","ms":0.25,"device_ms":0.125,"gflops":100.0,"gbps":50.0}'
    printf '{"op":"matmul","varia'
    exec sleep 60
    ;;
"demo "*)
    mkdir "${@: -1}"
    echo '{"step":0,"valid_loss":6.0}' >"${@: -1}/metrics.jsonl"
    echo '{"step":7,"loss":2.5}' >>"${@: -1}/metrics.jsonl"
    echo '{"step":7,"valid_loss":3.0}' >>"${@: -1}/metrics.jsonl"
    echo "some text"
    ;;
*) echo "error: unknown: $*" >&2; exit 2 ;;
esac
"#;

#[cfg(unix)]
const PYTHON: &str = r#"#!/usr/bin/env bash
shift 5
for case; do
    printf '{"preset":"%s","batch":%s,"program":"PyTorch 1","dtype":"f32","step_ms":1.0,' "${case%:*}" "${case#*:}"
    printf '"step_ms_pipelined":0.75,"gflops":5000.0,"loss_first":6.25001,"loss_5":6.00001}\n'
done
"#;

#[cfg(unix)]
#[test]
fn the_script_survives_every_failure() {
    use crate::common::files;
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let program = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        path
    };
    let (wgpt, python) = (program("wgpt", PROGRAM), program("python", PYTHON));
    let run = |options: &[&str], out: &Path| {
        let mut script = std::process::Command::new("bash");
        script.arg(repository().join("scripts/gpu.sh")).args(options).arg("--out").arg(out).arg(&wgpt);
        script.env("WGPT_PYTHON", &python).env_remove("WGPT_ADAPTER").env_remove("WGPT_TEXT").env_remove("OUT");
        script.output().expect("bash starts")
    };
    let out = folder.path().join("results");
    let output = run(&["--limit", "2"], &out);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(files::names(&out), ["raw.tar.gz", "table.txt", "test-gpu-1.json"], "{errors}");

    let json = std::fs::read_to_string(out.join("test-gpu-1.json")).expect("results");
    let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!((text(&result, "program"), text(&result, "adapter")), ("wgpt 9.9.9", "Test GPU (1)"));
    let steps: Vec<String> =
        rows(&result, "steps").iter().map(|row| format!("{}:{}", text(row, "preset"), row["batch"])).collect();
    assert_eq!(steps, ["nano:8", "nano:64", "mini:16", "gpt1:16"]);
    let count = |key: &str| rows(&result, key).len();
    let counts = ["pytorch", "check", "kernels", "pretraining", "check_all"].map(count);
    assert_eq!(counts, [4, 2, 1, 3, 0], "{json}");
    let parts: Vec<(String, Option<i64>)> =
        rows(&result, "parts").iter().map(|row| (text(row, "part").into(), row["exit"].as_i64())).collect();
    let parts: Vec<(&str, Option<i64>)> = parts.iter().map(|(name, exit)| (name.as_str(), *exit)).collect();
    let expected = [
        ("devices", 0),
        ("step-1-nano-8", 0),
        ("step-2-nano-64", 0),
        ("step-3-mini-64", 124),
        ("step-3-mini-16", 0),
        ("step-4-gpt1-64", 1),
        ("step-4-gpt1-16", 1),
        ("check", 1),
        ("pytorch", 0),
        ("kernels", 124),
        ("pretraining", 0),
        ("check-all", 2),
    ];
    assert_eq!(parts, expected.map(|(name, exit)| (name, Some(exit))));
    let error_of =
        |name: &str| rows(&result, "parts").iter().find(|row| row["part"] == name).expect("a part")["error"].clone();
    assert_eq!(error_of("step-4-gpt1-64"), "error: no memory for \"x\" \\ y");
    assert_eq!(error_of("kernels"), "stopped after 2 s");

    let table = std::fs::read_to_string(out.join("table.txt")).expect("a table");
    assert_eq!(String::from_utf8_lossy(&output.stdout), table);
    for part in [
        "| nano | 8 | wgpt f32 | 2.00 | 1.50 | 2.50 | 6.2500, 6.0000: as known | |",
        "| nano | 64 | wgpt f32 | 2.00 | 1.50 | 2.50 | 6.2500, 6.0000: as PyTorch's | |",
        "| nano | 64 | PyTorch f32 | 1.00 | 0.75 | 5.00 | 6.2500, 6.0000 | 0.50, 0.50 |",
        "| gpt1 | 16 | wgpt f32 | 8.00 | 1.50 | 2.50 | 6.2500, 6.0000: WRONG | |",
        "check: 1 kernels correct, wrong: b",
        "pretraining: validation loss 3.0000 after 7 steps",
        "| matmul | AB | M:1,N:2,K:3 | 0.250 | 0.125 | 100.0 | 50.0 |",
    ] {
        assert!(table.contains(part), "{part}\n{table}");
    }

    // Without time for anything after the first parts, and without a program.
    let out = folder.path().join("short");
    let output = run(&["--quick", "--limit", "2", "--total", "1"], &out);
    assert_eq!(output.status.code(), Some(1));
    let json = std::fs::read_to_string(out.join("test-gpu-1.json")).expect("results");
    let result: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert!(rows(&result, "parts").iter().any(|row| row["error"] == "no time left"), "{json}");
    assert!(!rows(&result, "parts").iter().any(|row| row["part"] == "kernels"), "{json}");
    std::fs::remove_file(&wgpt).expect("removed");
    let output = run(&[], &folder.path().join("none"));
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.path().join("none").exists());
}

/// The losses that wgpt is known to have, by the Python that WGPT_PYTHON names, if it has PyTorch.
#[test]
fn pytorch_has_the_known_losses() {
    let python = std::env::var("WGPT_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = std::process::Command::new(&python);
    command.arg(repository().join("benches/torch_step.py"));
    command.args(["--device", "cpu", "--dtypes", "f32", "--steps", "3", "nano:8"]).env("OMP_WAIT_POLICY", "PASSIVE");
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(3) => output,
        _ => return println!("skipped: {python} has no PyTorch"),
    };
    let rows = crate::common::program::json_rows(&output);
    let losses = ["loss_first", "loss_5"].map(|key| format!("{:.4}", number(&rows[0], key)));
    assert_eq!((rows.len(), losses), (1, ["6.2754".to_string(), "6.0952".to_string()]));
}
