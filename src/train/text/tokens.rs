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
    check: impl FnOnce(&Corpus) -> Result<()>,
) -> Result<Text> {
    let sources = TextFiles::find(settings.data_files()?, settings.document_separator.as_deref())?;
    let warnings: Vec<String> = sources.separator_warning()?.into_iter().collect();
    let recipe = match &tokenizer {
        Some(tokenizer) => tokenizer.to_json()?,
        None => format!("trained {} {}", settings.model.vocab_size, settings.pretokenizer),
    };
    let entries = cache.entries(&sources, &recipe);
    let mut known = if entries.is_empty() { None } else { Some(sources.digests()?) };
    if let Some(digests) = &known
        && let Some(found) = entries.find(digests, tokenizer.as_ref().map(Tokenizer::vocab_size))
        && let Tokenized { corpus, token_bytes, trained, folder: Some(folder) } = found
        && let Some(tokenizer) = tokenizer.clone().or(trained)
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
    let text = encode(&sources, &known, &entries, tokenizer, is_trained, check)?;
    Ok(Text { warnings, ..text })
}

fn encode(
    sources: &TextFiles,
    known: &Option<Digests>,
    entries: &Entries,
    tokenizer: Tokenizer,
    is_trained: bool,
    check: impl FnOnce(&Corpus) -> Result<()>,
) -> Result<Text> {
    let (mut writer, failure) = entries.writer()?;
    let mut encoder = Encoder::new(&tokenizer);
    let digests = sources.read(tokenizer.is_splittable(), &mut |block| writer.push(&encoder.encode(block)?))?;
    check_unchanged(sources, known, &digests)?;
    let finished = writer.finish(encoder.finish(), sources.are_documents(), is_trained.then_some(&tokenizer))?;
    check(&finished.corpus()?)?;
    let Tokenized { corpus, token_bytes, folder, .. } = finished.persist(entries, &digests)?;
    let source = folder.map_or(TokenSource::NotSaved(failure), TokenSource::Saved);
    Ok(Text { tokenizer, corpus, token_bytes, source, warnings: Vec::new() })
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
