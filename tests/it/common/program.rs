//! Runs of the program `wgpt`, and what they write.

use serde_json::Value;
use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program: the one that `WGPT_PROGRAM` names, the one beside this test program, if it was copied there to run on another
/// system, else the one that was built with the tests.
fn program() -> PathBuf {
    let copied = std::env::current_exe().expect("the test program").with_file_name(format!("wgpt{EXE_SUFFIX}"));
    let beside = || if copied.is_file() { copied } else { env!("CARGO_BIN_EXE_wgpt").into() };
    std::env::var_os("WGPT_PROGRAM").map_or_else(beside, PathBuf::from)
}

/// `wgpt` with these arguments in a folder. It keeps nothing in the user's cache. Nothing would remember a self-test of the
/// driver either, so that each training would repeat it: it is switched off.
pub fn wgpt(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = wgpt_with_self_test(folder, arguments);
    let trains = match arguments {
        ["pretrain", ..] => true,
        ["finetune", task, ..] => !task.starts_with('-'),
        _ => false,
    };
    command.args(trains.then_some("--self-test=false"));
    command
}

/// As [`wgpt`], with the self-test.
pub fn wgpt_with_self_test(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.current_dir(folder).args(arguments).env("WGPT_CACHE", "");
    command
}

/// Runs `wgpt` with these arguments in a folder.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    wgpt(folder, arguments).output().expect("the program starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Standard error. Paths have `/` on every system.
pub fn stderr(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    if cfg!(windows) { text.replace('\\', "/") } else { text }
}

/// Standard output of a program that succeeded.
pub fn success(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
    stdout(output)
}

/// The rows that a successful program wrote with `--json`, one a line.
pub fn json_rows(output: &Output) -> Vec<Value> {
    success(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Asserts an exit code, nothing on standard output, and one line on standard error that has all `parts`. Returns the line.
pub fn assert_one_line(output: &Output, code: i32, parts: &[&str]) -> String {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!((error.lines().count(), stdout(output)), (1, String::new()), "{error}");
    assert!(parts.iter().all(|part| error.contains(part)), "{error}: expected {parts:?}");
    error
}

/// Asserts that the program refused its input: exit code 2 and one line on standard error, `error: ` and all `parts`.
pub fn assert_refused(output: &Output, parts: &[&str]) {
    let error = assert_one_line(output, 2, parts);
    assert!(error.starts_with("error: "), "{error}");
}

/// This test program, restricted to one test: `name` of the module with `module_path!()`.
pub fn this_test(module: &str, name: &str) -> Command {
    let (_crate, module) = module.split_once("::").expect("a module of the test program");
    let mut command = Command::new(std::env::current_exe().expect("the test program"));
    command.args(["--exact", &format!("{module}::{name}")]);
    command
}
