//! Folders in which entries of the token cache are written. One is deleted when its value is dropped, or, if its process is
//! killed, by the next process that writes an entry.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The extension of the lock file beside a work folder: while the lock is held, no other process deletes the folder.
const LOCK: &str = "lock";
/// The beginnings of the names of work folders in the cache, and in the system's temporary folder.
const IN_CACHE: &str = "partial-";
const TEMPORARY: &str = "wgpt-tokens-";

/// A folder in which an entry is written.
#[derive(Debug)]
pub(super) struct WorkFolder {
    path: PathBuf,
    lock: Option<File>,
    /// Parent folders that were created for it, the innermost first.
    created: Vec<PathBuf>,
    is_temporary: bool,
}

impl WorkFolder {
    /// A work folder in the folder of a cache, which is created if it does not exist.
    ///
    /// # Errors
    /// The system's, if it cannot be written.
    pub fn in_cache(folder: &Path) -> io::Result<Self> {
        let missing = folder.ancestors().take_while(|folder| !folder.exists());
        let created = missing.map(Path::to_path_buf).collect();
        std::fs::create_dir_all(folder)?;
        let work_folder = WorkFolder { path: PathBuf::new(), lock: None, created, is_temporary: false };
        let locked = work_folder.locked(folder, IN_CACHE)?;
        std::fs::create_dir(&locked.path)?;
        Ok(locked)
    }

    /// A work folder in the system's temporary folder, for this user alone.
    ///
    /// # Errors
    /// The system's, if it cannot be written.
    pub fn temporary() -> io::Result<Self> {
        Self::temporary_in(&std::env::temp_dir())
    }

    fn temporary_in(folder: &Path) -> io::Result<Self> {
        let work_folder = WorkFolder { path: PathBuf::new(), lock: None, created: Vec::new(), is_temporary: true };
        let locked = work_folder.locked(folder, TEMPORARY)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let name = locked.path.file_name().unwrap_or_default();
        let _ = builder.prefix(name).rand_bytes(0).tempdir_in(folder)?.keep();
        Ok(locked)
    }

    /// Chooses the name and locks it, after the folders of processes that were killed are deleted.
    fn locked(mut self, folder: &Path, prefix: &str) -> io::Result<Self> {
        remove_abandoned(folder, prefix);
        let suffix = format!(".{LOCK}");
        let (file, path) = tempfile::Builder::new().prefix(prefix).suffix(&suffix).tempfile_in(folder)?.keep()?;
        // On a file system without locks, no process finds the folder abandoned: it cannot lock the file either.
        let _ = file.lock();
        (self.path, self.lock) = (path.with_extension(""), Some(file));
        Ok(self)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is in the system's temporary folder.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// The parent folders that were created are not deleted: the entry is in them now.
    pub fn keep_parents(&mut self) {
        self.created.clear();
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        // Errors do no harm: the next process deletes abandoned folders, and an empty folder does not disturb.
        if self.lock.is_some() {
            let _ = std::fs::remove_dir_all(&self.path);
            let _ = std::fs::remove_file(self.path.with_extension(LOCK));
        }
        self.lock = None;
        self.created.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    }
}

/// Deletes the work folders of processes that ended while they wrote: their locks are free.
fn remove_abandoned(folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_lock = path.extension().is_some_and(|extension| extension == LOCK)
            && entry.file_name().to_string_lossy().starts_with(prefix)
            // In a folder of all users, a link or a pipe may have such a name.
            && entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_lock
            // For writing, because file locks on NFS need it.
            && let Ok(file) = File::options().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(path.with_extension(""));
            let _ = std::fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_of_a_killed_process_is_deleted_by_the_next() {
        let place = tempfile::tempdir().expect("folder");
        let names = || {
            let all = std::fs::read_dir(place.path()).expect("folder").map(|entry| entry.expect("entry").file_name());
            all.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        std::fs::create_dir(place.path().join("wgpt-tokens-dead")).expect("folder");
        std::fs::write(place.path().join("wgpt-tokens-dead/ids"), "x").expect("write");
        std::fs::write(place.path().join("wgpt-tokens-dead.lock"), "").expect("write");
        std::fs::write(place.path().join("others.lock"), "").expect("write");
        let first = WorkFolder::temporary_in(place.path()).expect("folder");
        let second = WorkFolder::temporary_in(place.path()).expect("folder");
        assert!(first.path().is_dir() && second.path().is_dir() && first.is_temporary());
        assert_eq!(names().len(), 5, "both with their locks, and the file of another program: {:?}", names());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = first.path().metadata().expect("folder").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{mode:o}");
        }
        drop((first, second));
        assert_eq!(names(), ["others.lock"]);
    }
}
