//! The program: bad input gives one line on stderr and exit code 2, and leaves no file; commands that need no device work
//! without one; with `--json`, stdout has rows alone.

use crate::common::program::{assert_refused, json_rows, stderr, stdout, success, wgpt};
use crate::common::runs::write_inputs;
use crate::common::{files, program};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use wgpt::config::ModelConfig;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::model::initial_parameters;
use wgpt::store::Model;

fn run(arguments: &[&str]) -> Output {
    program::run(Path::new("."), arguments)
}

/// Runs in a folder with texts. Asserts exit code 2, one line with all `expected` parts, and nothing new in the folder.
fn refused(words: &[&str], environment: &[(&str, &str)], expected: &[&str]) {
    let folder = tempfile::tempdir().expect("folder");
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("write");
    put("text.txt", "The quick brown fox jumps over the lazy dog.\n".repeat(2000).as_bytes());
    put("empty.txt", b"");
    put("latin1.txt", b"caf\xe9");
    put("short.txt", b"Too short.");
    put("twice.toml", b"lr = 1\nlr = 2\n");
    put("utf16.txt", b"h\0i\0 \0t\0");
    put("wrong.toml", b"lr = 1\nlerning_rate = 2\n");
    std::fs::create_dir(folder.path().join("there")).expect("folder");
    let before = files::names(folder.path());
    let mut command = wgpt(folder.path(), words);
    command.env_remove("WGPT_ADAPTER").envs(environment.iter().copied());
    println!("{words:?}");
    assert_refused(&command.output().expect("the program starts"), expected);
    assert_eq!(files::names(folder.path()), before, "{words:?} left something behind");
}

#[test]
fn bad_input_is_one_line_that_names_it() {
    let pretrain = |more: &[&'static str]| [&["pretrain", "--data", "text.txt"], more].concat();
    let generate = |more: &[&'static str]| [&["generate", "--model", "none", "--prompt", "Once"], more].concat();
    for (words, expected) in [
        (pretrain(&["--set", "lerning_rate=1"]), &["--set lerning_rate=1", "did you mean \"lr\""][..]),
        (pretrain(&["--config", "wrong.toml"]), &["wrong.toml: lerning_rate = 2", "\"lr\""]),
        (pretrain(&["--config", "none.toml"]), &["none.toml"]),
        (pretrain(&["--n-embd", "130"]), &["n_embd = 130: must be divisible by n_head = 4"]),
        (pretrain(&["--batch", "6", "--accumulate", "4"]), &["batch = 6: must be divisible by accumulate = 4"]),
        (pretrain(&["--lr", "-1"]), &["--lr -1: must be above 0"]),
        (pretrain(&["--vocab-size", "100"]), &["vocab_size = 100", "at least 256"]),
        (pretrain(&["--tokenizer", ""]), &["--tokenizer : expected the path of a file or a folder, but it is empty"]),
        (pretrain(&["--set", "init="]), &["--set init=: expected the path of a file"]),
        (vec!["pretrain", "--data", ""], &["--data : expected the path of a file"]),
        (vec!["pretrain", "--config", ""], &["\"\": the path is empty: expected the path of a file"]),
        (pretrain(&["--config", "twice.toml"]), &["twice.toml: line 2: the key `lr` is given twice"]),
        (pretrain(&["--dropout", "1"]), &["--dropout 1: must be at least 0 and below 1"]),
        (pretrain(&["--set", "attn_pdrop=nan"]), &["--set attn_pdrop=nan: must be a finite number"]),
        (pretrain(&["--kv-factor", "0"]), &["kv_factor = 0: must be 1 or more"]),
        (pretrain(&["--set", "local_block=0"]), &["local_block = 0: must be 1 or more"]),
        (pretrain(&["--attention-pattern", "LMX"]), &["attention_pattern = \"LMX\": must be one or more letters of F"]),
        (pretrain(&["--attention-pattern", ""]), &["attention_pattern = \"\": must be one or more letters of F"]),
        (pretrain(&["--out", "there"]), &["there: exists already: must be the path of a new folder"]),
        (pretrain(&["--out", "text.txt/run"]), &["text.txt is not a folder"]),
        (vec!["pretrain"], &["data: must name the text", "--data FILE"]),
        (vec!["pretrain", "--data", "empty.txt"], &["empty.txt: empty: expected text"]),
        (vec!["pretrain", "--data", "latin1.txt"], &["latin1.txt: byte offset 3: not UTF-8"]),
        (vec!["pretrain", "--data", "none.txt"], &["none.txt: could not be read"]),
        (vec!["pretrain", "--data", "there"], &["there: no text in the folder: expected *.txt or *.jsonl"]),
        (vec!["pretrain", "--data", "short.txt"], &["training part", "must be 129 or more for n_positions = 128"]),
        (vec!["plan", "--tokenizer", "none", "--vocab-size", "5"], &["none: could not be read"]),
        (vec!["compare", "none", "there"], &["none: is not a folder: must be the folder of a run"]),
        (
            vec!["finetune", "classify", "--seeds", "1", "--set", "seed=7"],
            &["--seeds: cannot be combined with --set seed"],
        ),
        (vec!["plan", "--set", "n_layers=3"], &["--set n_layers=3", "\"n_layer\""]),
        (vec!["plan", "--batch", "auto"], &["--batch auto: must be a number here"]),
        (vec!["plan", "--batch", "most"], &["--batch most: expected a whole number or auto"]),
        (vec!["plan", "--longest", "--memory", "8 GB"], &["--memory 8 GB: expected a whole number of bytes"]),
        (
            vec!["plan", "--longest", "--memory", "1KiB"],
            &["--memory 1KiB: expected at least", "MiB, which one token with F needs"],
        ),
        (vec!["shader", "matmull", "--caps", "Apple"], &["OP = matmull: no such kernel", "matmul"]),
        (vec!["shader", "matmul", "--caps", "Banana"], &["--caps Banana", "Apple"]),
        (vec!["shader", "matmul", "--caps", "Apple", "--spec", "nothing"], &["--spec nothing"]),
        (vec!["plan", "--set", "kv_factor=0"], &["kv_factor = 0: must be 1 or more"]),
        (vec!["bench", "kernels", "--only", "nothing"], &["--only nothing"]),
        (
            vec!["bench", "generate", "--attention-pattern", "lm"],
            &["attention_pattern = \"lm\"", "one or more letters of F"],
        ),
        (vec!["bench", "attention", "--out", "there"], &["--out there: must be the path of a file"]),
        (vec!["bench", "attention", "--out", "-"], &["--out -: must be the path of a file"]),
        (vec!["bench", "attention", "--out", "text.txt/a.svg"], &["--out text.txt/a.svg: text.txt is not a folder"]),
        (vec!["bench", "attention", "--out", "none/a.svg"], &["--out none/a.svg: the folder none does not exist"]),
        (generate(&["--temperature", "0"]), &["--temperature 0: must be a number from 0.001", "--greedy"]),
        (generate(&["--temperature", "-1"]), &["--temperature -1: must be"]),
        (generate(&["--top-p", "1.5"]), &["--top-p 1.5: must be above 0 and at most 1"]),
        (generate(&["--top-k", "-3"]), &["--top-k -3: must be a whole number from 0"]),
        (generate(&["--samples", "0"]), &["--samples 0: must be a whole number from 1"]),
        (generate(&["--stop", ""]), &["--stop: must be a text, but it is empty"]),
        (generate(&["--seed", "x"]), &["--seed x: must be a whole number, 0 or more"]),
        (generate(&[]), &["none: is not a folder"]),
        (
            vec!["generate", "--model", "there", "--prompt-file", "latin1.txt"],
            &["latin1.txt: byte offset 3: not UTF-8"],
        ),
        (
            vec!["generate", "--model", "there", "--prompt-file", "utf16.txt"],
            &["utf16.txt: UTF-16 text: expected UTF-8 text"],
        ),
        (vec!["generate", "--model", "there", "--prompt-file", "none.txt"], &["none.txt: could not be read"]),
        (vec!["demo", "--steps", "0"], &["--steps 0: must be 1 or more"]),
        (vec!["demo", "--out", "there"], &["there: exists already"]),
    ] {
        refused(&words, &[], expected);
    }
}

#[test]
fn an_unknown_adapter_is_named() {
    let expected = &["\"Voodoo 2\": expected one of 0 "];
    refused(&["pretrain", "--data", "text.txt", "--adapter", "Voodoo 2"], &[], expected);
    refused(&["--adapter", "Voodoo 2", "check"], &[], expected);
    refused(
        &["bench", "kernels"],
        &[("WGPT_ADAPTER", "Voodoo 2")],
        &["WGPT_ADAPTER = \"Voodoo 2\": expected one of 0 "],
    );
    refused(&["check", "--adapter", "Voodoo 2"], &[("WGPT_ADAPTER", "0")], &["--adapter \"Voodoo 2\": expected one"]);
    let expected = &["\"99\": there is no adapter with this index: expected one of 0 "];
    refused(&["pretrain", "--data", "text.txt", "--adapter", "99"], &[], expected);
    refused(&["check", "--adapter", " 99"], &[], &["there is no adapter with this index"]);
    // Digits are an index, also where the name of an adapter has them: "llvmpipe (LLVM 15.0.6, 256 bits)".
    let rows = json_rows(&run(&["devices", "--json"]));
    let names: String = rows.iter().filter_map(|row| row["name"].as_str()).map(|name| format!("{name} ")).collect();
    assert!(!names.is_empty(), "{rows:?}");
    let digits = names.split(|c: char| !c.is_ascii_digit());
    for number in digits.filter(|number| number.parse::<usize>().is_ok_and(|index| index >= rows.len())) {
        let expected = format!("\"{number}\": there is no adapter with this index: expected one of");
        refused(&["pretrain", "--data", "text.txt", "--adapter", number], &[], &[&expected]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_cannot_move_its_cursor_has_plain_lines() {
    let folder = tempfile::tempdir().expect("folder");
    write_inputs(folder.path(), "steps = 2\nwarmup = 1\n");
    for (term, is_plain) in [("dumb", true), ("none", true), ("", true), ("xterm", false)] {
        let own = wgpt(folder.path(), &[]).get_program().to_string_lossy().into_owned();
        let line = format!("'{own}' pretrain --data text.txt --config tiny.toml --self-test=false --out run-{term}");
        let mut terminal = std::process::Command::new("script");
        terminal.current_dir(folder.path()).args(["-qec", &line, "/dev/null"]).env("WGPT_CACHE", "").env("TERM", term);
        if term == "none" {
            terminal.env_remove("TERM");
        }
        let output = match terminal.stdin(Stdio::null()).output() {
            Err(e) => return println!("skipped: no program `script` ({e})"),
            Ok(output) => output,
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}");
        assert!(["training ", "run: ", "validation loss"].iter().all(|part| text.contains(part)), "{term}: {text}");
        assert_eq!(text.contains('\u{1b}'), !is_plain, "{term}: {text:?}");
    }
}

#[test]
fn wrong_arguments_have_exit_code_2() {
    for words in [&["pretrain", "--no-such-option"][..], &["no-such-command"], &[], &["bench"]] {
        let output = run(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words:?}");
    }
    for (words, message) in [
        (&["bench", "step", "--steps", "1.5"][..], "must be a whole number from 3 to 100000"),
        (&["finetune", "classify", "--seeds", "1.0"], "must be a whole number from 0 to "),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    for (words, warning) in [
        (&["devices", "--adapter", "xyz"][..], "warning: --adapter has no effect: `wgpt devices`"),
        (&["plan", "--data", "none.txt"], "warning: data has no effect without --time"),
    ] {
        let output = run(words);
        assert!(output.status.success() && stderr(&output).contains(warning), "{}", stderr(&output));
    }
    for words in [&["--help"][..], &["--version"], &["pretrain", "--help"]] {
        assert_eq!(run(words).status.code(), Some(0), "{words:?}");
    }
}

#[test]
fn devices_are_rows_of_json() {
    let output = run(&["devices", "--json"]);
    let rows = json_rows(&output);
    assert!(!rows.is_empty());
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], index);
        for key in ["name", "backend", "kind", "subgroup", "f16", "timestamps", "cooperative", "max_binding"] {
            assert!(!row[key].is_null(), "{key} of {row}");
        }
    }
    let text = stdout(&run(&["devices"]));
    assert!(text.contains("\nCommands use adapter 0 unless --adapter or WGPT_ADAPTER "), "{text}");
    assert!(text.starts_with(&format!("0  {}\n", rows[0]["name"].as_str().expect("name"))), "{text}");
}

#[test]
fn a_plan_needs_no_device() {
    let output = run(&["plan", "--preset", "gpt1"]);
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    assert!(stdout(&output).contains("116,534,784"), "{}", stdout(&output));
    // 12 layers of 512 tokens, or of a block of 64, or of 170 slots, a null row and 3 tokens that wait; 6144 bytes a row.
    for (pattern, bytes) in [("F", "36.00 MiB"), ("L", "4.50 MiB"), ("M", "12.23 MiB"), ("LM", "8.37 MiB")] {
        let text = stdout(&run(&["plan", "--preset", "gpt1", "--local-block", "64", "--attention-pattern", pattern]));
        let line = text.lines().find(|line| line.starts_with("keys and values of 512 tokens")).expect("a line");
        assert!(line.ends_with(bytes), "{pattern}: {line}");
    }
    assert!(run(&["plan", "--set", "n_embd=100", "--n-head", "5"]).status.success());

    let output = run(&["plan", "--longest", "--memory", "1GiB", "--json"]);
    let rows = json_rows(&output);
    assert_eq!(rows.iter().map(|row| row["pattern"].as_str().expect("a text")).collect::<Vec<_>>(), ["F", "LMLML"]);
    for row in &rows {
        let [longest, bytes] = ["longest", "bytes"].map(|key| row[key].as_u64().expect("a number"));
        assert!(longest > 1000 && bytes <= 1 << 30 && bytes > 1020 << 20, "{row}");
    }
    let text = stdout(&run(&["plan", "--longest", "--memory", "1GiB"]));
    assert!(
        text.contains("No layer keeps T×T scores") && text.contains("the paper (Liu et al. 2018) reports"),
        "{text}"
    );
}

#[test]
fn attention_is_timed_over_lengths() {
    let folder = tempfile::tempdir().expect("folder");
    let words = ["bench", "attention", "--lengths", "300", "--json", "--out", "attention.svg"];
    let rows = json_rows(&program::run(folder.path(), &words));
    let mut expected = Vec::new();
    for pattern in ["F", "L", "M", "LMLML"] {
        expected.extend(["forward", "backward"].map(|direction| (pattern, 300, direction)));
    }
    expected.sort_unstable();
    let mut got: Vec<_> = rows
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().expect("a text");
            (text("pattern"), row["length"].as_i64().expect("a number"), text("direction"))
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, expected);
    for row in &rows {
        let number = |key: &str| row[key].as_f64().expect("a number");
        assert!(number("ms") > 0.0 && number("bytes") > 0.0 && number("error") < 1e-4, "{row}");
        let per_token = number("ms") * 1e3 / number("length");
        assert!((number("us_per_token") / per_token - 1.0).abs() < 1e-9, "{row}");
    }
    let picture = std::fs::read_to_string(folder.path().join("attention.svg")).expect("a picture");
    assert!(picture.contains(">LMLML<") && picture.ends_with("</svg>\n"));
}

#[test]
fn shaders_are_printed_for_every_class_of_adapter() {
    for class in ["WebGPU", "NVIDIA", "RDNA", "Apple", "Intel", "lavapipe"] {
        let output = run(&["shader", "matmul", "--caps", class]);
        let text = success(&output);
        assert!(text.starts_with("// matmul_") && text.contains("@compute") && !text.contains("\n#"), "{text}");
    }
    let list = stdout(&run(&["shader", "--caps", "lavapipe"]));
    assert!(list.lines().count() > 20 && list.contains("matmul_image ") && list.contains("adamw "), "{list}");
    let text = stdout(&run(&["shader", "matmul_tiled", "--caps", "NVIDIA", "--spec", "TILE_M=128"]));
    assert!(text.contains("TILE_M: u32 = 128u") && !text.contains("TILE_M: u32 = 64u"));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let words = ["shader", "matmul", "--all", "--caps", "lavapipe"];
    let mut child = wgpt(Path::new("."), &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("end");
    assert!(output.status.success() && stderr(&output).is_empty(), "{:?} {}", output.status, stderr(&output));
}

/// An untrained model whose tokenizer has bytes alone.
fn untrained(dir: &Path) {
    let config = ModelConfig { n_layer: 1, n_positions: 24, vocab_size: 300, ..ModelConfig::default() };
    let tokenizer = Tokenizer::train("a", 256, Pretokenizer::Bytes).expect("train");
    let parameters = initial_parameters(&config, 3);
    Model::from_parts(config, parameters, Some(tokenizer)).save(dir).expect("save");
}

#[test]
fn stdout_has_the_generated_text_alone() {
    let folder = tempfile::tempdir().expect("folder");
    untrained(&folder.path().join("model"));
    let generate = |more: &[&str]| program::run(folder.path(), &[&["generate", "--model", "model"], more].concat());
    let text = |more: &[&str]| {
        let output = generate(more);
        (success(&output), stderr(&output))
    };
    let (one, messages) = text(&["--prompt", "Grüße ", "--tokens", "9"]);
    assert!(one.starts_with("Grüße ") && one.len() > 8, "{one:?}");
    assert!(messages.contains("9 tokens in ") && !messages.contains("positions"), "{messages}");
    assert_eq!(text(&["--prompt", "Grüße ", "--tokens", "9"]).0, one, "the same seed");
    assert_ne!(text(&["--prompt", "Grüße ", "--tokens", "9", "--seed", "2"]).0, one);
    std::fs::write(folder.path().join("prompt.txt"), "Grüße ").expect("write");
    assert_eq!(text(&["--prompt-file", "prompt.txt", "--tokens", "9"]).0, one);

    let (three, _) = text(&["--prompt", "Grüße ", "--tokens", "9", "--samples", "3"]);
    let parts: Vec<&str> = three.split("\n---\n").collect();
    assert!(parts.len() == 3 && parts[0] == one && parts[1] != one && parts[2].starts_with("Grüße "), "{three:?}");
    let (long, messages) = text(&["--prompt", "Once", "--greedy"]);
    assert!(
        messages.contains("the text ends at 24 tokens, the model's positions") && long.starts_with("Once"),
        "{messages}"
    );
    let stop = long["Once".len()..].chars().nth(3).expect("a character").to_string();
    let (short, _) = text(&["--prompt", "Once", "--greedy", "--stop", &stop]);
    assert!(long.starts_with(&short) && !short["Once".len()..].contains(&stop), "{short:?} {long:?}");

    for (words, expected) in [
        (["--prompt", ""], "prompt = 0 tokens: must have 1 to 24"),
        (["--prompt", "A prompt longer than the model"], "must have 1 to 24"),
    ] {
        assert_refused(&generate(&words), &[expected]);
    }
}

#[test]
fn a_plan_with_time_measures_the_run() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    write_inputs(folder, "eval_every = 4\n");
    let plan = |more: &[&str]| program::run(folder, &[&["plan", "--time", "--config", "tiny.toml"], more].concat());
    let output = plan(&["--data", "text.txt", "--steps", "10", "--accumulate", "2"]);
    let text = success(&output);
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.split_whitespace().rev().nth(1).and_then(|number| number.parse::<f64>().ok())
    };
    assert!(row("optimizer step  ").is_some_and(|ms| ms > 0.0), "{text}");
    for name in ["first epoch, ", "10 steps", "4 evaluations", "the run"] {
        row(name);
    }
    assert!(std::fs::read_dir(folder).expect("folder").count() == 4, "nothing is written");

    let output = plan(&["--epochs", "2"]);
    assert!(!success(&output).contains("epoch") && stderr(&output).contains("with --data"), "{}", stdout(&output));
    assert_refused(&plan(&["--data", "none.txt"]), &["none.txt"]);
}

/// The output of `generate --interactive` for some lines on stdin.
/// The batch that `batch = auto` has measured is a number in config.toml, with which the run resumes.
#[test]
fn a_measured_batch_is_that_of_the_run() {
    let place = tempfile::tempdir().expect("folder");
    write_inputs(place.path(), "steps = 1\nwarmup = 1\neval_every = 4\nsample_every = 0\n");
    let run = |more: &str| {
        let line = format!("pretrain {more}");
        program::run(place.path(), &line.split_whitespace().collect::<Vec<_>>())
    };
    // Two sequences of 16 tokens do not fit in this memory, so that the number does not depend on the machine's speed.
    let output = run("--data text.txt --config tiny.toml --batch auto --accumulate 3 --memory 680KiB --out run");
    success(&output);
    let messages = stderr(&output);
    assert!(messages.contains("batch = 3: tokens per second by sequences: "), "{messages}");
    let settings = std::fs::read_to_string(place.path().join("run/config.toml")).expect("settings");
    assert!(settings.contains("\nbatch = 3\n"), "{settings}");
    success(&run("--resume run --steps 2"));
    let output = run("--data text.txt --config tiny.toml --batch auto --out other");
    let (messages, all) = (stderr(&output), success(&output));
    let chosen = messages.lines().find_map(|line| line.split_once("batch = ")?.1.split_once(": tokens per second"));
    let settings = std::fs::read_to_string(place.path().join("other/config.toml")).expect("settings");
    assert!(chosen.is_some_and(|(n, _)| settings.contains(&format!("\nbatch = {n}\n"))), "{messages}{all}{settings}");
}

fn interactive(folder: &Path, more: &[&str], lines: &[u8]) -> Output {
    let arguments = [&["generate", "--model", "model", "--interactive", "--greedy"], more].concat();
    let mut command = program::wgpt(folder, &arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("stdin").write_all(lines).expect("write");
    child.wait_with_output().expect("output")
}

#[test]
fn each_line_is_continued_after_the_text_so_far() {
    let place = tempfile::tempdir().expect("folder");
    let folder = place.path();
    untrained(&folder.join("model"));
    let continued = |prompt: &str, more: &[&str]| {
        let arguments = [&["generate", "--model", "model", "--greedy", "--prompt", prompt], more].concat();
        success(&program::run(folder, &arguments))[prompt.len()..].to_string()
    };
    let first = continued("Once", &["--tokens", "5"]);
    assert_eq!(success(&interactive(folder, &["--tokens", "5"], b"Once\r\n")), format!("{first}\n"));
    assert_eq!(success(&interactive(folder, &["--tokens", "5", "--prompt", "Once"], b"")), format!("{first}\n"));
    // The first answer stops at once, and so is no part of the text.
    let stop = first.chars().next().expect("a character").to_string();
    let second = continued("Once\nmore", &["--tokens", "4", "--stop", &stop]);
    let both = success(&interactive(folder, &["--tokens", "4", "--stop", &stop], b"Once\nmore\n"));
    assert_eq!(both, format!("\n{second}\n"));
    assert_eq!(success(&interactive(folder, &[], b"\n\n")), "", "nothing to continue");

    // 60 tokens, more than the 24 positions of the model.
    let output = interactive(folder, &["--tokens", "60"], b"A line that is longer than the model\nmore\n");
    let text = success(&output);
    assert!(text.len() > 60 && stderr(&output).matches("the model sees the latest 12 tokens").count() == 1, "{text}");
    let output = interactive(folder, &[], b"caf\xe9\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("stdin: line 1: not UTF-8"), "{}", stderr(&output));
}

/// Ctrl-C ends the text that is generated, not the program; SIGTERM ends the program.
#[cfg(unix)]
#[test]
fn an_interrupted_text_does_not_end_the_program() {
    for (signal, code) in [("-INT", 0), ("-TERM", 130)] {
        assert_eq!(code_after(signal), Some(code), "{signal}");
    }
}

/// The exit code of `generate --interactive` after a signal within a long text.
#[cfg(unix)]
fn code_after(signal: &str) -> Option<i32> {
    use std::io::Read;
    let place = tempfile::tempdir().expect("folder");
    untrained(&place.path().join("model"));
    let arguments = ["generate", "--model", "model", "--interactive", "--tokens", "4294967296"];
    let mut command = program::wgpt(place.path(), &arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut output = child.stdout.take().expect("stdout");
    child.stdin.take().expect("stdin").write_all(b"Once\n").expect("write");
    output.read_exact(&mut [0; 20]).expect("some text");
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    output.read_to_end(&mut Vec::new()).expect("the rest");
    child.wait().expect("ends").code()
}
