//! Faults of the file system, injected into the program by a small library that is loaded before it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Error numbers of Linux.
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const ENODEV: i32 = 19;
pub const EINVAL: i32 = 22;
pub const ENOSPC: i32 = 28;
pub const ENOLCK: i32 = 37;
pub const ENOSYS: i32 = 38;
pub const EOPNOTSUPP: i32 = 95;

/// The compiled library.
pub struct Faults(PathBuf);

impl Faults {
    /// Compiles the library into a folder. Where that is not possible, prints that the test is skipped.
    pub fn compile(folder: &Path) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("skipped: faults are injected on Linux only");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/common/faults.c");
        let library = folder.join("faults.so");
        let compiled =
            Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
        match compiled {
            Ok(status) if status.success() => Some(Faults(library)),
            other => {
                println!("skipped: no C compiler `cc` ({other:?})");
                None
            }
        }
    }

    /// The command with calls on files below a folder that fail: `fault` is `CALL=ERRNO` as in faults.c.
    pub fn inject<'a>(&self, command: &'a mut Command, under: &Path, fault: &str) -> &'a mut Command {
        let under = under.canonicalize().expect("a folder");
        command.env("LD_PRELOAD", &self.0).env("FAULT_UNDER", under).env("FAULT", fault)
    }
}
