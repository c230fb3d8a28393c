//! Lock files: one process at a time holds a lock, which the system releases when the process ends. On file systems without
//! locks (some NFS mounts), a file is used without a lock, and the caller gets the reason.

use super::in_use;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// The result of [`acquire`].
#[derive(Debug)]
pub enum Lock {
    /// This process has the lock, until the file is dropped.
    Held(File),
    /// This file system has no locks: any other process may hold the file too.
    Unsupported {
        /// The file.
        file: File,
        /// Whether this call created it.
        created: bool,
        /// The system's reason.
        reason: io::Error,
    },
    /// Another process has the lock.
    Busy,
}

/// Opens a file for writing, creates it if it does not exist, and locks it. Its contents stay as they are. A link is replaced
/// by a new file.
///
/// A process that holds the lock may delete or rename the file: the next one notices that its file is no longer the one of
/// this path, and creates a new one.
///
/// # Errors
/// The system's, if the file cannot be opened.
pub fn acquire(path: &Path) -> io::Result<Lock> {
    loop {
        // Windows refuses to open a file that was deleted but is still open.
        let (file, created) = in_use::retry(|| open(path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Lock::Busy),
            Err(TryLockError::Error(reason)) => return Ok(Lock::Unsupported { file, created, reason }),
            Ok(()) if is_at(&file, path) => return Ok(Lock::Held(file)),
            Ok(()) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<(File, bool)> {
    // A link of this name is none of ours, and what it leads to must not be written.
    if path.is_symlink() {
        std::fs::remove_file(path)?;
    }
    match File::create_new(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            Ok((file, false))
        }
        file => Ok((file?, true)),
    }
}

/// Whether a path still names this file.
fn is_at(file: &File, path: &Path) -> bool {
    let opened = file.try_clone().and_then(same_file::Handle::from_file);
    opened.is_ok_and(|opened| same_file::Handle::from_path(path).is_ok_and(|found| found == opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_follows_the_path() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lock");
        let Lock::Held(first) = acquire(&path).expect("open") else { panic!("not held") };
        assert!(matches!(acquire(&path).expect("open"), Lock::Busy));
        // Deleted by its holder: the path is free, although the old file is still locked.
        std::fs::remove_file(&path).expect("remove");
        let Lock::Held(second) = acquire(&path).expect("open") else { panic!("not held") };
        assert!(is_at(&second, &path) && !is_at(&first, &path));
        drop((first, second));
        assert!(matches!(acquire(&path).expect("open"), Lock::Held(_)));
    }
}
