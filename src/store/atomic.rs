//! Files and folders that are written completely or not at all: a hidden sibling is written, synced and renamed.

use super::in_use;
use super::lock::{self, Lock};
use super::names;
use super::reservation::Reservation;
use super::sync::{sync_file, sync_folder};
use crate::data::read_file::final_path;
use crate::error::FileFault;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What [`write_folder`] does when the folder already exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Returns an error, unless the folder is empty.
    Refuse,
    /// Replaces the folder and deletes its old contents.
    Replace,
}

/// Writes a folder completely or not at all: `fill` writes into a hidden sibling, which is synced and then renamed. A path
/// that must be new is reserved meanwhile.
///
/// Replacing takes two renames: the old folder is moved aside first. If the process ends between them, neither folder has
/// the name. If the second one fails, the old folder gets its name back. Only one process at a time may replace a folder.
///
/// # Errors
/// [`Error::File`] if [`Existing::Refuse`] is given and the folder exists or another process writes it, [`Error::Io`], and
/// the errors of `fill`; the sibling is deleted in each case.
pub fn write_folder(dir: &Path, existing: Existing, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    match existing {
        Existing::Refuse => write_reserved(&Reservation::new(dir)?, fill),
        Existing::Replace => {
            if let Some(parent) = parent(dir) {
                std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
            }
            write_over(dir, fill)
        }
    }
}

/// As [`write_folder`], for a new folder whose path is reserved.
///
/// # Errors
/// As [`write_folder`].
pub fn write_reserved(reservation: &Reservation, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let dir = reservation.path();
    if dir.symlink_metadata().is_ok() && !is_empty_folder(dir) {
        let error = Error::file(dir, "already exists").expected("must be a new or empty folder");
        return Err(error.with_fault(FileFault::Exists));
    }
    write_over(dir, fill)
}

fn write_over(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (partial, old) = (sibling(dir, "partial")?, sibling(dir, "old")?);
    // Left by a process that ended before its renames.
    remove_if_present(&partial)?;
    remove_if_present(&old)?;
    std::fs::create_dir(&partial).map_err(|e| Error::io(&partial, e))?;
    let write_and_rename = || -> Result<()> {
        fill(&partial)?;
        sync_all(&partial)?;
        let moved = dir.exists() && !is_empty_folder(dir);
        if moved {
            rename(dir, &old, dir)?;
        } else if dir.exists() {
            std::fs::remove_dir(dir).map_err(|e| Error::io(dir, e))?;
        }
        if let Err(error) = rename(&partial, dir, dir) {
            if moved {
                let _ = rename(&old, dir, dir);
            }
            return Err(error);
        }
        sync_folder(parent(dir).unwrap_or(Path::new(".")))
    };
    let result = write_and_rename();
    if result.is_err() {
        // Only the first error is returned. The next attempt deletes what could not be deleted here.
        let _ = remove_if_present(&partial);
        return result;
    }
    // The folder is complete. What another program has open of the old one is deleted by the next call.
    let _ = remove_if_present(&old);
    Ok(())
}

/// Deletes a folder. It is renamed first, so that a partly deleted folder never has its name.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn remove_folder(dir: &Path) -> Result<()> {
    let old = sibling(dir, "old")?;
    remove_if_present(&old)?;
    rename(dir, &old, dir)?;
    remove_if_present(&old)
}

/// Deletes the hidden siblings that [`write_folder`] and [`remove_folder`] leave in `folder` when their process ends early, or
/// when another program has one of their files open. All of them are tried.
///
/// # Errors
/// [`Error::Io`] with the path of the first one that could not be deleted.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let mut result = Ok(());
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') && (name.ends_with(".partial") || name.ends_with(".old")) {
            result = result.and(remove_if_present(&path));
        }
    }
    result
}

/// Deletes the hidden sibling that [`write_atomic`] leaves when its process ends early.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn remove_partial(path: &Path) -> Result<()> {
    let partial = sibling(path, "partial")?;
    match std::fs::remove_file(&partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&partial, e)),
        _ => Ok(()),
    }
}

/// Writes a file completely or leaves it as it was: a hidden sibling is written, synced and renamed.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, e)))
}

/// As [`write_atomic`], with the contents that `fill` writes; returns the value that `fill` returns.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::write`].
pub fn write_atomic_with<T>(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    AtomicFile::create(path)?.write(fill)
}

/// A file that is going to be written completely, or stays as it was: a hidden sibling is created at once, so that a file
/// that cannot be written is known before the work that makes its contents. The file that a link names is replaced, not the
/// link. A device or a pipe is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// The path that is replaced, behind all links.
    target: PathBuf,
    /// The sibling, which is deleted when the value is dropped; `None` for a device.
    partial: Option<PathBuf>,
    /// The sibling or the device.
    file: File,
}

impl AtomicFile {
    /// Creates the sibling, and locks it until the file is written.
    ///
    /// # Errors
    /// [`Error::File`] while another process writes the same file, and for a file that this system cannot replace;
    /// [`Error::Io`] with the path.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = |e| Error::io(path, e);
        let own = path.to_path_buf();
        let existing = path.metadata().ok();
        if names::is_device(path) || existing.as_ref().is_some_and(|e| !e.is_file() && !e.is_dir()) {
            let file = File::options().write(true).open(path).map_err(failed)?;
            return Ok(AtomicFile { target: own.clone(), path: own, partial: None, file });
        }
        let target = if path.is_symlink() { final_path(path).map_err(failed)? } else { own.clone() };
        names::check(&target)?;
        if cfg!(windows) && existing.is_some_and(|existing| existing.permissions().readonly()) {
            return Err(Error::file(path, "is read-only").expected("must be another file, or one that can be written"));
        }
        let partial = sibling(&target, "partial")?;
        let file = match lock::acquire(&partial).map_err(failed)? {
            Lock::Held(file) | Lock::Unsupported { file, .. } => file,
            Lock::Busy => {
                let error = Error::file(path, "another process is writing this file").expected("must be another file");
                return Err(error.with_fault(FileFault::InUse));
            }
        };
        Ok(AtomicFile { path: own, target, partial: Some(partial), file })
    }

    /// Writes the contents and replaces the file; returns the value that `fill` returns.
    ///
    /// # Errors
    /// [`Error::Io`] with the path, and the errors of `fill`; the file is then as it was.
    pub fn write<T>(mut self, fill: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        let failed = |e| Error::io(&self.path, e);
        if self.partial.is_some() {
            // Left by a process that ended while it wrote.
            self.file.set_len(0).map_err(failed)?;
        }
        let mut writer = BufWriter::new(&self.file);
        let filled = fill(&mut writer)?;
        writer.into_inner().map_err(|e| failed(e.into_error()))?;
        if let Some(partial) = &self.partial {
            sync_file(&self.file).map_err(failed)?;
            rename(partial, &self.target, &self.path)?;
            // From now on, another process may have a sibling of this name.
            self.partial = None;
            sync_folder(parent(&self.target).unwrap_or(Path::new(".")))?;
        }
        Ok(filled)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = std::fs::remove_file(partial);
        }
    }
}

/// Writes and syncs a file in place.
///
/// # Errors
/// [`Error::Io`] with the path.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        sync_file(&file)
    };
    write().map_err(|e| Error::io(path, e))
}

/// Renames a folder or file; an error has the path `named`.
fn rename(from: &Path, to: &Path, named: &Path) -> Result<()> {
    in_use::retry(|| std::fs::rename(from, to)).map_err(|e| Error::io(named, e))
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// The hidden path `.NAME.suffix` beside `path`, on the same file system, so that a rename is atomic.
fn sibling(path: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(
            Error::file(path, "the path has no last component").expected("must end in the name of a file or folder")
        );
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    Ok(path.with_file_name(hidden))
}

fn is_empty_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn remove_if_present(folder: &Path) -> Result<()> {
    match in_use::retry(|| std::fs::remove_dir_all(folder)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        _ => Ok(()),
    }
}

/// Syncs every file and folder below a folder, and the folder itself.
fn sync_all(folder: &Path) -> Result<()> {
    let failed = |e| Error::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            // Windows syncs only files that are open for writing.
            let file = File::options().append(true).open(&path);
            file.and_then(|file| sync_file(&file)).map_err(|e| Error::io(&path, e))?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn folders_are_written_completely_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("step-000300");
        let fails = |existing| {
            let error = write_folder(&dir, existing, |partial| {
                std::fs::write(partial.join("half"), "half").expect("write");
                Err(Error::rejected("a", "full disk"))
            });
            assert_eq!(error.expect_err("fails").to_string(), "device: a: full disk");
        };
        fails(Existing::Refuse);
        assert_eq!(names(folder.path()), [""; 0], "a failure leaves nothing");

        // The sibling of a process that died does not disturb.
        std::fs::create_dir(folder.path().join(".step-000300.partial")).expect("folder");
        std::fs::write(folder.path().join(".step-000300.partial/stale"), "").expect("write");
        std::fs::create_dir(&dir).expect("an empty folder is accepted");
        let fill = |text: &'static str| {
            move |partial: &Path| {
                std::fs::create_dir(partial.join("inner")).expect("folder");
                write_file(&partial.join("inner/file"), text.as_bytes())
            }
        };
        write_folder(&dir, Existing::Refuse, fill("first")).expect("write");
        assert_eq!((names(folder.path()), names(&dir)), (vec!["step-000300".into()], vec!["inner".to_string()]));
        assert!(write_folder(&dir, Existing::Refuse, fill("second")).is_err());
        fails(Existing::Replace);
        assert_eq!(std::fs::read(dir.join("inner/file")).expect("read"), b"first");
        write_folder(&dir, Existing::Replace, fill("second")).expect("write");
        assert_eq!(std::fs::read(dir.join("inner/file")).expect("read"), b"second");
        let left = [".step-000100.old", ".step-000200.partial", "step-000400.old", ".hidden"];
        left.iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).expect("folder"));
        remove_leftovers(folder.path()).expect("remove");
        assert_eq!(names(folder.path()), [".hidden", "step-000300", "step-000400.old"]);
        remove_folder(&folder.path().join("step-000400.old")).expect("remove");
        remove_folder(&folder.path().join(".hidden")).expect("remove");
        assert_eq!(names(folder.path()), ["step-000300"]);
        assert!(write_folder(Path::new("/"), Existing::Replace, fill("root")).is_err());
    }

    #[test]
    fn files_are_replaced_completely_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("latest");
        write_atomic(&path, b"step-000100").expect("write");
        write_atomic(&path, b"step-000200").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"step-000200");
        assert_eq!(names(folder.path()), ["latest"]);
        let fails = write_atomic_with(&path, |file| {
            file.write_all(b"half").expect("write");
            Err::<(), Error>(Error::rejected("a", "half written"))
        });
        assert_eq!(fails.expect_err("half").to_string(), "device: a: half written");
        assert_eq!(std::fs::read(&path).expect("read"), b"step-000200");
        assert_eq!(names(folder.path()), ["latest"]);
        let error = write_atomic(&folder.path().join("none/file"), b"").expect_err("no folder");
        assert!(matches!(error, Error::Io { .. }) && !error.is_invalid_input());
    }
}
