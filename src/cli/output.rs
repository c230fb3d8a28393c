//! Lines on stderr, and checks of files that a subcommand writes.

use super::arguments::invalid_option;
use crate::Result;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a line on stderr. A stderr that is closed is no error.
pub(super) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The folder of the file that the option `--name` gives to write, as an absolute path.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) if the path is a folder, or its parent folder does not exist.
pub(super) fn output_folder(name: &str, path: &Path) -> Result<PathBuf> {
    let wrong = |why: String| Err(invalid_option(name, path.display(), why));
    if path.is_dir() || path.file_name().is_none() {
        return wrong("must be the path of a file".into());
    }
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    folder.canonicalize().or_else(|_| wrong(format!("the folder {} does not exist", folder.display())))
}
