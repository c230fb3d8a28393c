//! The reservation of a path for a new folder: from the first check of a command until the folder is complete, no other
//! process of this program writes it.

use super::lock::{self, Lock};
use super::names;
use crate::error::FileFault;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The end of the name of a reservation's lock file, `.NAME.wgpt-lock` beside the folder.
const SUFFIX: &str = ".wgpt-lock";
/// Attempts to create the lock file while other processes delete the parent folders that they created for theirs.
const ATTEMPTS: usize = 8;

/// A path that is reserved for this process, until the value is dropped.
#[derive(Debug)]
pub struct Reservation {
    dir: PathBuf,
    lock_path: PathBuf,
    /// Released when the value is dropped.
    lock: Option<File>,
    /// Parent folders that were created for the lock file, the innermost first.
    created: Vec<PathBuf>,
}

impl Reservation {
    /// Reserves the path of a folder. Its parent folders are created, and deleted again if they stay empty.
    ///
    /// # Errors
    /// [`Error::File`] if the path cannot be that of a new folder, or another process has reserved it; [`Error::Io`] if the
    /// parent folder cannot be written.
    pub fn new(dir: &Path) -> Result<Self> {
        let Some(name) = dir.file_name() else {
            let found = format!("{:?} has no folder's name", dir.display().to_string());
            return Err(Error::file(dir, found).expected("must be the path of a new folder"));
        };
        names::check(dir)?;
        let mut lock_name = OsString::from(".");
        lock_name.push(name);
        lock_name.push(SUFFIX);
        let lock_path = dir.with_file_name(lock_name);
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(above) = parent.ancestors().find(|above| above.exists()).filter(|above| !above.is_dir()) {
            return Err(
                Error::file(dir, format!("{} is not a folder", above.display())).expected("must be in a folder")
            );
        }
        let (lock, created) = lock(parent, &lock_path)?;
        let mut reservation = Reservation { dir: dir.to_path_buf(), lock_path, lock: None, created };
        let in_use = |found: String, expected: String| {
            Err(Error::file(dir, found).expected(expected).with_fault(FileFault::InUse))
        };
        match lock {
            Lock::Held(file) | Lock::Unsupported { file, created: true, .. } => {
                reservation.lock = Some(file);
                remove_abandoned(parent, &reservation.lock_path);
                Ok(reservation)
            }
            Lock::Busy => {
                let found = "another process is writing this folder".to_string();
                in_use(found, "must be the path of a new folder".into())
            }
            // Without locks, the file itself is the lock.
            Lock::Unsupported { reason, .. } => {
                let lock = reservation.lock_path.display();
                let found = format!("another process may be writing this folder, as {lock} exists");
                in_use(found, format!("if none is, delete that file ({reason})"))
            }
        }
    }

    /// As [`Reservation::new`], for a path where nothing exists yet.
    ///
    /// # Errors
    /// As [`Reservation::new`], and [`Error::File`] if something exists.
    pub fn of_nothing(dir: &Path) -> Result<Self> {
        let check = || match dir.symlink_metadata() {
            Ok(_) => {
                let error = Error::file(dir, "exists already").expected("must be the path of a new folder");
                Err(error.with_fault(FileFault::Exists))
            }
            Err(_) => Ok(()),
        };
        check()?;
        let reservation = Self::new(dir)?;
        // Another process may have created the folder before it was reserved.
        check()?;
        Ok(reservation)
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Errors do no harm: the next process takes over a lock file, and an empty folder does not disturb.
        if let Some(lock) = self.lock.take() {
            let _ = std::fs::remove_file(&self.lock_path);
            drop(lock);
        }
        self.created.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// Acquires the lock file and creates its parent folders; returns those that did not exist, the innermost first.
fn lock(parent: &Path, path: &Path) -> Result<(Lock, Vec<PathBuf>)> {
    let mut attempt = 0;
    loop {
        let missing = parent.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let created: Vec<PathBuf> = missing.map(Path::to_path_buf).collect();
        let lock = std::fs::create_dir_all(parent).and_then(|()| lock::acquire(path));
        attempt += 1;
        match lock {
            Ok(lock) => return Ok((lock, created)),
            // Another process deleted a parent folder that it had created.
            Err(e) if e.kind() == ErrorKind::NotFound && attempt < ATTEMPTS => {}
            Err(e) => {
                created.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
                return Err(Error::io(parent, e));
            }
        }
    }
}

/// Deletes the lock files in a folder of processes that ended early.
fn remove_abandoned(parent: &Path, own: &Path) {
    for path in std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_lock = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX));
        if is_lock
            && path.file_name() != own.file_name()
            && let Ok(Lock::Held(_file)) = lock::acquire(&path)
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_reserved_once_and_nothing_is_left() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("runs/deep/a");
        let first = Reservation::new(&dir).expect("free");
        let error = Reservation::new(&dir).expect_err("reserved");
        assert!(error.to_string().contains("another process is writing this folder"), "{error}");
        assert!(error.is_invalid_input());
        let other = Reservation::new(&place.path().join("runs/deep/b")).expect("another name");
        drop(first);
        assert!(place.path().join("runs/deep").is_dir(), "still used by the other");
        drop(other);
        // The other one did not create the parents, and the first could not delete them.
        assert_eq!(std::fs::read_dir(place.path().join("runs/deep")).expect("folder").count(), 0);
        std::fs::write(place.path().join("runs/deep/.dead.wgpt-lock"), "").expect("write");
        let third = Reservation::new(&dir).expect("free again");
        assert!(!place.path().join("runs/deep/.dead.wgpt-lock").exists(), "abandoned");
        drop(third);
        drop(Reservation::new(&place.path().join("new/er/a")).expect("free"));
        assert!(!place.path().join("new").exists());
        assert!(Reservation::new(Path::new("..")).is_err() && Reservation::new(Path::new("")).is_err());
    }
}
