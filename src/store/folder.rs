//! A checkpoint's folder as it is written, and files and folders that appear whole or not at all.
//! How it is read is [`super::model_folder`].

use super::{config_json, safetensors};
use crate::config::ModelConfig;
use crate::data::tokenizer::Tokenizer;
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The weights' file in a checkpoint's folder.
pub const MODEL: &str = "model.safetensors";
/// The model's numbers.
pub const CONFIG: &str = "config.json";
/// The tokenizer.
pub const TOKENIZER: &str = crate::data::tokenizer::FILE;
/// What transformers wants to know of the tokenizer.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// A model and its tokenizer, as a folder holds them.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model's numbers.
    pub config: ModelConfig,
    /// Dense weights in the order of [`ModelConfig::parameters`].
    pub parameters: Vec<Vec<f32>>,
    /// The tokenizer, where the folder has one.
    pub tokenizer: Option<Tokenizer>,
}

impl Checkpoint {
    /// Writes a new folder, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] when `dir` exists and is not empty; [`Error::Io`] when it cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_folder(dir, Existing::Refuse, |folder| self.write_files(folder))
    }

    /// Writes the checkpoint's files into a folder that exists: what [`write_folder`] is to be given where more files
    /// lie beside them.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        safetensors::save_parameters(&folder.join(MODEL), &self.config, &self.parameters)?;
        write_file(&folder.join(CONFIG), config_json::to_json(&self.config).as_bytes())?;
        match &self.tokenizer {
            Some(tokenizer) => write_tokenizer(folder, tokenizer, Some(self.config.n_positions)),
            None => Ok(()),
        }
    }
}

/// Writes a tokenizer's two files into a folder that exists; `n_positions` are those of its model, where it has one.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written.
pub fn write_tokenizer(folder: &Path, tokenizer: &Tokenizer, n_positions: Option<usize>) -> Result<()> {
    write_file(&folder.join(TOKENIZER), tokenizer.to_json()?.as_bytes())?;
    write_file(&folder.join(TOKENIZER_CONFIG), tokenizer.tokenizer_config_json(n_positions).as_bytes())
}

/// What [`write_folder`] does with a folder that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// An error, unless it is empty.
    Refuse,
    /// The new one takes its place, and all that was in it is gone.
    Replace,
}

/// Makes a folder that appears whole or not at all: `fill` writes into a sibling, which is put on the disk and then
/// renamed. (Where a folder is replaced, the old one is renamed first: between two renames there may be neither.)
///
/// # Errors
/// [`Error::File`] for an existing folder that is to be refused, [`Error::Io`] for what the system says, and whatever
/// `fill` says; the sibling is then gone.
pub fn write_folder(dir: &Path, existing: Existing, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dir.exists() && existing == Existing::Refuse && !is_empty_folder(dir) {
        return Err(Error::file(dir, "exists already: must be a new folder"));
    }
    let (partial, old) = (sibling(dir, "partial")?, sibling(dir, "old")?);
    if let Some(parent) = parent(dir) {
        std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
    }
    // What a process left that ended in the middle of this.
    remove_if_there(&partial)?;
    remove_if_there(&old)?;
    std::fs::create_dir(&partial).map_err(|e| Error::io(&partial, e))?;
    let put_in_place = || -> Result<()> {
        fill(&partial)?;
        sync_files(&partial)?;
        if is_empty_folder(dir) {
            std::fs::remove_dir(dir).map_err(|e| Error::io(dir, e))?;
        } else if dir.exists() {
            std::fs::rename(dir, &old).map_err(|e| Error::io(dir, e))?;
        }
        std::fs::rename(&partial, dir).map_err(|e| Error::io(dir, e))?;
        sync_folder(parent(dir).unwrap_or(Path::new(".")))
    };
    let done = put_in_place();
    if done.is_err() {
        // The first error is the one to tell; what is left goes with the next attempt.
        let _ = remove_if_there(&partial);
        return done;
    }
    remove_if_there(&old)
}

/// Takes a folder away: gone under its name at once, and never there by half.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn remove_folder(dir: &Path) -> Result<()> {
    let old = sibling(dir, "old")?;
    remove_if_there(&old)?;
    std::fs::rename(dir, &old).map_err(|e| Error::io(dir, e))?;
    remove_if_there(&old)
}

/// Clears away what a process left in a folder of [`write_folder`]'s and [`remove_folder`]'s that ended in the middle of
/// one: their hidden siblings.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn sweep(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') && (name.ends_with(".partial") || name.ends_with(".old")) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Writes a file that is whole or as it was before: into a sibling, on the disk, then renamed.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, e)))
}

/// [`write_atomic`] of what `fill` writes, piece by piece.
///
/// # Errors
/// [`Error::Io`] with the path, and whatever `fill` says; the sibling is then gone.
pub fn write_atomic_with<T>(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
    let failed = |e| Error::io(path, e);
    let partial = sibling(path, "partial")?;
    let mut file = BufWriter::new(File::create(&partial).map_err(failed)?);
    let put_in_place = || -> Result<T> {
        let filled = fill(&mut file)?;
        file.into_inner().map_err(|e| failed(e.into_error()))?.sync_all().map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)?;
        sync_folder(parent(path).unwrap_or(Path::new(".")))?;
        Ok(filled)
    };
    let done = put_in_place();
    if done.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::file(path, format!("could not be read: {e}")))
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io(path, e))
}

fn parent(path: &Path) -> Option<&Path> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty())
}

/// `.NAME.what` beside `path`: on the same disk, so that a rename is one step, and hidden.
fn sibling(path: &Path, what: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::file(path, "has no name of its own: must end in a file's or folder's name"));
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(what);
    Ok(path.with_file_name(hidden))
}

fn is_empty_folder(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn remove_if_there(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, e)),
        _ => Ok(()),
    }
}

/// Puts a folder's files, its folders and itself on the disk.
fn sync_files(folder: &Path) -> Result<()> {
    let failed = |e| Error::io(folder, e);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            sync_files(&path)?;
        } else {
            // Windows syncs only what is open for writing.
            let file = File::options().append(true).open(&path);
            file.and_then(|file| file.sync_all()).map_err(|e| Error::io(&path, e))?;
        }
    }
    sync_folder(folder)
}

/// Puts a folder's list of names on the disk, where the system can do so for a folder.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(folder, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::Pretokenizer;
    use crate::store::safetensors::tests::small;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_checkpoint_goes_out_and_in() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("runs/model");
        let (mut config, _) = small();
        config.vocab_size = 260;
        let parameters: Vec<Vec<f32>> = config.parameters().iter().map(|p| vec![0.125; p.count()]).collect();
        let tokenizer = Tokenizer::train("the cat and the hat", 260, Pretokenizer::Bytes).expect("train");
        let saved = Checkpoint { config, parameters, tokenizer: Some(tokenizer) };
        saved.save(&dir).expect("save");
        assert_eq!(names(&dir), [CONFIG, MODEL, TOKENIZER, TOKENIZER_CONFIG]);
        assert_eq!(names(&folder.path().join("runs")), ["model"], "no sibling stays");
        let (loaded, warnings) = Checkpoint::load(&dir).expect("load");
        assert_eq!(
            (loaded.config, loaded.parameters, warnings),
            (saved.config.clone(), saved.parameters.clone(), vec![])
        );
        let json = |t: Option<Tokenizer>| t.expect("tokenizer").to_json().expect("json");
        assert_eq!(json(loaded.tokenizer), json(saved.tokenizer.clone()));
        assert!(saved.save(&dir).expect_err("exists").to_string().ends_with("exists already: must be a new folder"));
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("folder");
        let dir = folder.path().join("step-000300");
        let fails = |existing| {
            let error = write_folder(&dir, existing, |partial| {
                std::fs::write(partial.join("half"), "half").expect("write");
                Err(Error::input("full disk"))
            });
            assert_eq!(error.expect_err("fails").to_string(), "full disk");
        };
        fails(Existing::Refuse);
        assert_eq!(names(folder.path()), [""; 0], "nothing stays of a failure");

        // A process that died: its sibling is in nobody's way.
        std::fs::create_dir(folder.path().join(".step-000300.partial")).expect("folder");
        std::fs::write(folder.path().join(".step-000300.partial/stale"), "").expect("write");
        std::fs::create_dir(&dir).expect("an empty folder may stand there");
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
        sweep(folder.path()).expect("sweep");
        assert_eq!(names(folder.path()), [".hidden", "step-000300", "step-000400.old"]);
        remove_folder(&folder.path().join("step-000400.old")).expect("remove");
        remove_folder(&folder.path().join(".hidden")).expect("remove");
        assert_eq!(names(folder.path()), ["step-000300"]);
        assert!(write_folder(Path::new("/"), Existing::Replace, fill("root")).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("latest");
        write_atomic(&path, b"step-000100").expect("write");
        write_atomic(&path, b"step-000200").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"step-000200");
        assert_eq!(names(folder.path()), ["latest"]);
        let fails = write_atomic_with(&path, |file| {
            file.write_all(b"half").expect("write");
            Err::<(), Error>(Error::input("the other half is missing"))
        });
        assert_eq!(fails.expect_err("half").to_string(), "the other half is missing");
        assert_eq!(std::fs::read(&path).expect("read"), b"step-000200");
        assert_eq!(names(folder.path()), ["latest"]);
        let error = write_atomic(&folder.path().join("none/file"), b"").expect_err("no folder");
        assert!(matches!(error, Error::Io { .. }) && !error.is_invalid_input());
    }
}
