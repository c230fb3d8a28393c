//! Parse, call, print: one thin file a subcommand.
//!
//! Results go to stdout, all else (the adapter, progress, warnings, errors) to stderr. Whoever closes stdout early, such
//! as `head`, ends the program without a word.

mod bench;
mod check;
mod clock;
mod demo;
mod devices;
mod eval;
mod finetune;
mod generate;
mod import;
mod interrupt;
mod options;
mod plan;
mod predict;
mod pretrain;
mod progress;
mod shader;
mod tokenizer;

use crate::gpu::{Caps, Device, quiet};
use crate::{Error, Result};
use clap::{Arg, ArgMatches, Command};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why a subcommand ends before its end.
enum Stop {
    /// To be said on stderr.
    Failed(Error),
    /// NoObserver reads stdout any more.
    Closed,
    /// Said already.
    Wrong,
    /// Stopped by the user, and saved.
    Interrupted,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Failed(Error::io("stdout", error)),
        }
    }
}

type Done = Result<(), Stop>;

/// What subcommands share.
struct Context<'a> {
    out: &'a mut dyn Write,
    adapter: Option<String>,
}

impl Context<'_> {
    /// Opens the adapter and says which it is.
    fn open(&self) -> Result<Device> {
        let device = Device::open(self.adapter.as_deref())?;
        let Caps { name, backend, driver, .. } = device.caps();
        note(format_args!("adapter: {name} ({backend}, {driver})"));
        Ok(device)
    }

    /// A row of JSON.
    fn json(&mut self, row: &impl serde::Serialize) -> Done {
        let text = serde_json::to_string(row).map_err(std::io::Error::from)?;
        Ok(writeln!(self.out, "{text}")?)
    }
}

/// The exit code for an error (docs/spec.md section 6).
fn exit_code(error: &Error) -> u8 {
    match error {
        Error::NoAdapter(_) => 3,
        error if error.is_invalid_input() => 2,
        _ => 1,
    }
}

/// A line on stderr; whether anybody reads it does not matter.
fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A whole number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1.2 GiB`
fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["bytes", "KiB", "MiB"] {
        if value < 1024.0 {
            return if unit == "bytes" { format!("{number} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} GiB")
}

/// The folder in which an option's file is to be written, which must be there; the path itself must not be a folder's.
fn output_folder(option: &str, path: &Path) -> Result<PathBuf> {
    let bad = |why: String| Err(Error::input(format!("{option} {}: {why}", path.display())));
    if path.is_dir() || path.file_name().is_none() {
        return bad("must be the path of a file".into());
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.canonicalize().or_else(|_| bad(format!("{} is no folder", folder.display())))
}

fn json_flag() -> Arg {
    Arg::new("json")
        .long("json")
        .action(clap::ArgAction::SetTrue)
        .help("One JSON object a line, nothing else on stdout")
}

fn command() -> Command {
    Command::new("wgpt")
        .about("GPT decoders trained on any GPU, by hand-written WGSL kernels")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(Arg::new("adapter").long("adapter").value_name("NAME|INDEX").global(true).help(
            "The adapter, by a part of its name or its index in `wgpt devices`; WGPT_ADAPTER says it too \
             [default: discrete before integrated before CPU]",
        ))
        .subcommands([
            demo::command(),
            pretrain::command(),
            finetune::command(),
            predict::command(),
            generate::command(),
            eval::command(),
            plan::command(),
            devices::command(),
            check::command(),
            bench::command(),
            shader::command(),
            tokenizer::command(),
            import::command(),
        ])
}

fn dispatch(context: &mut Context<'_>, name: &str, matches: &ArgMatches) -> Done {
    match name {
        "demo" => demo::run(context, matches),
        "pretrain" => pretrain::run(context, matches),
        "finetune" => finetune::run(context, matches),
        "predict" => predict::run(context, matches),
        "generate" => generate::run(context, matches),
        "eval" => eval::run(context, matches),
        "plan" => plan::run(context, matches),
        "devices" => devices::run(context, matches),
        "check" => check::run(context, matches),
        "bench" => bench::run(context, matches),
        "shader" => shader::run(context, matches),
        "tokenizer" => tokenizer::run(context, matches),
        "import" => import::run(context, matches),
        _ => Err(Error::input(format!("{name}: no such command; `wgpt --help` lists them")).into()),
    }
}

/// The program: parses the command line, runs a subcommand, and gives its exit code (SPEC 6).
pub fn main() -> ExitCode {
    quiet::headless();
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Some((name, sub)) = matches.subcommand() else { return ExitCode::from(2) };
    let environment = || std::env::var_os("WGPT_ADAPTER").map(|name| name.to_string_lossy().into_owned());
    let adapter = sub.get_one::<String>("adapter").cloned().or_else(environment).filter(|name| !name.is_empty());
    let mut stdout = std::io::stdout().lock();
    let mut context = Context { out: &mut stdout, adapter };
    let done = dispatch(&mut context, name, sub).and_then(|()| Ok(context.out.flush()?));
    match done {
        Ok(()) | Err(Stop::Closed) => ExitCode::SUCCESS,
        Err(Stop::Wrong) => ExitCode::FAILURE,
        Err(Stop::Interrupted) => ExitCode::from(interrupt::INTERRUPTED),
        Err(Stop::Failed(error)) => {
            note(format_args!("error: {error}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 116_534_784].map(grouped), ["0", "999", "1,000", "116,534,784"]);
        assert_eq!([12, 2048, 3 << 30].map(bytes), ["12 bytes", "2.0 KiB", "3.0 GiB"]);
    }
}
