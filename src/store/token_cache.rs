//! A cache of tokenized texts.
//!
//! The entry of a text is the folder `tokens/<recipe>/<contents>/` with the files `ids` (u32), `bytes` (of [`TokenBytes`]),
//! `ends` (u64, ends of documents), tokenizer.json if a tokenizer was trained on the text, and `entry` (counts and SHA-256 of
//! the other files). `recipe` is a hash of what is known without reading the text (settings and sizes), `contents` a hash of
//! the recipe and the text. An entry is written in a work folder and renamed when it is complete. When it is found again, all
//! files are compared with their hashes.

use super::mmap::Numbers;
use super::model_folder::TOKENIZER;
use super::sha256::{self, hex};
use super::sync::sync_file;
use super::work_folder::WorkFolder;
use crate::data::corpus::Corpus;
use crate::data::shared_slice::{SharedSlice, Tokens};
use crate::data::text_files::{Digests, TextFiles, TextFormat};
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::encoder::EncodedBlock;
use crate::data::tokenizer::token_bytes::{TokenBytes, Totals};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Part of every hash. To be increased when the same text and settings give other tokens.
const FORMAT: u32 = 1;

const IDS: &str = "ids";
const BYTES: &str = "bytes";
const ENDS: &str = "ends";
const ENTRY: &str = "entry";

/// The contents of the file [`ENTRY`], after a line with their hash.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Entry {
    totals: Totals,
    /// Number of documents; `None` for a stream.
    documents: Option<u64>,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
}

/// A tokenized text.
#[derive(Clone, Debug)]
pub struct Tokenized {
    /// The tokens, in mapped files.
    pub corpus: Corpus,
    /// The number of bytes of each token.
    pub token_bytes: TokenBytes,
    /// The tokenizer that was trained on the text, if one was.
    pub trained: Option<Tokenizer>,
    /// The cache entry; `None` for a temporary folder, which is deleted once it is open, or on Windows with the last user of
    /// the tokens.
    pub folder: Option<PathBuf>,
    /// Why the entry could not be moved into the cache.
    pub not_saved: Option<String>,
}

/// A folder of tokenized texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCache {
    folder: Option<PathBuf>,
}

impl TokenCache {
    /// The cache in `folder`; `None` caches nothing.
    pub fn new(folder: Option<PathBuf>) -> Self {
        // From the root, as in the errors of its files.
        TokenCache { folder: folder.map(|folder| std::path::absolute(&folder).unwrap_or(folder)) }
    }

    /// The entries of all texts of these sizes that are tokenized by `recipe`, a text that names tokenizer and settings.
    pub fn entries(&self, sources: &TextFiles, recipe: &str) -> Entries {
        let mut hash = Sha256::new();
        hash.update(format!("{FORMAT} {} {:?} {recipe}", env!("CARGO_PKG_VERSION"), sources.separator()));
        // These names are part of the hash: with other names, no entry of the cache is found.
        let name = |format| match format {
            TextFormat::Text => "Text",
            TextFormat::JsonLines => "Lines",
        };
        sources.files().iter().for_each(|file| hash.update(format!(" {} {}", name(file.format), file.bytes)));
        let recipe = hex(&hash.finalize());
        let folder = self.folder.as_ref().map(|folder| folder.join("tokens"));
        Entries { path: folder.as_ref().map(|folder| folder.join(&recipe[..16])), folder, recipe }
    }
}

/// The entries of texts with the same recipe, sizes and formats.
#[derive(Clone, Debug)]
pub struct Entries {
    folder: Option<PathBuf>,
    path: Option<PathBuf>,
    recipe: String,
}

impl Entries {
    /// Whether there is no entry, so that a text need not be read to look it up.
    pub fn is_empty(&self) -> bool {
        let entries = self.path.as_ref().and_then(|path| std::fs::read_dir(path).ok());
        entries.is_none_or(|mut entries| entries.next().is_none())
    }

    /// Whether an error is about a file of the cache, so that the work can be done without it.
    pub fn is_about(&self, error: &Error) -> bool {
        let (Error::Io { path, .. }, Some(folder)) = (error, &self.folder) else { return false };
        path.starts_with(folder)
    }

    /// The warning that says why tokens are not in the cache; `None` without a cache.
    pub fn not_saved(&self, error: &Error) -> Option<String> {
        self.folder.as_ref().map(|folder| match error {
            Error::Io { source, .. } => not_saved(folder, source),
            other => not_saved(folder, other),
        })
    }

    /// The entries of the same texts, none of which is cached: new ones are temporary.
    pub fn without_cache(&self) -> Self {
        Entries { folder: None, path: None, recipe: self.recipe.clone() }
    }

    /// The folder of a text's entry.
    fn entry_path(&self, digests: &Digests) -> Option<PathBuf> {
        let mut hash = Sha256::new_with_prefix(&self.recipe);
        digests.iter().for_each(|digest| hash.update(digest));
        Some(self.path.as_ref()?.join(hex(&hash.finalize())))
    }

    /// The tokens of a text, if there is an undamaged entry. Ids must be below `vocab_size`, that of a given tokenizer.
    pub fn find(&self, digests: &Digests, vocab_size: Option<usize>) -> Option<Tokenized> {
        read(&self.entry_path(digests)?, vocab_size)
    }

    /// A writer for a new entry. The second value says why the cache cannot be written, and the entry is temporary.
    ///
    /// # Errors
    /// [`Error::Io`] if a temporary folder cannot be written either.
    pub fn writer(&self) -> Result<(EntryWriter, Option<String>)> {
        let why = match &self.folder {
            None => None,
            Some(folder) => match WorkFolder::in_cache(folder) {
                Ok(work_folder) => return Ok((EntryWriter::new(work_folder)?, None)),
                Err(e) => Some(not_saved(folder, &e)),
            },
        };
        let temporary = WorkFolder::temporary().map_err(|e| write_failed(&std::env::temp_dir(), true, e))?;
        Ok((EntryWriter::new(temporary)?, why))
    }
}

/// The error of a file that could not be written. That of a temporary folder says what to do.
fn write_failed(path: &Path, is_temporary: bool, source: std::io::Error) -> Error {
    if !is_temporary {
        return Error::io(path, source);
    }
    let variable = if cfg!(windows) { "TMP" } else { "TMPDIR" };
    let hint = format!(
        "{source}; the tokens of the text are written to this temporary folder, because there is no cache for them: the \
         variable {variable} names another one, WGPT_CACHE a cache"
    );
    Error::io(path, std::io::Error::new(source.kind(), hint))
}

fn not_saved(folder: &Path, why: &dyn std::fmt::Display) -> String {
    let folder = folder.display();
    format!(
        "the token cache {folder} could not be written ({why}), so the tokens are not cached; WGPT_CACHE names another folder, \
         and when it is empty, no cache is used"
    )
}

/// A file that is hashed as it is written.
#[derive(Debug)]
struct HashedFile {
    path: PathBuf,
    /// Whether it is in a temporary folder.
    is_temporary: bool,
    file: BufWriter<File>,
    hash: Sha256,
}

impl HashedFile {
    fn create(folder: &WorkFolder, name: &str) -> Result<Self> {
        let (path, is_temporary) = (folder.path().join(name), folder.is_temporary());
        let file = File::create_new(&path).map_err(|e| write_failed(&path, is_temporary, e))?;
        Ok(HashedFile { file: BufWriter::with_capacity(1 << 16, file), hash: Sha256::new(), path, is_temporary })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|e| write_failed(&self.path, self.is_temporary, e))
    }

    /// Syncs the file and returns its hash.
    fn finish(self) -> Result<String> {
        let failed = |e| write_failed(&self.path, self.is_temporary, e);
        let file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        sync_file(&file).map_err(failed)?;
        Ok(hex(&self.hash.finalize()))
    }
}

/// Writes a new entry in a work folder, which is deleted unless the entry is persisted.
#[derive(Debug)]
pub struct EntryWriter {
    ids: HashedFile,
    bytes: HashedFile,
    ends: HashedFile,
    documents: u64,
    work_folder: WorkFolder,
}

impl EntryWriter {
    fn new(work_folder: WorkFolder) -> Result<Self> {
        let file = |name| HashedFile::create(&work_folder, name);
        Ok(EntryWriter { ids: file(IDS)?, bytes: file(BYTES)?, ends: file(ENDS)?, documents: 0, work_folder })
    }

    /// Appends the tokens of the next block of text.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn push(&mut self, encoded: &EncodedBlock) -> Result<()> {
        self.ids.write(bytemuck::cast_slice(&encoded.ids))?;
        self.bytes.write(&encoded.bytes)?;
        self.documents += encoded.document_ends.len() as u64;
        self.ends.write(bytemuck::cast_slice(&encoded.document_ends))
    }

    /// Completes the files of the entry; `trained` is the tokenizer that was trained on the text, if one was.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be written.
    pub fn finish(self, totals: Totals, are_documents: bool, trained: Option<&Tokenizer>) -> Result<FinishedEntry> {
        let EntryWriter { ids, bytes, ends, documents, work_folder } = self;
        let mut files = BTreeMap::new();
        if let Some(tokenizer) = trained {
            let mut file = HashedFile::create(&work_folder, TOKENIZER)?;
            file.write(tokenizer.to_json()?.as_bytes())?;
            files.insert(TOKENIZER.to_string(), file.finish()?);
        }
        for (name, file) in [(IDS, ids), (BYTES, bytes), (ENDS, ends)] {
            files.insert(name.to_string(), file.finish()?);
        }
        let entry = Entry { totals, documents: are_documents.then_some(documents), files };
        let text = serde_json::to_string(&entry).map_err(|e| Error::io(work_folder.path().join(ENTRY), e.into()))?;
        let mut file = HashedFile::create(&work_folder, ENTRY)?;
        file.write(format!("{}\n{text}", sha256::of([text.as_bytes()])).as_bytes())?;
        file.finish()?;
        Ok(FinishedEntry { work_folder, entry, trained: trained.cloned() })
    }
}

/// A complete entry that is still in its work folder.
#[derive(Debug)]
pub struct FinishedEntry {
    work_folder: WorkFolder,
    entry: Entry,
    trained: Option<Tokenizer>,
}

impl FinishedEntry {
    /// The tokens. They must be dropped before [`FinishedEntry::persist`], because not every system renames open files.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be mapped.
    pub fn corpus(&self) -> Result<Corpus> {
        Ok(open(self.work_folder.path(), &self.entry, None)?.corpus)
    }

    /// Moves the entry into the cache and opens it. If another process was first, its entry is used. If the move fails, the
    /// entry is opened in its work folder, which is deleted at once, or on Windows with the last user of the tokens.
    ///
    /// # Errors
    /// As [`FinishedEntry::corpus`].
    pub fn persist(mut self, entries: &Entries, digests: &Digests) -> Result<Tokenized> {
        let mut reason = None;
        if let (false, Some(target)) = (self.work_folder.is_temporary(), entries.entry_path(digests)) {
            let path = self.work_folder.path();
            let move_to_target = || -> std::io::Result<()> {
                std::fs::create_dir_all(target.parent().unwrap_or(&target))?;
                if target.exists() {
                    // Another process was first, or the present entry is damaged and is replaced.
                    if read(&target, None).is_some() {
                        return Ok(());
                    }
                    std::fs::rename(&target, path.join("damaged"))?;
                }
                std::fs::rename(path, &target)
            };
            // If two processes replace the same damaged entry, the first attempt of one fails and its second finds an entry.
            match move_to_target().or_else(|_| move_to_target()) {
                Ok(()) => {
                    self.work_folder.keep_parents();
                    let _ = std::fs::remove_dir_all(target.join("damaged"));
                    let tokenized = open(&target, &self.entry, None)?;
                    return Ok(Tokenized { trained: self.trained.take(), folder: Some(target), ..tokenized });
                }
                Err(e) => reason = entries.folder.as_ref().map(|folder| not_saved(folder, &e)),
            }
        }
        let path = self.work_folder.path().to_path_buf();
        // Mapped files can be read after they are deleted, except on Windows. Then a process that is killed leaves nothing.
        let (deleted_now, kept) =
            if cfg!(windows) { (None, Some(self.work_folder)) } else { (Some(self.work_folder), None) };
        let tokenized = open(&path, &self.entry, kept.map(Arc::new))?;
        drop(deleted_now);
        Ok(Tokenized { trained: self.trained, not_saved: reason, ..tokenized })
    }
}

/// The numbers of a mapped file, which keep its work folder alive.
struct EntryFile<T> {
    numbers: Numbers<T>,
    _work_folder: Option<Arc<WorkFolder>>,
}

impl<T: bytemuck::AnyBitPattern> AsRef<[T]> for EntryFile<T> {
    fn as_ref(&self) -> &[T] {
        self.numbers.as_ref()
    }
}

/// Maps the files of an entry.
fn open(folder: &Path, entry: &Entry, work_folder: Option<Arc<WorkFolder>>) -> Result<Tokenized> {
    fn shared<T>(path: &Path, count: u64, work_folder: &Option<Arc<WorkFolder>>) -> Result<SharedSlice<T>>
    where
        T: bytemuck::AnyBitPattern + Send + Sync,
    {
        Ok(SharedSlice::new(EntryFile { numbers: Numbers::<T>::open(path, count)?, _work_folder: work_folder.clone() }))
    }
    let tokens: Tokens = shared(&folder.join(IDS), entry.totals.tokens, &work_folder)?;
    let bytes: SharedSlice<u8> = shared(&folder.join(BYTES), entry.totals.tokens, &work_folder)?;
    let corpus = match entry.documents {
        None => Corpus::stream(tokens),
        Some(count) => Corpus::documents(tokens, shared::<u64>(&folder.join(ENDS), count, &work_folder)?)?,
    };
    Ok(Tokenized {
        corpus,
        token_bytes: TokenBytes::new(bytes, entry.totals.clone()),
        trained: None,
        folder: None,
        not_saved: None,
    })
}

/// Verifies and maps an entry; `None` if any part of it is damaged.
fn read(folder: &Path, vocab_size: Option<usize>) -> Option<Tokenized> {
    let text = std::fs::read_to_string(folder.join(ENTRY)).ok()?;
    let (hash, text) = text.split_once('\n')?;
    if hash != sha256::of([text.as_bytes()]) {
        return None;
    }
    let entry: Entry = serde_json::from_str(text).ok()?;
    for (name, hash) in &entry.files {
        if ![IDS, BYTES, ENDS, TOKENIZER].contains(&name.as_str()) || sha256::of_file(&folder.join(name)).ok()? != *hash
        {
            return None;
        }
    }
    let tokenizer = match entry.files.contains_key(TOKENIZER) {
        true => Some(Tokenizer::open(folder.join(TOKENIZER)).ok()?),
        false => None,
    };
    let tokenized = open(folder, &entry, None).ok()?;
    let known = tokenizer.as_ref().map(Tokenizer::vocab_size).or(vocab_size);
    if known.is_some_and(|known| tokenized.corpus.tokens().iter().any(|id| *id as usize >= known)) {
        return None;
    }
    Some(Tokenized { trained: tokenizer, folder: Some(folder.to_path_buf()), ..tokenized })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::block::Block;
    use crate::data::tokenizer::Pretokenizer;
    use crate::data::tokenizer::encoder::Encoder;

    /// A folder with a text, and a cache in it.
    struct Fixture {
        _folder: tempfile::TempDir,
        cache: PathBuf,
        sources: TextFiles,
        tokenizer: Tokenizer,
    }

    const TEXT: &str = "the cat and the hat and the mat\nthe end";

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("text.txt");
            std::fs::write(&file, TEXT).expect("write");
            let tokenizer = Tokenizer::train(TEXT, 262, Pretokenizer::Bytes).expect("train");
            let sources = TextFiles::find(&[file], Some("=")).expect("find");
            Fixture { cache: folder.path().join("a/cache"), _folder: folder, sources, tokenizer }
        }

        fn entries(&self) -> Entries {
            TokenCache::new(Some(self.cache.clone())).entries(&self.sources, "recipe")
        }

        fn write(&self, entries: &Entries) -> (FinishedEntry, Digests) {
            let (mut writer, why) = entries.writer().expect("writer");
            assert_eq!(why, None);
            let mut encoder = Encoder::new(&self.tokenizer);
            let digests =
                self.sources.read(true, &mut |block: Block<'_>| writer.push(&encoder.encode(block)?)).expect("read");
            (writer.finish(encoder.finish(), true, Some(&self.tokenizer)).expect("finish"), digests)
        }

        /// The number of work folders and lock files in the cache.
        fn work_files(&self) -> usize {
            std::fs::read_dir(self.cache.join("tokens")).map_or(0, |all| {
                all.filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().starts_with("partial")))
                    .count()
            })
        }
    }

    fn ids(tokenized: &Tokenized) -> Vec<u32> {
        tokenized.corpus.tokens().to_vec()
    }

    #[test]
    fn a_persisted_entry_is_found() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        assert!(entries.is_empty());
        let (finished, digests) = fixture.write(&entries);
        assert!(entries.is_empty() && entries.find(&digests, None).is_none(), "not persisted yet");
        assert_eq!(
            finished.corpus().expect("corpus").tokens().len(),
            fixture.tokenizer.encode(TEXT).expect("encode").len()
        );
        let persisted = finished.persist(&entries, &digests).expect("persist");
        assert!(
            !entries.is_empty() && persisted.folder.as_ref().is_some_and(|folder| folder.starts_with(&fixture.cache))
        );
        let found = entries.find(&digests, None).expect("found");
        assert_eq!(ids(&found), fixture.tokenizer.encode(TEXT).expect("encode"));
        assert_eq!((ids(&persisted), found.corpus.document_count(), found.corpus.is_stream()), (ids(&found), 1, false));
        assert_eq!(
            (found.token_bytes.after(0), persisted.token_bytes.after(3)),
            (TEXT.len() as u64, found.token_bytes.after(3))
        );
        let json = |t: &Tokenized| t.trained.as_ref().expect("trained").to_json().expect("json");
        assert_eq!(json(&found), fixture.tokenizer.to_json().expect("json"));
        assert_eq!((json(&persisted), fixture.work_files()), (json(&found), 0));
        // Another text, recipe or separator has another entry.
        let other: Digests = vec![[7; 32]];
        assert!(entries.find(&other, None).is_none());
        let cache = TokenCache::new(Some(fixture.cache.clone()));
        assert!(cache.entries(&fixture.sources, "another").is_empty());
        let sources = TextFiles::find(&[fixture.sources.files()[0].path.clone()], None).expect("find");
        assert!(cache.entries(&sources, "recipe").is_empty());
    }

    #[test]
    fn an_entry_that_is_not_persisted_is_deleted() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        let (finished, _) = fixture.write(&entries);
        assert_eq!(fixture.work_files(), 2, "a folder and its lock");
        drop(finished);
        assert!(!fixture.cache.exists() && !fixture.cache.parent().expect("parent").exists(), "nothing is left");
        let (writer, _) = entries.writer().expect("writer");
        drop(writer);
        assert!(!fixture.cache.exists());
    }

    #[test]
    fn damaged_entries_are_replaced() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        let (finished, digests) = fixture.write(&entries);
        let folder = finished.persist(&entries, &digests).expect("persist").folder.expect("folder");
        let right = ids(&entries.find(&digests, None).expect("found"));
        type Damage = fn(&mut Vec<u8>);
        let damage: [(&str, Damage); 8] = [
            (IDS, |b| b[2] ^= 1),
            (IDS, |b| b.truncate(8)),
            (IDS, |b| b.push(0)),
            (BYTES, |b| b[0] += 1),
            (ENDS, |b| b.clear()),
            (TOKENIZER, |b| b.truncate(100)),
            (ENTRY, |b| *b.last_mut().expect("byte") = b' '),
            (ENTRY, |b| b.truncate(3)),
        ];
        for (name, damage) in damage {
            let path = folder.join(name);
            let mut bytes = std::fs::read(&path).expect("read");
            damage(&mut bytes);
            std::fs::write(&path, bytes).expect("write");
            assert!(entries.find(&digests, None).is_none(), "{name}");
            let (finished, digests) = fixture.write(&entries);
            let persisted = finished.persist(&entries, &digests).expect("persist");
            assert_eq!(
                (ids(&persisted), persisted.folder.as_deref(), fixture.work_files()),
                (right.clone(), Some(&*folder), 0)
            );
            assert_eq!(ids(&entries.find(&digests, None).expect("found")), right);
            assert!(!folder.join("damaged").exists());
        }
        std::fs::remove_file(folder.join(IDS)).expect("remove");
        assert!(entries.find(&digests, None).is_none());
    }

    #[test]
    fn ids_beyond_a_given_tokenizer_are_refused() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        let (mut writer, _) = entries.writer().expect("writer");
        writer.push(&EncodedBlock { ids: vec![1, 300], bytes: vec![1, 1], document_ends: vec![2] }).expect("push");
        let totals = Totals { tokens: 2, ..Totals::default() };
        let finished = writer.finish(totals, true, None).expect("finish");
        let digests = vec![[1; 32]];
        finished.persist(&entries, &digests).expect("persist");
        assert!(entries.find(&digests, Some(300)).is_none() && entries.find(&digests, Some(301)).is_some());
    }

    #[test]
    fn two_writers_of_one_text_share_an_entry() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        let (first, digests) = fixture.write(&entries);
        let (second, _) = fixture.write(&entries);
        let first = first.persist(&entries, &digests).expect("first");
        let second = second.persist(&entries, &digests).expect("second");
        assert_eq!((ids(&first), first.folder.clone(), fixture.work_files()), (ids(&second), second.folder, 0));
        // While one is open, another replaces its damaged entry. The mapped files stay.
        std::fs::write(first.folder.as_ref().expect("folder").join(ENTRY), "").expect("write");
        let (third, _) = fixture.write(&entries);
        third.persist(&entries, &digests).expect("third");
        assert_eq!(ids(&first), fixture.tokenizer.encode(TEXT).expect("encode"));
    }

    #[test]
    fn abandoned_work_folders_are_deleted() {
        let fixture = Fixture::new();
        let entries = fixture.entries();
        let (finished, _) = fixture.write(&entries);
        let tokens = fixture.cache.join("tokens");
        std::fs::create_dir(tokens.join("partial-dead")).expect("folder");
        std::fs::write(tokens.join("partial-dead/ids"), "x").expect("write");
        std::fs::write(tokens.join("partial-dead.lock"), "").expect("write");
        assert_eq!(fixture.work_files(), 4);
        let (writer, _) = entries.writer().expect("writer");
        assert_eq!(fixture.work_files(), 4, "the abandoned one is deleted, the other stays");
        drop((finished, writer));
        assert_eq!(fixture.work_files(), 0);
    }

    #[test]
    fn without_a_cache_tokens_are_temporary() {
        let fixture = Fixture::new();
        // A file where the cache's folder should be.
        std::fs::write(fixture.cache.parent().expect("parent"), "").expect("write");
        let entries = fixture.entries();
        let (writer, why) = entries.writer().expect("writer");
        assert!(why.expect("a reason").contains("could not be written"));
        drop(writer);
        let entries = TokenCache::new(None).entries(&fixture.sources, "recipe");
        let (finished, digests) = fixture.write(&entries);
        let path = finished.work_folder.path().to_path_buf();
        let persisted = finished.persist(&entries, &digests).expect("persist");
        assert!(persisted.folder.is_none());
        assert_eq!(path.exists(), cfg!(windows), "deleted at once where open files can be deleted");
        let part = persisted.corpus.tokens().part(0..2);
        assert_eq!(ids(&persisted), fixture.tokenizer.encode(TEXT).expect("encode"));
        drop(persisted);
        assert!(path.exists() == cfg!(windows) && part.len() == 2);
        drop(part);
        assert!(!path.exists(), "deleted with the last user of a part");
    }
}
