//! Data that lies outside the tests' code, and the contents of folders.

use std::path::{Path, PathBuf};

/// A file or folder of the real data: in the folder that `WGPT_DATA` names, else in shared/data beside the checkout.
/// Where it is missing, prints that the test is skipped.
pub fn shared_data(name: &str) -> Option<PathBuf> {
    let beside_the_checkout = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("WGPT_DATA").map_or_else(beside_the_checkout, PathBuf::from).join(name);
    let exists = path.exists();
    if !exists {
        println!("skipped: no {name} in WGPT_DATA or ../shared/data");
    }
    exists.then_some(path)
}

/// The folder of golden cases: the one that `WGPT_GOLDEN` names, else tests/golden.
pub fn golden() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("WGPT_GOLDEN").map_or_else(own, PathBuf::from)
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")
    };
    let mut all: Vec<String> = std::fs::read_dir(folder).expect("a folder").map(name).collect();
    all.sort();
    all
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("copy");
        }
    }
}
