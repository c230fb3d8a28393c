//! The tokens of texts that were tokenized before, in the user's cache folder.
//!
//! `tokens/<recipe>/<contents>/` holds what a text gave: `ids` (u32), `bytes` (of [`TokenBytes`]), `ends` (u64, of
//! documents), tokenizer.json where one was trained on it, and `entry`, which counts and hashes the others. `recipe`
//! hashes what is known without reading the text (settings, sizes), `contents` that and the text. An entry is written
//! beside its place and renamed, whole; it is read through before it is believed.

use super::mmap::Numbers;
use super::model_folder::TOKENIZER;
use super::sha256::{self, hex};
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

/// Changes with whatever makes other tokens of the same text.
const FORMAT: u32 = 1;

const IDS: &str = "ids";
const BYTES: &str = "bytes";
const ENDS: &str = "ends";
const ENTRY: &str = "entry";
const LOCK: &str = "lock";

/// What [`ENTRY`] says behind its own hash.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Entry {
    totals: Totals,
    /// Documents; none for a stream.
    documents: Option<u64>,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
}

/// A text's tokens.
#[derive(Clone, Debug)]
pub struct Tokenized {
    /// The tokens, in mapped files.
    pub corpus: Corpus,
    /// The bytes that they stand for.
    pub token_bytes: TokenBytes,
    /// The tokenizer that was trained on the text.
    pub trained: Option<Tokenizer>,
    /// The folder they lie in; none where it goes with the process.
    pub folder: Option<PathBuf>,
}

/// Where the tokens of texts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCache {
    folder: Option<PathBuf>,
}

impl TokenCache {
    /// In `folder`; with none, nothing is kept.
    pub fn new(folder: Option<PathBuf>) -> Self {
        TokenCache { folder }
    }

    /// The place of texts of these sizes that are tokenized as `recipe` says.
    pub fn shelf(&self, sources: &TextFiles, recipe: &str) -> Shelf {
        let mut hash = Sha256::new();
        hash.update(format!("{FORMAT} {} {:?} {recipe}", env!("CARGO_PKG_VERSION"), sources.separator()));
        // These names are part of the hash: another name would make every entry of the cache useless.
        let name = |format| match format {
            TextFormat::Text => "Text",
            TextFormat::JsonLines => "Lines",
        };
        sources.files().iter().for_each(|file| hash.update(format!(" {} {}", name(file.format), file.bytes)));
        let recipe = hex(&hash.finalize());
        let folder = self.folder.as_ref().map(|folder| folder.join("tokens"));
        Shelf { path: folder.as_ref().map(|folder| folder.join(&recipe[..16])), folder, recipe }
    }
}

/// The place of texts that may be the same.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: Option<PathBuf>,
    path: Option<PathBuf>,
    recipe: String,
}

impl Shelf {
    /// Whether no text lies here: reading one to compare it would be in vain.
    pub fn is_empty(&self) -> bool {
        let entries = self.path.as_ref().and_then(|path| std::fs::read_dir(path).ok());
        entries.is_none_or(|mut entries| entries.next().is_none())
    }

    fn place(&self, digests: &Digests) -> Option<PathBuf> {
        let mut hash = Sha256::new_with_prefix(&self.recipe);
        digests.iter().for_each(|digest| hash.update(digest));
        Some(self.path.as_ref()?.join(hex(&hash.finalize())))
    }

    /// The tokens of a text, if they lie here and are whole; `vocab_size` is that of a given tokenizer.
    pub fn find(&self, digests: &Digests, vocab_size: Option<usize>) -> Option<Tokenized> {
        read(&self.place(digests)?, vocab_size)
    }

    /// Begins to write the tokens of a text. The second value says why they will not be kept.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written anywhere.
    pub fn begin(&self) -> Result<(Draft, Option<String>)> {
        let why = match &self.folder {
            None => None,
            Some(folder) => match Space::in_cache(folder) {
                Ok(space) => return Ok((Draft::new(space)?, None)),
                Err(e) => {
                    Some(format!("{}: could not be written ({e}), so the text's tokens are not kept", folder.display()))
                }
            },
        };
        let temporary = tempfile::Builder::new().prefix("wgpt-tokens-").tempdir();
        let temporary = temporary.map_err(|e| Error::io(std::env::temp_dir(), e))?;
        Ok((Draft::new(Space::Temporary(temporary))?, why))
    }
}

/// A folder to write in. It goes when it is dropped.
#[derive(Debug)]
enum Space {
    /// In the cache, with a lock beside it: while it is held, no other process takes the folder for one that was left.
    Cache {
        path: PathBuf,
        lock: Option<File>,
        /// Folders that were made for it, the innermost first.
        made: Vec<PathBuf>,
    },
    /// Elsewhere.
    Temporary(tempfile::TempDir),
}

impl Space {
    fn in_cache(folder: &Path) -> std::io::Result<Self> {
        let made: Vec<PathBuf> =
            folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
        std::fs::create_dir_all(folder)?;
        let mut space = Space::Cache { path: PathBuf::new(), lock: None, made };
        sweep(folder);
        let (file, name) = tempfile::Builder::new().prefix("partial-").suffix(".lock").tempfile_in(folder)?.keep()?;
        let path = name.with_extension("");
        if let Space::Cache { path: own, lock, .. } = &mut space {
            file.lock()?;
            (*own, *lock) = (path.clone(), Some(file));
        }
        std::fs::create_dir(&path)?;
        Ok(space)
    }

    fn path(&self) -> &Path {
        match self {
            Space::Cache { path, .. } => path,
            Space::Temporary(folder) => folder.path(),
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // Nothing is lost when one of these fails: the next process sweeps, and empty folders are in nobody's way.
        if let Space::Cache { path, lock, made } = self {
            if lock.is_some() {
                let _ = std::fs::remove_dir_all(&*path);
                let _ = std::fs::remove_file(path.with_extension(LOCK));
            }
            *lock = None;
            made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
        }
    }
}

/// Removes what processes left that ended while they wrote: their locks are free.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == LOCK)
            && let Ok(file) = File::open(&path)
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(path.with_extension(""));
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// A file that is hashed as it is written.
#[derive(Debug)]
struct Hashed {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
}

impl Hashed {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create_new(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Hashed { file: BufWriter::with_capacity(1 << 16, file), hash: Sha256::new(), path })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }

    /// On the disk; the file's hash.
    fn finish(self) -> Result<String> {
        let file = self.file.into_inner().map_err(|e| Error::io(&self.path, e.into_error()))?;
        file.sync_all().map_err(|e| Error::io(&self.path, e))?;
        Ok(hex(&self.hash.finalize()))
    }
}

/// An entry that is being written. What is not kept is gone when it is dropped.
#[derive(Debug)]
pub struct Draft {
    ids: Hashed,
    bytes: Hashed,
    ends: Hashed,
    documents: u64,
    space: Space,
}

impl Draft {
    fn new(space: Space) -> Result<Self> {
        let file = |name| Hashed::create(space.path().join(name));
        Ok(Draft { ids: file(IDS)?, bytes: file(BYTES)?, ends: file(ENDS)?, documents: 0, space })
    }

    /// Adds what the next block gave.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn push(&mut self, encoded: &EncodedBlock) -> Result<()> {
        self.ids.write(bytemuck::cast_slice(&encoded.ids))?;
        self.bytes.write(&encoded.bytes)?;
        self.documents += encoded.document_ends.len() as u64;
        self.ends.write(bytemuck::cast_slice(&encoded.document_ends))
    }

    /// Everything is written; `trained` is the tokenizer that was trained on the text.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self, totals: Totals, are_documents: bool, trained: Option<&Tokenizer>) -> Result<Written> {
        let Draft { ids, bytes, ends, documents, space } = self;
        let mut files = BTreeMap::new();
        if let Some(tokenizer) = trained {
            let mut file = Hashed::create(space.path().join(TOKENIZER))?;
            file.write(tokenizer.to_json()?.as_bytes())?;
            files.insert(TOKENIZER.to_string(), file.finish()?);
        }
        for (name, file) in [(IDS, ids), (BYTES, bytes), (ENDS, ends)] {
            files.insert(name.to_string(), file.finish()?);
        }
        let entry = Entry { totals, documents: are_documents.then_some(documents), files };
        let path = space.path().join(ENTRY);
        let text = serde_json::to_string(&entry).map_err(|e| Error::io(&path, e.into()))?;
        let mut file = Hashed::create(path)?;
        file.write(format!("{}\n{text}", sha256::of([text.as_bytes()])).as_bytes())?;
        file.finish()?;
        Ok(Written { space, entry, trained: trained.cloned() })
    }
}

/// An entry that is written and not yet in its place.
#[derive(Debug)]
pub struct Written {
    space: Space,
    entry: Entry,
    trained: Option<Tokenizer>,
}

impl Written {
    /// The tokens, to be looked at. Let go of them before [`Written::keep`]: not every system renames what is open.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Io`] when they cannot be mapped.
    pub fn corpus(&self) -> Result<Corpus> {
        Ok(open(self.space.path(), &self.entry, None)?.corpus)
    }

    /// Puts the entry in its place, where another process may have been first, and opens it. Where it cannot be put
    /// there, it is used from where it is and goes with this process.
    ///
    /// # Errors
    /// As [`Written::corpus`].
    pub fn keep(mut self, shelf: &Shelf, digests: &Digests) -> Result<Tokenized> {
        if let (Space::Cache { path, made, .. }, Some(place)) = (&mut self.space, shelf.place(digests)) {
            let put = || -> std::io::Result<()> {
                std::fs::create_dir_all(place.parent().unwrap_or(&place))?;
                if place.exists() {
                    // Another process was first, or what is there is damaged and makes way.
                    if read(&place, None).is_some() {
                        return Ok(());
                    }
                    std::fs::rename(&place, path.join("damaged"))?;
                }
                std::fs::rename(&*path, &place)
            };
            // Between two processes that find the same damage, one may be late: then the other's entry is there.
            if put().or_else(|_| put()).is_ok() {
                made.clear();
                let _ = std::fs::remove_dir_all(place.join("damaged"));
                let tokenized = open(&place, &self.entry, None)?;
                return Ok(Tokenized { trained: self.trained.take(), folder: Some(place), ..tokenized });
            }
        }
        let path = self.space.path().to_path_buf();
        let tokenized = open(&path, &self.entry, Some(Arc::new(self.space)))?;
        Ok(Tokenized { trained: self.trained, ..tokenized })
    }
}

/// Numbers of a file, and the folder that goes when they do.
struct Held<T> {
    numbers: Numbers<T>,
    _space: Option<Arc<Space>>,
}

impl<T: bytemuck::AnyBitPattern> AsRef<[T]> for Held<T> {
    fn as_ref(&self) -> &[T] {
        self.numbers.as_ref()
    }
}

/// Maps an entry's files.
fn open(folder: &Path, entry: &Entry, space: Option<Arc<Space>>) -> Result<Tokenized> {
    fn shared<T>(path: &Path, count: u64, space: &Option<Arc<Space>>) -> Result<SharedSlice<T>>
    where
        T: bytemuck::AnyBitPattern + Send + Sync,
    {
        Ok(SharedSlice::new(Held { numbers: Numbers::<T>::open(path, count)?, _space: space.clone() }))
    }
    let tokens: Tokens = shared(&folder.join(IDS), entry.totals.tokens, &space)?;
    let bytes: SharedSlice<u8> = shared(&folder.join(BYTES), entry.totals.tokens, &space)?;
    let corpus = match entry.documents {
        None => Corpus::stream(tokens),
        Some(count) => Corpus::documents(tokens, shared::<u64>(&folder.join(ENDS), count, &space)?)?,
    };
    Ok(Tokenized { corpus, token_bytes: TokenBytes::new(bytes, entry.totals.clone()), trained: None, folder: None })
}

/// Reads an entry through; none when anything about it is not as it was written.
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
        true => Some(Tokenizer::open(&folder.join(TOKENIZER)).ok()?),
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

    struct Place {
        _folder: tempfile::TempDir,
        cache: PathBuf,
        sources: TextFiles,
        tokenizer: Tokenizer,
    }

    const TEXT: &str = "the cat and the hat and the mat\nthe end";

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("text.txt");
            std::fs::write(&file, TEXT).expect("write");
            let tokenizer = Tokenizer::train(TEXT, 262, Pretokenizer::Bytes).expect("train");
            let sources = TextFiles::find(&[file], Some("=")).expect("find");
            Place { cache: folder.path().join("a/cache"), _folder: folder, sources, tokenizer }
        }

        fn shelf(&self) -> Shelf {
            TokenCache::new(Some(self.cache.clone())).shelf(&self.sources, "recipe")
        }

        fn write(&self, shelf: &Shelf) -> (Written, Digests) {
            let (mut draft, why) = shelf.begin().expect("begin");
            assert_eq!(why, None);
            let mut encoder = Encoder::new(&self.tokenizer);
            let digests =
                self.sources.read(true, &mut |block: Block<'_>| draft.push(&encoder.encode(block)?)).expect("read");
            (draft.finish(encoder.finish(), true, Some(&self.tokenizer)).expect("finish"), digests)
        }

        /// What lies in the cache beside the shelves.
        fn beside(&self) -> usize {
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
    fn an_entry_goes_out_and_in() {
        let place = Place::new();
        let shelf = place.shelf();
        assert!(shelf.is_empty());
        let (written, digests) = place.write(&shelf);
        assert!(shelf.is_empty() && shelf.find(&digests, None).is_none(), "not kept yet");
        assert_eq!(
            written.corpus().expect("corpus").tokens().len(),
            place.tokenizer.encode(TEXT).expect("encode").len()
        );
        let kept = written.keep(&shelf, &digests).expect("keep");
        assert!(!shelf.is_empty() && kept.folder.as_ref().is_some_and(|folder| folder.starts_with(&place.cache)));
        let found = shelf.find(&digests, None).expect("found");
        assert_eq!(ids(&found), place.tokenizer.encode(TEXT).expect("encode"));
        assert_eq!((ids(&kept), found.corpus.document_count(), found.corpus.is_stream()), (ids(&found), 1, false));
        assert_eq!(
            (found.token_bytes.after(0), kept.token_bytes.after(3)),
            (TEXT.len() as u64, found.token_bytes.after(3))
        );
        let json = |t: &Tokenized| t.trained.as_ref().expect("trained").to_json().expect("json");
        assert_eq!(json(&found), place.tokenizer.to_json().expect("json"));
        assert_eq!((json(&kept), place.beside()), (json(&found), 0));
        // Another text, recipe or separator is another place.
        let other: Digests = vec![[7; 32]];
        assert!(shelf.find(&other, None).is_none());
        let cache = TokenCache::new(Some(place.cache.clone()));
        assert!(cache.shelf(&place.sources, "another").is_empty());
        let sources = TextFiles::find(&[place.sources.files()[0].path.clone()], None).expect("find");
        assert!(cache.shelf(&sources, "recipe").is_empty());
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let place = Place::new();
        let shelf = place.shelf();
        let (written, _) = place.write(&shelf);
        assert_eq!(place.beside(), 2, "a folder and its lock");
        drop(written);
        assert!(!place.cache.exists() && !place.cache.parent().expect("parent").exists(), "nothing stays of it");
        let (draft, _) = shelf.begin().expect("begin");
        drop(draft);
        assert!(!place.cache.exists());
    }

    #[test]
    fn damage_is_seen_and_made_anew() {
        let place = Place::new();
        let shelf = place.shelf();
        let (written, digests) = place.write(&shelf);
        let folder = written.keep(&shelf, &digests).expect("keep").folder.expect("folder");
        let right = ids(&shelf.find(&digests, None).expect("found"));
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
            assert!(shelf.find(&digests, None).is_none(), "{name}");
            let (written, digests) = place.write(&shelf);
            let kept = written.keep(&shelf, &digests).expect("keep");
            assert_eq!((ids(&kept), kept.folder.as_deref(), place.beside()), (right.clone(), Some(&*folder), 0));
            assert_eq!(ids(&shelf.find(&digests, None).expect("found")), right);
            assert!(!folder.join("damaged").exists());
        }
        std::fs::remove_file(folder.join(IDS)).expect("remove");
        assert!(shelf.find(&digests, None).is_none());
    }

    #[test]
    fn ids_beyond_a_given_tokenizer_are_not_believed() {
        let place = Place::new();
        let shelf = place.shelf();
        let (mut draft, _) = shelf.begin().expect("begin");
        draft.push(&EncodedBlock { ids: vec![1, 300], bytes: vec![1, 1], document_ends: vec![2] }).expect("push");
        let totals = Totals { tokens: 2, ..Totals::default() };
        let written = draft.finish(totals, true, None).expect("finish");
        let digests = vec![[1; 32]];
        written.keep(&shelf, &digests).expect("keep");
        assert!(shelf.find(&digests, Some(300)).is_none() && shelf.find(&digests, Some(301)).is_some());
    }

    #[test]
    fn two_writers_of_one_text_do_not_hurt_each_other() {
        let place = Place::new();
        let shelf = place.shelf();
        let (first, digests) = place.write(&shelf);
        let (second, _) = place.write(&shelf);
        let first = first.keep(&shelf, &digests).expect("first");
        let second = second.keep(&shelf, &digests).expect("second");
        assert_eq!((ids(&first), first.folder.clone(), place.beside()), (ids(&second), second.folder, 0));
        // While one is open, another makes its damaged entry anew: what is mapped stays.
        std::fs::write(first.folder.as_ref().expect("folder").join(ENTRY), "").expect("write");
        let (third, _) = place.write(&shelf);
        third.keep(&shelf, &digests).expect("third");
        assert_eq!(ids(&first), place.tokenizer.encode(TEXT).expect("encode"));
    }

    #[test]
    fn what_a_process_left_is_swept() {
        let place = Place::new();
        let shelf = place.shelf();
        let (written, _) = place.write(&shelf);
        let tokens = place.cache.join("tokens");
        std::fs::create_dir(tokens.join("partial-dead")).expect("folder");
        std::fs::write(tokens.join("partial-dead/ids"), "x").expect("write");
        std::fs::write(tokens.join("partial-dead.lock"), "").expect("write");
        assert_eq!(place.beside(), 4);
        let (draft, _) = shelf.begin().expect("begin");
        assert_eq!(place.beside(), 4, "the dead one is gone, the living one stays");
        drop((written, draft));
        assert_eq!(place.beside(), 0);
    }

    #[test]
    fn without_a_cache_tokens_go_with_the_process() {
        let place = Place::new();
        // A file where the cache's folder should be.
        std::fs::write(place.cache.parent().expect("parent"), "").expect("write");
        let shelf = place.shelf();
        let (draft, why) = shelf.begin().expect("begin");
        assert!(why.expect("a reason").contains("so the text's tokens are not kept"));
        drop(draft);
        let shelf = TokenCache::new(None).shelf(&place.sources, "recipe");
        let (written, digests) = place.write(&shelf);
        let path = written.space.path().to_path_buf();
        let kept = written.keep(&shelf, &digests).expect("keep");
        assert!(kept.folder.is_none() && path.exists());
        let part = kept.corpus.tokens().part(0..2);
        drop(kept);
        assert!(path.exists() && part.len() == 2);
        drop(part);
        assert!(!path.exists(), "goes with the last that holds a part of it");
    }
}
