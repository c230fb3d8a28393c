//! Memory-mapped files: the only file with `unsafe` outside of gpu/.
//!
//! Weights are checked in the mapped file and copied once; the token ids of a large text do not fit in memory.
#![allow(unsafe_code)]

use crate::{Error, Result};
use bytemuck::AnyBitPattern;
use std::marker::PhantomData;
use std::path::Path;

/// Maps a whole file for reading.
///
/// # Errors
/// [`Error::File`] with the path if the file is missing, is a folder, or cannot be read.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    let unreadable = |e: std::io::Error| Error::file(path, format!("could not be read: {e}"));
    if path.is_dir() {
        return Err(Error::file(path, "is a folder").expected("must be a file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // SAFETY: the map is read-only, and no code of this crate changes or shortens an existing file of these kinds: a new
    // version is a new file, renamed over the old one (`store::atomic`, `store::token_cache`), and the map keeps the old
    // one. It would be undefined behavior if another program wrote into the file or shortened it while it is mapped.
    unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)
}

/// A mapped file that is an array of numbers in this machine's byte order.
#[derive(Debug)]
pub struct Numbers<T> {
    map: memmap2::Mmap,
    element: PhantomData<T>,
}

impl<T: AnyBitPattern> Numbers<T> {
    /// Maps a file of `count` numbers.
    ///
    /// # Errors
    /// As [`map`], and [`Error::File`] if the file has another length.
    pub fn open(path: &Path, count: u64) -> Result<Self> {
        let map = map(path)?;
        match bytemuck::try_cast_slice::<u8, T>(&map) {
            Ok(numbers) if numbers.len() as u64 == count => Ok(Numbers { map, element: PhantomData }),
            _ => {
                let bytes = count * size_of::<T>() as u64;
                Err(Error::file(path, format!("{} bytes", map.len())).expected(format!("must be {bytes}")))
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
    fn a_mapped_file_has_the_numbers_of_the_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("numbers");
        std::fs::write(&path, [1u8, 0, 0, 0, 2, 1, 0, 0]).expect("write");
        assert_eq!(Numbers::<u32>::open(&path, 2).expect("two").as_ref(), [1, 258]);
        let error = Numbers::<u32>::open(&path, 3).expect_err("three").to_string();
        assert!(error.ends_with("numbers: 8 bytes: must be 12"), "{error}");
        std::fs::write(&path, [0u8; 7]).expect("write");
        assert!(Numbers::<u32>::open(&path, 1).is_err());
        std::fs::write(&path, []).expect("write");
        assert_eq!(Numbers::<u64>::open(&path, 0).expect("none").as_ref(), [0u64; 0]);
    }
}
