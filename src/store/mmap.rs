//! Files as memory: the one file with `unsafe` outside gpu/.
//!
//! Reason: a model of half a gigabyte is looked at in place, and each tensor is copied once, to where it stays; ids of a
//! large text are more than memory holds. A map is sound as long as nobody shortens the file while it is open; every
//! writer of ours puts a new file in the old one's place and never writes into it.
#![allow(unsafe_code)]

use crate::{Error, Result};
use bytemuck::AnyBitPattern;
use std::marker::PhantomData;
use std::path::Path;

/// Maps a whole file for reading.
///
/// # Errors
/// [`Error::File`] with the path for what is missing, a folder, or cannot be read.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("could not be read: {e}"));
    if path.is_dir() {
        return Err(Error::file(path, "is a folder: must be a file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // SAFETY: the file is opened for reading alone, and nothing of ours changes a file in place (see the head).
    unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)
}

/// A mapped file of nothing but numbers, in the order of bytes of this machine.
#[derive(Debug)]
pub struct Numbers<T> {
    map: memmap2::Mmap,
    kind: PhantomData<T>,
}

impl<T: AnyBitPattern> Numbers<T> {
    /// Maps a file of `count` numbers.
    ///
    /// # Errors
    /// As [`map`]; [`Error::File`] when the file has another length.
    pub fn open(path: &Path, count: u64) -> Result<Self> {
        let map = map(path)?;
        match bytemuck::try_cast_slice::<u8, T>(&map) {
            Ok(numbers) if numbers.len() as u64 == count => Ok(Numbers { map, kind: PhantomData }),
            _ => {
                let bytes = count * size_of::<T>() as u64;
                Err(Error::file(path, format!("has {} bytes: must have {bytes}", map.len())))
            }
        }
    }
}

impl<T: AnyBitPattern> AsRef<[T]> for Numbers<T> {
    fn as_ref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("numbers");
        std::fs::write(&path, [1u8, 0, 0, 0, 2, 1, 0, 0]).expect("write");
        assert_eq!(Numbers::<u32>::open(&path, 2).expect("two").as_ref(), [1, 258]);
        let error = Numbers::<u32>::open(&path, 3).expect_err("three").to_string();
        assert!(error.ends_with("numbers: has 8 bytes: must have 12"), "{error}");
        std::fs::write(&path, [0u8; 7]).expect("write");
        assert!(Numbers::<u32>::open(&path, 1).is_err());
        std::fs::write(&path, []).expect("write");
        assert_eq!(Numbers::<u64>::open(&path, 0).expect("none").as_ref(), [0u64; 0]);
    }
}
