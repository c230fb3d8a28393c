//! Faults of the file system, injected into the program by a small library that is loaded before it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Error numbers of Linux.
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const ENODEV: i32 = 19;
pub const EBADF: i32 = 9;
pub const EINVAL: i32 = 22;
pub const ENOSPC: i32 = 28;
pub const ENOLCK: i32 = 37;
pub const ENOSYS: i32 = 38;
pub const EOPNOTSUPP: i32 = 95;

/// Compiles a C file of this folder to a shared library. Where that is not possible, prints that the test is skipped.
pub fn compile(source: &str, library: &Path) -> bool {
    if !cfg!(target_os = "linux") {
        println!("skipped: faults are injected on Linux only");
        return false;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/common").join(source);
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(library).arg(source).arg("-ldl");
    match compiler.status() {
        Ok(status) if status.success() => true,
        other => {
            println!("skipped: no C compiler `cc` ({other:?})");
            false
        }
    }
}

/// The compiled library.
pub struct Faults(PathBuf);

/// Numbers of calls of a program.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// That change a file or a folder.
    pub any: u32,
    /// Of `flock`.
    pub flock: u32,
    /// That open a file for reading, or read.
    pub read: u32,
}

impl Faults {
    /// Compiles the library into a folder. Where that is not possible, prints that the test is skipped.
    pub fn compile(folder: &Path) -> Option<Self> {
        compile("faults.c", &folder.join("faults.so")).then(|| Faults(folder.join("faults.so")))
    }

    /// Runs a command without faults. Returns its output and the numbers of its calls on files below a folder.
    pub fn count(&self, command: &mut Command, under: &Path) -> (Output, Calls) {
        let file = self.0.with_extension("count");
        let counted = self.inject(command, under, "none=0").env("FAULT_COUNT", &file);
        let output = counted.output().expect("the program starts");
        let text = std::fs::read_to_string(&file).expect("the numbers of calls");
        let numbers: Vec<u32> = text.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [any, flock, read] = numbers[..] else { panic!("{text}") };
        (output, Calls { any, flock, read })
    }

    /// The command with calls on a file, or on files below a folder, that fail: `fault` is `CALL=ERRNO` or `CALL=KILL` as in
    /// faults.c. The path need not exist yet.
    pub fn inject<'a>(&self, command: &'a mut Command, under: &Path, fault: &str) -> &'a mut Command {
        let (exists, name) = (under.canonicalize(), std::path::absolute(under).expect("a path"));
        let under = exists.unwrap_or(name);
        command.env("LD_PRELOAD", &self.0).env("FAULT_UNDER", under).env("FAULT", fault)
    }
}
