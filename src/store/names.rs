//! Names of files and folders that Windows does not allow, reads as another name, or reserves for devices.

use crate::{Error, Result};
use std::path::Path;

/// Devices, with or without an extension behind the name. `COM` and `LPT` have numbers from 1 to 9.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
const PORTS: [&str; 2] = ["COM", "LPT"];

/// Refuses a path whose last component cannot be the name of a new file or folder on this system.
///
/// # Errors
/// [`Error::File`] with the reason.
pub fn check(path: &Path) -> Result<()> {
    if path == Path::new("-") {
        return Err(Error::file(path, "stands for stdout elsewhere")
            .expected("must be the path of a folder; one of this name is ./-"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match wrong_on_windows(&name).filter(|_| cfg!(windows)) {
        Some(why) => Err(Error::file(path, why).expected("must have another name")),
        None => Ok(()),
    }
}

/// Whether a path names a device of Windows, such as `NUL`, which takes what is written and keeps nothing.
pub fn is_device(path: &Path) -> bool {
    cfg!(windows) && path.file_name().is_some_and(|name| is_device_name(&name.to_string_lossy()))
}

fn is_device_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let number = PORTS.iter().find_map(|port| stem.strip_prefix(port));
    DEVICES.contains(&stem.as_str()) || number.is_some_and(|number| matches!(number.as_bytes(), [b'1'..=b'9']))
}

/// Why a name is not one of a new file or folder on Windows.
fn wrong_on_windows(name: &str) -> Option<String> {
    if is_device_name(name) {
        return Some("Windows reserves this name for a device".into());
    }
    if name.ends_with(['.', ' ']) {
        return Some("Windows leaves out dots and blanks at the end of a name".into());
    }
    let wrong = name.chars().find(|c| c.is_control() || "<>:\"|?*".contains(*c))?;
    Some(format!("Windows allows no {wrong:?} in a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_windows_reserves_or_changes_are_known() {
        for name in ["NUL", "nul", "con.txt", "Aux.", "COM1", "lpt9.tar.gz", "nul .txt"] {
            assert!(is_device_name(name) && wrong_on_windows(name).is_some(), "{name}");
        }
        for name in ["run.", "run ", "a:b", "a?", "a\tb", "a\"b", "x|y"] {
            assert!(!is_device_name(name) && wrong_on_windows(name).is_some(), "{name}");
        }
        for name in ["run", "nano-1.5", ".hidden", "null", "console", "COM0", "COM", "COM10", "läuft gut", "a&b%c^d!"]
        {
            assert!(!is_device_name(name) && wrong_on_windows(name).is_none(), "{name}");
        }
        assert_eq!(check(Path::new("folder/nul")).is_err(), cfg!(windows));
        assert_eq!(is_device(Path::new("folder/nul")), cfg!(windows));
        assert!(check(Path::new("a/b")).is_ok() && check(Path::new("/")).is_ok());
    }
}
