//! Turns a run's text into tokens, through the cache. A text that was tokenized before is read once, for its checksum. Any
//! other text is read to train a tokenizer, unless there is one, and then to encode it.

use crate::data::block::Block;
use crate::data::corpus::Corpus;
use crate::data::text_files::{self, Digests, TextFiles};
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::encoder::Encoder;
use crate::data::tokenizer::token_bytes::TokenBytes;
use crate::data::tokenizer::words::WordCounts;
use crate::store::token_cache::{Entries, TokenCache, Tokenized};
use crate::train::settings::Settings;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where a run's tokens came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// From a text in memory.
    Memory,
    /// From this folder of the cache.
    Cache(PathBuf),
    /// The text was tokenized, and its tokens were saved in this folder of the cache.
    Saved(PathBuf),
    /// The text was tokenized, and its tokens were not saved; with the reason, if saving them failed.
    NotSaved(Option<String>),
}

/// The tokens of a text, and their tokenizer.
pub(crate) struct Text {
    pub tokenizer: Tokenizer,
    pub corpus: Corpus,
    pub token_bytes: TokenBytes,
    pub source: TokenSource,
    /// Warnings about the text.
    pub warnings: Vec<String>,
}

impl Text {
    /// Warnings about the text and its tokens.
    pub(in crate::train) fn all_warnings(&self) -> Vec<String> {
        let unknown = self.tokenizer.unknown_warning(self.corpus.tokens());
        self.warnings.iter().cloned().chain(self.tokenizer.warning()).chain(unknown).collect()
    }
}

/// The tokenizer of a model, else the one that the settings name; `None` when one is to be trained on the text.
///
/// # Errors
/// [`Error::Value`] when it has more ids than `vocab_size`, and the errors of [`Settings::named_tokenizer`].
pub(in crate::train) fn tokenizer(settings: &Settings, of_model: Option<Tokenizer>) -> Result<Option<Tokenizer>> {
    let tokenizer = match of_model {
        None => settings.named_tokenizer()?,
        of_model => of_model,
    };
    let vocab_size = settings.model.vocab_size;
    match tokenizer.as_ref().map(Tokenizer::vocab_size) {
        Some(ids) if ids > vocab_size => {
            Err(Error::value("vocab_size", vocab_size, format!("must be {ids} or more, the tokenizer's number of ids")))
        }
        _ => Ok(tokenizer),
    }
}

/// The tokens of the files of `settings.data`. `check` checks them before they are saved in the cache. Without a
/// tokenizer, one is trained on the text.
pub(in crate::train) fn from_files(
    settings: &Settings,
    tokenizer: Option<Tokenizer>,
    cache: &TokenCache,
    check: impl Fn(&Corpus) -> Result<()>,
) -> Result<Text> {
    let sources = TextFiles::find(settings.data_files()?, settings.document_separator.as_deref())?;
    let warnings = sources.warnings()?;
    let trained = format!("trained {} {}", settings.model.vocab_size, settings.pretokenizer);
    let recipe = tokenizer.as_ref().map_or(Ok(trained.clone()), Tokenizer::to_json)?;
    let entries = cache.entries(&sources, &recipe);
    // A resumed run has the tokenizer that was trained on its text: the entry of its first start has the same tokens.
    let of_first_start = tokenizer.as_ref().map(|_| cache.entries(&sources, &trained));
    let is_empty = entries.is_empty() && of_first_start.as_ref().is_none_or(Entries::is_empty);
    let mut known = if is_empty { None } else { Some(sources.digests()?) };
    if let Some(digests) = &known
        && let Some((tokenizer, found)) = find(&entries, of_first_start.as_ref(), digests, tokenizer.as_ref())?
        && let Tokenized { corpus, token_bytes, folder: Some(folder), .. } = found
    {
        check(&corpus)?;
        return Ok(Text { tokenizer, corpus, token_bytes, source: TokenSource::Cache(folder), warnings });
    }
    let (tokenizer, is_trained) = match tokenizer {
        Some(tokenizer) => (tokenizer, false),
        None => {
            let mut words = WordCounts::new(settings.pretokenizer);
            let digests = sources.read(true, &mut |block| words.add(block))?;
            check_unchanged(&sources, &known, &digests)?;
            known = Some(digests);
            (Tokenizer::train_on(&words, settings.model.vocab_size)?, true)
        }
    };
    let encode = |entries: &Entries| encode(&sources, &known, entries, &tokenizer, is_trained, &check);
    match encode(&entries) {
        // The disk of the cache is full, for example.
        Err(error) if entries.is_about(&error) => {
            let reason = entries.not_saved(&error);
            let text = encode(&entries.without_cache())?;
            Ok(Text { source: TokenSource::NotSaved(reason), warnings, ..text })
        }
        text => Ok(Text { warnings, ..text? }),
    }
}

/// The tokens of a text in the cache, and their tokenizer.
fn find(
    entries: &Entries,
    of_first_start: Option<&Entries>,
    digests: &Digests,
    tokenizer: Option<&Tokenizer>,
) -> Result<Option<(Tokenizer, Tokenized)>> {
    let own = entries.find(digests, tokenizer.map(Tokenizer::vocab_size));
    let own = own.and_then(|found| Some((tokenizer.cloned().or_else(|| found.trained.clone())?, found)));
    let (None, Some(tokenizer)) = (&own, tokenizer) else { return Ok(own) };
    let Some(found) = of_first_start.and_then(|entries| entries.find(digests, None)) else { return Ok(None) };
    let is_same = match &found.trained {
        Some(trained) => trained.to_json()? == tokenizer.to_json()?,
        None => false,
    };
    Ok(is_same.then(|| (tokenizer.clone(), found)))
}

fn encode(
    sources: &TextFiles,
    known: &Option<Digests>,
    entries: &Entries,
    tokenizer: &Tokenizer,
    is_trained: bool,
    check: &dyn Fn(&Corpus) -> Result<()>,
) -> Result<Text> {
    let (mut writer, failure) = entries.writer()?;
    let mut encoder = Encoder::new(tokenizer);
    let digests = sources.read(tokenizer.is_splittable(), &mut |block| writer.push(&encoder.encode(block)?))?;
    check_unchanged(sources, known, &digests)?;
    let finished = writer.finish(encoder.finish(), sources.are_documents(), is_trained.then_some(tokenizer))?;
    check(&finished.corpus()?)?;
    let Tokenized { corpus, token_bytes, folder, not_saved, .. } = finished.persist(entries, &digests)?;
    let source = folder.map_or(TokenSource::NotSaved(failure.or(not_saved)), TokenSource::Saved);
    Ok(Text { tokenizer: tokenizer.clone(), corpus, token_bytes, source, warnings: Vec::new() })
}

/// Checks that no file has changed since it was read before.
fn check_unchanged(sources: &TextFiles, known: &Option<Digests>, digests: &Digests) -> Result<()> {
    let Some(known) = known else { return Ok(()) };
    match sources.files().iter().zip(known.iter().zip(digests)).find(|(_, (before, now))| before != now) {
        Some((file, _)) => {
            Err(Error::file(&file.path, "changed while it was read").expected("must not change while a run starts"))
        }
        None => Ok(()),
    }
}

/// The tokens of a text in memory.
pub(in crate::train) fn from_text(settings: &Settings, tokenizer: Option<Tokenizer>, text: &str) -> Result<Text> {
    let separator = settings.document_separator.as_deref();
    let read = |splittable, each: &mut dyn FnMut(Block<'_>) -> Result<()>| {
        text_files::read_from(&mut text.as_bytes(), Path::new("the text"), separator, splittable, each)
    };
    let tokenizer = match tokenizer {
        Some(tokenizer) => tokenizer,
        None => {
            let mut words = WordCounts::new(settings.pretokenizer);
            read(true, &mut |block| words.add(block))?;
            Tokenizer::train_on(&words, settings.model.vocab_size)?
        }
    };
    let mut encoder = Encoder::new(&tokenizer);
    let (mut ids, mut bytes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    read(tokenizer.is_splittable(), &mut |block| {
        let encoded = encoder.encode(block)?;
        ids.extend(encoded.ids);
        bytes.extend(encoded.bytes);
        ends.extend(encoded.document_ends);
        Ok(())
    })?;
    let token_bytes = TokenBytes::new(bytes, encoder.finish());
    let corpus = if separator.is_some() { Corpus::documents(ids, ends)? } else { Corpus::stream(ids) };
    Ok(Text { tokenizer, corpus, token_bytes, source: TokenSource::Memory, warnings: Vec::new() })
}
