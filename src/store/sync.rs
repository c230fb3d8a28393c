//! Syncing files and folders. Some file systems cannot sync folders or even files (CIFS, FUSE, shared folders of virtual
//! machines). There, nothing is synced, and [`weakness`] says what that means.

use crate::{Error, Result};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Syncs a file that is open for writing. Devices and pipes, and file systems that cannot sync, are left as they are.
///
/// # Errors
/// The system's, if the file could not be synced, as on a full or broken disk.
pub fn sync_file(file: &File) -> io::Result<()> {
    unless_unsupported(file.sync_all())
}

/// Syncs a folder's list of names, on systems and file systems that sync folders.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn sync_folder(folder: &Path) -> Result<()> {
    unless_unsupported(try_sync_folder(folder)).map_err(|e| Error::io(named(folder), e))
}

/// What a file system that cannot sync folders means for the files in `folder`; `None` if it syncs them.
pub fn weakness(folder: &Path) -> Option<String> {
    let unsupported = |result: io::Result<()>| result.err().filter(is_unsupported);
    let (what, error) = unsupported(try_sync_file_in(folder))
        .map(|error| ("files", error))
        .or_else(|| unsupported(try_sync_folder(folder)).map(|error| ("folders", error)))?;
    Some(format!(
        "{}: this file system cannot sync {what} ({error}); after a power failure, the latest checkpoint may be {}",
        named(folder).display(),
        if what == "files" { "missing or damaged" } else { "missing" }
    ))
}

/// Syncs a file of a folder, if there is one.
fn try_sync_file_in(folder: &Path) -> io::Result<()> {
    let is_file = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
    let file = std::fs::read_dir(folder)?.filter_map(io::Result::ok).find(is_file);
    file.map_or(Ok(()), |entry| if cfg!(unix) { File::open(entry.path())?.sync_all() } else { Ok(()) })
}

/// The path that messages have for a folder: the name of the current folder says more than `.`.
fn named(folder: &Path) -> PathBuf {
    if folder == Path::new(".") { std::env::current_dir().unwrap_or_else(|_| folder.into()) } else { folder.into() }
}

fn try_sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn unless_unsupported(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if is_unsupported(&e) { Ok(()) } else { Err(e) })
}

/// Whether an error of opening or syncing means that this cannot be done here, rather than that it failed: EINVAL, ENOSYS,
/// EOPNOTSUPP, EBADF of file systems that sync only what is open for writing, or a folder that may be written but not opened
/// for reading.
fn is_unsupported(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied)
        || cfg!(unix) && error.raw_os_error() == Some(EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_mean_unsupported_are_ignored() {
        let of = |kind: ErrorKind| unless_unsupported(Err(kind.into())).is_ok();
        assert!(of(ErrorKind::InvalidInput) && of(ErrorKind::Unsupported));
        assert_eq!(unless_unsupported(Err(io::Error::from_raw_os_error(9))).is_ok(), cfg!(unix));
        assert!(!of(ErrorKind::StorageFull) && !of(ErrorKind::NotFound) && !of(ErrorKind::Other));
        let folder = tempfile::tempdir().expect("folder");
        sync_folder(folder.path()).expect("synced");
        assert!(weakness(folder.path()).is_none());
        assert!(sync_folder(&folder.path().join("none")).is_err());
        assert!(named(Path::new(".")).is_absolute() && named(Path::new("a")) == Path::new("a"));
    }
}
