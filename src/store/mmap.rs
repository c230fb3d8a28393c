//! Files as memory: the one file with `unsafe` outside gpu/.
//!
//! Reason: a model of half a gigabyte is looked at in place, and each tensor is copied once, to where it stays. A map is
//! sound as long as nobody shortens the file while it is open; every writer of ours puts a new file in the old one's
//! place and never writes into it, and a map lives only while a file is being loaded.
#![allow(unsafe_code)]

use crate::{Error, Result};
use std::path::Path;

/// Maps a whole file for reading.
///
/// # Errors
/// [`Error::Input`] with the path for what is missing, a folder, or cannot be read.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("could not be read: {e}"));
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: must be a file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // SAFETY: the file is opened for reading alone, and nothing of ours changes a file in place (see the head).
    unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)
}
