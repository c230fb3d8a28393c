//! New folders that would be inside of a run or a checkpoint: the run would delete them with its old checkpoints, or a reader
//! would take them for its files.

use super::checksums::STATE;
use super::model_folder::{CHECKPOINTS, LATEST};
use crate::data::read_file::final_path;
use crate::{Error, Result};
use std::path::Path;

/// Checks that a new folder is not inside of a run or a checkpoint, under any name.
///
/// # Errors
/// [`Error::File`] with the path and the run.
pub fn refuse(path: &Path) -> Result<()> {
    let path_from_root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let existing = path_from_root.ancestors().skip(1).find(|folder| folder.exists());
    let Some(parent) = existing.and_then(|folder| final_path(folder).ok()) else { return Ok(()) };
    let is_run = |folder: &Path| folder.join(LATEST).is_file() && folder.join(CHECKPOINTS).is_dir();
    match parent.ancestors().find(|folder| is_run(folder) || folder.join(STATE).is_file()) {
        None => Ok(()),
        Some(owner) => {
            let kind = if is_run(owner) { "run" } else { "checkpoint" };
            Err(Error::file(path, format!("is inside of the {kind} {}", owner.display())).expected("must be elsewhere"))
        }
    }
}
