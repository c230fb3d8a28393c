//! Which folders are runs, checkpoints and models, so that no output gets into them: a run would delete it with its old
//! checkpoints, or a reader would take it for a file of theirs.

use super::checksums::STATE;
use super::model_folder::{CHECKPOINTS, CONFIG, INDEX, LATEST, MODEL};
use crate::data::read_file::final_path;
use crate::{Error, Result};
use std::path::Path;

/// Checks that a new folder is not inside of a run or a checkpoint, under any name.
///
/// # Errors
/// [`Error::File`] with the path and the run.
pub fn refuse_inside(path: &Path) -> Result<()> {
    let path_from_root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = path_from_root.ancestors().skip(1).find(|folder| folder.exists());
    let Some(parent) = existing.and_then(|folder| final_path(folder).ok()) else { return Ok(()) };
    let is_run = |folder: &Path| folder.join(LATEST).is_file() && folder.join(CHECKPOINTS).is_dir();
    match parent.ancestors().find(|folder| is_run(folder) || is_checkpoint(folder)) {
        None => Ok(()),
        Some(owner) => {
            let kind = if is_run(owner) { "run" } else { "checkpoint" };
            Err(Error::file(path, format!("is inside of the {kind} {}", owner.display())).expected("must be elsewhere"))
        }
    }
}

fn has_weights(folder: &Path) -> bool {
    folder.join(MODEL).is_file() || folder.join(INDEX).is_file()
}

/// Whether a folder is a checkpoint of a run. Other programs have files named state.json too.
pub fn is_checkpoint(folder: &Path) -> bool {
    folder.join(STATE).is_file() && has_weights(folder)
}

/// Whether a folder is a model. Other programs have files named config.json too.
pub fn is_model(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() && has_weights(folder)
}
