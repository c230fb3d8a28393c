//! The text files in a folder and its subfolders.
//!
//! Left out are hidden files and folders, which editors, notebooks and archives of other systems leave behind, and folders of
//! runs, models and tokenizers, whose text files are no data. A file that links lead to more than once is read once. Links that
//! lead out of the folder are not followed: a folder that comes from a stranger must not choose what is read elsewhere.

use super::file_errors::unreadable;
use super::read_file::final_path;
use super::text_format::TextFormat;
use crate::{Error, Result};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use walkdir::{DirEntry, WalkDir};

/// Names that hidden files of macOS have in an archive.
const HIDDEN: [&str; 1] = ["__MACOSX"];

/// Pairs of names that a folder of a run, a model or a tokenizer has.
const OWN: [[&str; 2]; 4] = [
    ["config.toml", "checkpoints"],
    ["config.json", "model.safetensors"],
    ["config.json", "tokenizer.json"],
    ["vocab.json", "merges.txt"],
];

/// What is left out of folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Hidden folders, and hidden files that would be texts by their extension.
    pub hidden: usize,
    /// Folders of runs, models and tokenizers.
    pub own: usize,
    /// Links to files that are read already, and links in circles.
    pub links: usize,
    /// Links that lead out of the folder.
    pub outside: usize,
    /// Other files.
    pub other: usize,
    /// Extensions of other files.
    pub extensions: BTreeSet<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { hidden, own, links, outside, other, extensions } = self;
        let extensions = extensions.iter().map(|extension| format!(".{}", extension.escape_debug()));
        let extensions = extensions.take(5).collect::<Vec<_>>().join(", ");
        let other_kind = if extensions.is_empty() { String::new() } else { format!(" ({extensions})") };
        let all = [
            (hidden, "hidden".to_string()),
            (own, "of runs or models".into()),
            (links, "read already".into()),
            (outside, "behind links out of the folder".into()),
            (other, format!("of another kind{other_kind}")),
        ];
        let all: Vec<String> = all.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        write!(f, "{}", all.join(", "))
    }
}

/// The text files in a folder and its subfolders, sorted by path. `known` holds the canonical paths of files that are read
/// already, and receives those found here.
///
/// # Errors
/// [`Error::File`] for a folder or a text file that cannot be read, and for a folder without text.
pub(super) fn texts_in(
    folder: &Path,
    known: &mut HashSet<PathBuf>,
    left_out: &mut LeftOut,
) -> Result<Vec<(PathBuf, TextFormat)>> {
    let (mut files, mut skipped) = (Vec::new(), LeftOut::default());
    let (mut hidden, mut own, mut outside) = (0, 0, 0);
    let root = folder.canonicalize().map_err(|e| unreadable(folder, e))?;
    let leads_out = |path: &Path| path.canonicalize().is_ok_and(|path| !path.starts_with(&root));
    let keep = |entry: &DirEntry| {
        let is_hidden = entry.depth() > 0 && is_hidden(entry.path());
        let is_own = entry.depth() > 0 && !is_hidden && entry.file_type().is_dir() && is_own(entry.path());
        let could_be_text = entry.file_type().is_dir() || TextFormat::by_extension(entry.path()).is_some();
        (hidden, own) = (hidden + usize::from(is_hidden && could_be_text), own + usize::from(is_own));
        let is_outside =
            entry.depth() > 0 && !is_hidden && !is_own && entry.path_is_symlink() && leads_out(entry.path());
        outside += usize::from(is_outside && could_be_text);
        !is_hidden && !is_own && !is_outside
    };
    for entry in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(keep) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(e) if e.loop_ancestor().is_some() => {
                skipped.links += 1;
                continue;
            }
            Err(e) if e.path().is_some_and(is_hidden) => {
                skipped.hidden += 1;
                continue;
            }
            // A link to nowhere is no text, unless its name says so.
            Err(e) if e.path().is_some_and(|path| path.is_symlink() && TextFormat::by_extension(path).is_none()) => {
                skipped.other += 1;
                continue;
            }
            Err(e) => {
                let path = e.path().unwrap_or(folder).to_path_buf();
                return Err(match e.into_io_error() {
                    Some(e) => unreadable(&path, e),
                    None => Error::file(path, "could not be read"),
                });
            }
        };
        let path = entry.path();
        if !entry.file_type().is_file() {
            // A pipe or a device.
            skipped.other += usize::from(!entry.file_type().is_dir() && TextFormat::by_extension(path).is_some());
            continue;
        }
        match TextFormat::by_extension(path) {
            Some(format) => {
                let canonical = final_path(path).map_err(|e| unreadable(path, e))?;
                match known.insert(canonical) {
                    true => files.push((path.to_path_buf(), format)),
                    false => skipped.links += 1,
                }
            }
            None => {
                skipped.other += 1;
                skipped.extensions.extend(path.extension().map(|extension| extension.to_string_lossy().into_owned()));
            }
        }
    }
    (skipped.hidden, skipped.own, skipped.outside) = (skipped.hidden + hidden, own, outside);
    if files.is_empty() && skipped.links == 0 {
        let found = match skipped.to_string() {
            skipped if skipped.is_empty() => "no text in the folder".to_string(),
            skipped => format!("no text in the folder (left out: {skipped})"),
        };
        return Err(Error::file(folder, found).expected("expected *.txt or *.jsonl"));
    }
    files.sort_by(|a: &(PathBuf, TextFormat), b| a.0.cmp(&b.0));
    left_out.hidden += skipped.hidden;
    left_out.own += skipped.own;
    left_out.links += skipped.links;
    left_out.outside += skipped.outside;
    left_out.other += skipped.other;
    left_out.extensions.extend(skipped.extensions);
    Ok(files)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || HIDDEN.contains(&name.as_ref())
}

/// Whether a folder is that of a run, a model or a tokenizer.
pub(super) fn is_own(folder: &Path) -> bool {
    OWN.iter().any(|names| names.iter().all(|name| folder.join(name).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("folder");
        for name in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, name).expect("write");
        }
        folder
    }

    fn found(folder: &Path) -> (Vec<String>, String) {
        let mut left_out = LeftOut::default();
        let files = texts_in(folder, &mut HashSet::new(), &mut left_out).expect("texts");
        let name = |path: &Path| path.strip_prefix(folder).expect("inside").to_string_lossy().replace('\\', "/");
        (files.iter().map(|(path, _)| name(path)).collect(), left_out.to_string())
    }

    #[test]
    fn hidden_files_and_folders_of_runs_are_left_out() {
        let folder = folder(&[
            "b/a.txt",
            "a.TXT",
            "l.jsonl",
            "._a.txt",
            ".ipynb_checkpoints/a-checkpoint.txt",
            "__MACOSX/._a.txt",
            "runs/x/config.toml",
            "runs/x/samples.txt",
            "runs/x/metrics.jsonl",
            "runs/x/checkpoints/step-000000/config.json",
            "gpt/config.json",
            "gpt/model.safetensors",
            "gpt/merges.txt",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "c.txt.gz",
            "README",
        ]);
        let texts = ["a.TXT", "b/a.txt", "l.jsonl"].map(String::from).to_vec();
        let left_out = "3 hidden, 3 of runs or models, 2 of another kind (.gz)";
        assert_eq!(found(folder.path()), (texts, left_out.to_string()));
        // A folder that is named is read, whatever it is.
        assert_eq!(found(&folder.path().join(".ipynb_checkpoints")).0, ["a-checkpoint.txt"]);
        let none = texts_in(&folder.path().join("runs"), &mut HashSet::new(), &mut LeftOut::default());
        let message = none.expect_err("no text").to_string();
        assert!(
            message.ends_with("no text in the folder (left out: 1 of runs or models): expected *.txt or *.jsonl"),
            "{message}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_inside_the_folder() {
        use std::os::unix::fs::symlink;
        let elsewhere = folder(&["secret.txt", "c/three.txt"]);
        let folder = folder(&["a/one.txt", "b/two.txt"]);
        let at = |name: &str| folder.path().join(name);
        symlink(folder.path(), at("a/circle")).expect("link");
        symlink(at("b"), at("a/other")).expect("link");
        symlink(at("a/one.txt"), at("again.txt")).expect("link");
        symlink(at("none"), at("nowhere")).expect("link");
        symlink(at("none"), at(".#one.txt")).expect("link");
        symlink(elsewhere.path().join("secret.txt"), at("secret.txt")).expect("link");
        symlink(elsewhere.path(), at("a/elsewhere")).expect("link");
        let texts = ["a/one.txt", "a/other/two.txt"].map(String::from).to_vec();
        let (files, left_out) = found(folder.path());
        assert_eq!(files, texts);
        assert_eq!(left_out, "1 hidden, 3 read already, 2 behind links out of the folder, 1 of another kind");
        symlink(at("none"), at("none.txt")).expect("link");
        let error =
            texts_in(folder.path(), &mut HashSet::new(), &mut LeftOut::default()).expect_err("a link to nowhere");
        assert!(error.to_string().contains("none.txt: could not be read"), "{error}");
    }
}
