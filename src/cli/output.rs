//! Lines on stderr, and files that a subcommand writes.

use super::arguments::invalid_option;
use crate::data::read_file::final_path;
use crate::store::atomic::AtomicFile;
use crate::store::folder_kind::{is_checkpoint, is_model};
use crate::store::model_folder::{BEST, CHECKPOINTS, LATEST};
use crate::store::names::is_device;
use crate::terminal::visible_lines;
use crate::train::run_folder::{BASELINES, CONFIG, CURVE, LOCK, METRICS, PREDICTIONS, SAMPLES};
use crate::train::saved_kernels::KERNELS;
use crate::train::tensorboard::TENSORBOARD;
use crate::{Error, Result};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Names in a run's folder that only the run writes. Some file systems do not distinguish upper and lower case.
const OF_RUN: [&str; 12] =
    [CONFIG, METRICS, SAMPLES, CURVE, KERNELS, LOCK, LATEST, BEST, CHECKPOINTS, PREDICTIONS, BASELINES, TENSORBOARD];

/// Most characters of a note: more than a path has.
const LONGEST_NOTE: usize = 8000;

/// Writes a line on stderr, with escapes for control characters. A stderr that is closed is no error.
pub(super) fn note(line: impl std::fmt::Display) {
    let line = line.to_string();
    let (line, end) = match line.char_indices().nth(LONGEST_NOTE) {
        Some((end, _)) => (&line[..end], "…"),
        None => (line.as_str(), ""),
    };
    let _ = writeln!(std::io::stderr(), "{}{end}", visible_lines(line));
}

/// Writes text to a terminal, with escapes for control characters other than line ends and tabs.
pub(super) struct VisibleWriter<W>(pub W);

impl<W: Write> Write for VisibleWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Characters come whole, because results are written as text; anything else is shown as it is.
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                let mut lines = text.split("\r\n");
                self.0.write_all(visible_lines(lines.next().unwrap_or_default()).as_bytes())?;
                lines.try_for_each(|line| {
                    self.0.write_all(b"\r\n")?;
                    self.0.write_all(visible_lines(line).as_bytes())
                })?;
            }
            Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Opens the file that the option `--name` gives to write, before the work whose result it gets. `inputs` are the files that
/// the subcommand reads.
///
/// # Errors
/// [`Error::Value`](crate::Error::Value) if the path is a folder, its parent folder does not exist, it is one of the inputs
/// (under any name), or it belongs to a run, a checkpoint or a model; those of [`AtomicFile::create`].
pub(super) fn output_file<'a>(
    name: &str,
    path: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<AtomicFile> {
    let wrong = |why: String| Err(invalid_option(name, path.display(), why));
    if path.is_dir() || path.file_name().is_none() {
        return wrong("must be the path of a file".into());
    }
    if path == Path::new("-") {
        return wrong("must be the path of a file, such as /dev/stdout; a file of this name is ./-".into());
    }
    if let (Ok(target), false) = (path.read_link(), path.exists()) {
        return wrong(format!("is a link to {}, which does not exist: must be the path of a file", target.display()));
    }
    let target = final_path(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = final_path(folder) else {
        return wrong(format!("the folder {} does not exist", folder.display()));
    };
    if !folder.is_dir() {
        return wrong(format!("{} is not a folder", path.parent().unwrap_or(path).display()));
    }
    for input in inputs {
        match same_file::is_same_file(path, input) {
            Ok(true) => return wrong(format!("is {}, which is read: must be another file", input.display())),
            // An output that cannot be told from an input is not replaced. Windows does not compare devices, such as NUL.
            Err(e) if !is_device(path) && !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return wrong(format!("could not be compared with {}, which is read: {e}", input.display()));
            }
            _ => {}
        }
    }
    if let Some(owner) = owner(&folder.join(target.file_name().unwrap_or_default())) {
        return wrong(format!("is a file of {}: must be elsewhere", owner.display()));
    }
    AtomicFile::create(path)
}

/// Writes a text into the file that [`output_file`] opened.
///
/// # Errors
/// [`Error::Io`] with the path.
pub(super) fn write_all(file: &mut dyn Write, path: &Path, text: &str) -> Result<()> {
    file.write_all(text.as_bytes()).map_err(|e| Error::io(path, e))
}

/// The run, checkpoint or model that a file belongs to.
fn owner(path: &Path) -> Option<&Path> {
    let has = |folder: &Path, names: &[&str]| names.iter().all(|name| folder.join(name).exists());
    path.ancestors().skip(1).find(|folder| {
        let name = path.strip_prefix(folder).ok().and_then(|inner| inner.components().next());
        let is_of_run = name.is_some_and(|name| OF_RUN.iter().any(|own| name.as_os_str().eq_ignore_ascii_case(own)));
        (is_of_run && has(folder, &[CONFIG, METRICS, LATEST])) || is_checkpoint(folder) || is_model(folder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let mut writer = VisibleWriter(Vec::new());
        writer.write_all("a\x1b[2J\tb\r\nc\ré\n".as_bytes()).expect("write");
        assert_eq!(String::from_utf8(writer.0).expect("UTF-8"), "a\\u{1b}[2J\tb\r\nc\\ré\n");
    }
}
