//! The self-tests that passed, in the user's cache folder: a file for each, named by the hash of its contents, which describe
//! the version, the adapter, the driver and the cases.

use super::atomic::write_atomic;
use super::sha256;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// The subfolder of the cache.
const FOLDER: &str = "self-tests";

/// The self-tests that passed.
pub struct PassedTests {
    folder: Option<PathBuf>,
}

impl PassedTests {
    /// Those in a cache folder. Without one, nothing is remembered.
    pub fn new(cache: Option<&Path>) -> Self {
        PassedTests { folder: cache.map(|cache| cache.join(FOLDER)) }
    }

    fn path(&self, description: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(sha256::of([description.as_bytes()])))
    }

    /// Whether the test of this description passed before. A file that is damaged or cannot be read counts as none.
    pub fn contains(&self, description: &str) -> bool {
        let stored = self.path(description).and_then(|path| std::fs::read(path).ok());
        stored.is_some_and(|stored| stored == description.as_bytes())
    }

    /// Remembers that the test of this description passed.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn insert(&self, description: &str) -> Result<()> {
        let (Some(path), Some(folder)) = (self.path(description), &self.folder) else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        write_atomic(&path, description.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_passed_is_remembered() {
        let place = tempfile::tempdir().expect("folder");
        let cache = place.path().join("a/cache");
        let tests = || PassedTests::new(Some(&cache));
        assert!(!tests().contains("driver 1"));
        tests().insert("driver 1").expect("insert");
        assert!(tests().contains("driver 1") && !tests().contains("driver 2"));
        let file = tests().path("driver 1").expect("a path");
        std::fs::write(&file, "driver").expect("write");
        assert!(!tests().contains("driver 1"), "a damaged file");
        tests().insert("driver 1").expect("insert");
        assert!(tests().contains("driver 1"));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error_and_none_is_not() {
        let place = tempfile::tempdir().expect("folder");
        let file = place.path().join("file");
        std::fs::write(&file, "").expect("write");
        let tests = PassedTests::new(Some(&file));
        assert!(!tests.contains("x"));
        assert!(tests.insert("x").expect_err("a file in the way").to_string().contains("file"));
        let none = PassedTests::new(None);
        none.insert("x").expect("nothing to do");
        assert!(!none.contains("x"));
    }
}
