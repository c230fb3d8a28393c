//! Lines on stderr, and checks of files that a subcommand writes.

use super::arguments::invalid_option;
use crate::Result;
use crate::terminal::visible_lines;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a line on stderr, with escapes for control characters. A stderr that is closed is no error.
pub(super) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", visible_lines(&line.to_string()));
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
