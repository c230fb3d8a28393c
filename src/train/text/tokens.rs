//! A run's text to tokens, by way of the cache: a text that was tokenized before is read once, to know it again; else it
//! is read to train a tokenizer, where none is given, and to encode it.

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
pub enum Origin {
    /// From a text in memory.
    Memory,
    /// They lay in this folder of the cache.
    Cache(PathBuf),
    /// The text was tokenized, and its tokens are kept in this folder.
    Kept(PathBuf),
    /// The text was tokenized, and its tokens go with the process; the reason, where they should have been kept.
    Dropped(Option<String>),
}

/// A text's tokens and what made them.
pub(crate) struct Text {
    pub tokenizer: Tokenizer,
    pub corpus: Corpus,
    pub token_bytes: TokenBytes,
    pub origin: Origin,
}

/// The tokenizer that comes with a model, else the one that the settings name; none where one is to be trained.
pub(in crate::train) fn given(settings: &Settings, tokenizer: Option<Tokenizer>) -> Result<Option<Tokenizer>> {
    let given = match tokenizer {
        None => settings.named_tokenizer()?,
        tokenizer => tokenizer,
    };
    let allows = settings.model.vocab_size;
    match &given {
        Some(tokenizer) if tokenizer.vocab_size() > allows => {
            let has = tokenizer.vocab_size();
            Err(Error::input(format!("vocab_size = {allows}: the tokenizer has {has} ids: must be {has} or more")))
        }
        _ => Ok(given),
    }
}

/// The tokens of the files of `settings.data`. `check` says what is wrong with them before they are kept.
pub(in crate::train) fn of_files(
    settings: &Settings,
    given: Option<Tokenizer>,
    cache: &TokenCache,
    check: impl FnOnce(&Corpus) -> Result<()>,
) -> Result<Text> {
    let sources = TextFiles::find(settings.data_files()?, settings.document_separator.as_deref())?;
    let recipe = match &given {
        Some(tokenizer) => tokenizer.to_json()?,
        None => format!("trained {} {}", settings.model.vocab_size, settings.pretokenizer),
    };
    let entries = cache.entries(&sources, &recipe);
    let mut known = if entries.is_empty() { None } else { Some(sources.digests()?) };
    if let Some(digests) = &known
        && let Some(found) = entries.find(digests, given.as_ref().map(Tokenizer::vocab_size))
        && let Tokenized { corpus, token_bytes, trained, folder: Some(folder) } = found
        && let Some(tokenizer) = given.clone().or(trained)
    {
        check(&corpus)?;
        return Ok(Text { tokenizer, corpus, token_bytes, origin: Origin::Cache(folder) });
    }
    let (tokenizer, is_trained) = match given {
        Some(tokenizer) => (tokenizer, false),
        None => {
            let mut words = WordCounts::new(settings.pretokenizer);
            let digests = sources.read(true, &mut |block| words.add(block))?;
            same(&sources, &known, &digests)?;
            known = Some(digests);
            (Tokenizer::train_on(&words, settings.model.vocab_size)?, true)
        }
    };
    encode(&sources, &known, &entries, tokenizer, is_trained, check)
}

fn encode(
    sources: &TextFiles,
    known: &Option<Digests>,
    entries: &Entries,
    tokenizer: Tokenizer,
    is_trained: bool,
    check: impl FnOnce(&Corpus) -> Result<()>,
) -> Result<Text> {
    let (mut writer, why) = entries.writer()?;
    let mut encoder = Encoder::new(&tokenizer);
    let digests = sources.read(tokenizer.is_splittable(), &mut |block| writer.push(&encoder.encode(block)?))?;
    same(sources, known, &digests)?;
    let finished = writer.finish(encoder.finish(), sources.are_documents(), is_trained.then_some(&tokenizer))?;
    check(&finished.corpus()?)?;
    let Tokenized { corpus, token_bytes, folder, .. } = finished.persist(entries, &digests)?;
    let origin = folder.map_or(Origin::Dropped(why), Origin::Kept);
    Ok(Text { tokenizer, corpus, token_bytes, origin })
}

/// Checks that a text is still the one that was read before.
fn same(sources: &TextFiles, known: &Option<Digests>, digests: &Digests) -> Result<()> {
    let Some(known) = known else { return Ok(()) };
    match sources.files().iter().zip(known.iter().zip(digests)).find(|(_, (before, now))| before != now) {
        Some((file, _)) => Err(Error::file(&file.path, "changed while it was read: must stay as it is")),
        None => Ok(()),
    }
}

/// The tokens of a text in memory.
pub(in crate::train) fn of_text(settings: &Settings, given: Option<Tokenizer>, text: &str) -> Result<Text> {
    let separator = settings.document_separator.as_deref();
    let read = |cuttable, each: &mut dyn FnMut(Block<'_>) -> Result<()>| {
        text_files::read_from(&mut text.as_bytes(), Path::new("the text"), separator, cuttable, each)
    };
    let tokenizer = match given {
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
    Ok(Text { tokenizer, corpus, token_bytes, origin: Origin::Memory })
}
