//! Memory-mapped files: the only file with `unsafe` outside of gpu/.
//!
//! Weights are checked in the mapped file and copied once; the token ids of a large text do not fit in memory.
#![allow(unsafe_code)]

use crate::data::read_file::open_regular;
use crate::error::FileFault;
use crate::{Error, Result};
use bytemuck::AnyBitPattern;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;

/// The contents of a file: mapped, or read into memory on a file system that cannot map files.
#[derive(Debug)]
pub enum Contents {
    /// Mapped.
    Mapped(memmap2::Mmap),
    /// Read: the bytes in an allocation that is aligned for all numbers, and their count.
    Read(Vec<u64>, usize),
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Contents::Mapped(map) => map,
            Contents::Read(words, bytes) => &bytemuck::cast_slice(words)[..*bytes],
        }
    }
}

/// Maps a whole file for reading. Where the file system cannot map it, it is read.
///
/// # Errors
/// [`Error::File`] with the path if the file is missing, is a folder, or cannot be read.
pub fn map(path: &Path) -> Result<Contents> {
    let unreadable = |e: std::io::Error| Error::unreadable(path, &e);
    if path.is_dir() {
        return Err(Error::file(path, "is a folder").expected("must be a file"));
    }
    let file = open_regular(path).map_err(unreadable)?;
    // SAFETY: the map is read-only, and no code of this crate changes or shortens an existing file of these kinds: a new
    // version is a new file, renamed over the old one (`store::atomic`, `store::token_cache`), and the map keeps the old
    // one. It would be undefined behavior if another program wrote into the file or shortened it while it is mapped.
    match unsafe { memmap2::Mmap::map(&file) } {
        Ok(map) => Ok(Contents::Mapped(map)),
        Err(_) => read(file).map_err(unreadable),
    }
}

fn read(mut file: File) -> std::io::Result<Contents> {
    let bytes = usize::try_from(file.metadata()?.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    let mut words = Vec::new();
    words.try_reserve_exact(bytes.div_ceil(8))?;
    words.resize(bytes.div_ceil(8), 0u64);
    file.read_exact(&mut bytemuck::cast_slice_mut(&mut words)[..bytes])?;
    Ok(Contents::Read(words, bytes))
}

/// A file that is an array of numbers in this machine's byte order.
#[derive(Debug)]
pub struct Numbers<T> {
    contents: Contents,
    element: PhantomData<T>,
}

impl<T: AnyBitPattern> Numbers<T> {
    /// Maps a file of `count` numbers.
    ///
    /// # Errors
    /// As [`map`], and [`Error::File`] if the file has another length.
    pub fn open(path: &Path, count: u64) -> Result<Self> {
        Self::of(map(path)?, path, count)
    }

    fn of(contents: Contents, path: &Path, count: u64) -> Result<Self> {
        match bytemuck::try_cast_slice::<u8, T>(&contents) {
            Ok(numbers) if numbers.len() as u64 == count => Ok(Numbers { contents, element: PhantomData }),
            _ => {
                let bytes = count * size_of::<T>() as u64;
                let error = Error::file(path, format!("{} bytes", contents.len())).expected(format!("must be {bytes}"));
                Err(error.with_fault(FileFault::Damaged))
            }
        }
    }
}

impl<T: AnyBitPattern> AsRef<[T]> for Numbers<T> {
    fn as_ref(&self) -> &[T] {
        bytemuck::cast_slice(&self.contents)
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

    #[test]
    fn a_file_that_cannot_be_mapped_is_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("numbers");
        for (bytes, numbers) in
            [(vec![7u8, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0], vec![7u32, 9, 1]), (Vec::new(), Vec::new())]
        {
            std::fs::write(&path, &bytes).expect("write");
            let contents = read(File::open(&path).expect("open")).expect("read");
            assert_eq!((&*contents, &*map(&path).expect("map")), (&bytes[..], &bytes[..]));
            let read = Numbers::<u32>::of(contents, &path, numbers.len() as u64).expect("numbers");
            assert_eq!(read.as_ref(), numbers);
        }
    }
}
