//! Preparing pretraining: settings, the run's folder, text, tokenizer and lengths are checked before an adapter is opened.

use super::tokens::{self, Text, TokenSource};
use crate::config::ModelConfig;
use crate::data::baseline::{Baseline, baseline};
use crate::data::batch::Batch;
use crate::data::corpus::Corpus;
use crate::data::data_loader::{BatchSize, DataLoader};
use crate::data::padding::Padding;
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::Windows;
use crate::model::Capacity;
use crate::store::Model;
use crate::store::config_json;
use crate::store::token_cache::TokenCache;
use crate::train::metrics::EvaluationLine;
use crate::train::run_path::RunPath;
use crate::train::settings::Settings;
use crate::train::settings::value::Warmup;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A prepared pretraining run, which implements [`crate::train::Objective`].
#[derive(Clone, Debug)]
pub struct Pretraining {
    /// The settings, with the `pretokenizer` of the tokenizer.
    pub settings: Settings,
    /// The path of the run's folder.
    pub out: RunPath,
    /// The tokenizer: one that existed, or one trained on the text.
    pub tokenizer: Tokenizer,
    /// The tokens to train on.
    pub training: Corpus,
    /// The tokens held out for validation, at the end of the text.
    pub held_out: Corpus,
    /// UTF-8 bytes of the held-out text.
    pub held_out_bytes: u64,
    /// Steps of the run.
    pub steps: u32,
    /// The losses of count models on the held-out tokens.
    pub baseline: Baseline,
    /// Other files of the run's folder, such as a generated text: name and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where the tokens came from.
    pub token_source: TokenSource,
    /// Initial weights, dense, in the order of [`crate::config::ModelConfig::parameters`]; `None`: random.
    pub weights: Option<Vec<Vec<f32>>>,
    /// The latest evaluation.
    pub evaluation: Option<EvaluationLine>,
    /// Warnings about the model of the initial weights, and about the text.
    input_warnings: Vec<String>,
    /// Whether the tokenizer could encode all of the held-out text.
    pub(super) held_out_is_known: bool,
    /// The capacity for the micro-batches of a single rank, and their number.
    pub(super) planned: (usize, Capacity),
}

impl Pretraining {
    /// Reads the files of `settings.data` for a new run in the folder `out`. The tokenizer is the argument, else the one
    /// that the setting `tokenizer` names, else that of the model that `init` names, else one trained on the text. Tokens
    /// are saved in the cache.
    ///
    /// # Errors
    /// [`Error::Value`] with the key, [`Error::File`] with the file; [`Error::Io`] when tokens cannot be written.
    pub fn new(settings: Settings, tokenizer: Option<Tokenizer>, out: &Path, cache: &TokenCache) -> Result<Self> {
        Self::read(settings, tokenizer, RunPath::reserve(out)?, cache)
    }

    /// As [`Pretraining::new`], but `out` may exist or be reserved. When a tokenizer is passed, the model that `init` names is not read.
    ///
    /// # Errors
    /// As [`Pretraining::new`].
    pub fn read(
        settings: Settings,
        tokenizer: Option<Tokenizer>,
        out: impl Into<RunPath>,
        cache: &TokenCache,
    ) -> Result<Self> {
        settings.validate()?;
        let start = match tokenizer {
            Some(tokenizer) => Start { tokenizer: tokens::tokenizer(&settings, Some(tokenizer))?, ..Start::default() },
            None => Start::new(&settings)?,
        };
        let tokenizer = start.tokenizer.clone();
        let text = tokens::from_files(&settings, tokenizer, cache, |corpus| check_parts(corpus, &settings))?;
        Self::with_tokens(settings, text, start, out.into())
    }

    /// Checks the tokenizer of the settings, without reading the text.
    ///
    /// # Errors
    /// [`Error::Value`] when it has more ids than `vocab_size`; [`Error::File`] when it cannot be read.
    pub fn check_tokenizer(settings: &Settings) -> Result<()> {
        tokens::tokenizer(settings, None).map(drop)
    }

    /// As [`Pretraining::new`], for a text in memory.
    ///
    /// # Errors
    /// As [`Pretraining::new`].
    pub fn from_text(settings: Settings, text: &str, out: &Path) -> Result<Self> {
        Self::from_text_reserved(settings, text, RunPath::reserve(out)?)
    }

    /// As [`Pretraining::from_text`], for a run whose path is reserved.
    ///
    /// # Errors
    /// As [`Pretraining::new`].
    pub fn from_text_reserved(settings: Settings, text: &str, out: RunPath) -> Result<Self> {
        settings.validate()?;
        let start = Start::new(&settings)?;
        let text = tokens::from_text(&settings, start.tokenizer.clone(), text)?;
        check_parts(&text.corpus, &settings)?;
        Self::with_tokens(settings, text, start, out)
    }

    fn with_tokens(mut settings: Settings, text: Text, start: Start, out: RunPath) -> Result<Self> {
        if settings.measures_batch {
            // The smallest, until it is measured.
            settings.batch = settings.micro_batches() * settings.ranks();
        }
        let mut warnings = start.warnings;
        warnings.extend(text.all_warnings());
        let Text { tokenizer, corpus, token_bytes, source, .. } = text;
        warnings.extend(settings.use_tokenizer(&tokenizer));
        let (training, held_out) = corpus.split(settings.valid);
        let loader = data_loader(&settings, &training)?;
        let steps = settings.steps(|epochs| loader.steps_in(epochs))?;
        // A run that is made longer later keeps its warm-up.
        settings.warmup = match settings.warmup {
            Warmup::Preset(_) => Warmup::Steps(settings.warmup_steps(steps)),
            given => given,
        };
        let planned = (settings.micro_batches(), capacity(&settings, &loader, steps)?);
        Ok(Pretraining {
            held_out_is_known: tokenizer.unknown_count(held_out.tokens()) == 0,
            baseline: baseline(&training, &held_out, tokenizer.vocab_size())?,
            held_out_bytes: token_bytes.after(training.tokens().len()),
            planned,
            training,
            held_out,
            out,
            files: Vec::new(),
            tokenizer,
            steps,
            token_source: source,
            weights: start.weights,
            evaluation: None,
            input_warnings: warnings,
            settings,
        })
    }

    /// Sets the key `batch`, and what follows from it.
    ///
    /// # Errors
    /// As [`DataLoader::new`].
    pub(super) fn set_sequences(&mut self, batch: usize) -> Result<()> {
        (self.settings.batch, self.settings.measures_batch) = (batch, false);
        let loader = self.data_loader()?;
        self.steps = self.settings.steps(|epochs| loader.steps_in(epochs))?;
        self.planned = (self.settings.micro_batches(), capacity(&self.settings, &loader, self.steps)?);
        Ok(())
    }

    /// A loader of the run's batches, at the start of the data.
    ///
    /// # Errors
    /// As [`DataLoader::new`].
    pub fn data_loader(&self) -> Result<DataLoader> {
        data_loader(&self.settings, &self.training)
    }

    /// As [`Pretraining::data_loader`], with the batch of a step divided into so many micro-batches.
    pub(super) fn data_loader_of(&self, micro_batches: usize) -> Result<DataLoader> {
        data_loader(&Settings { accumulate: Some(micro_batches), ..self.settings.clone() }, &self.training)
    }

    /// Tokens per step: exact for a stream, the most for documents.
    pub fn tokens_per_step(&self) -> usize {
        let positions = self.settings.model.n_positions;
        match self.settings.batching().size {
            BatchSize::Windows(n) => n * positions,
            BatchSize::Rows(rows) if self.training.is_stream() => rows / positions * positions,
            BatchSize::Rows(rows) => rows,
        }
    }

    /// The batches of the held-out part, which fit a capacity.
    pub fn evaluation_batches(&self, capacity: Capacity) -> impl Iterator<Item = Batch> + '_ {
        let Capacity { rows, sequences } = capacity;
        crate::data::windows::evaluation_batches(&self.held_out, self.settings.model.n_positions, rows, sequences)
    }

    /// Warnings about settings that are allowed but probably not intended.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.settings.warnings(self.steps);
        all.extend(self.input_warnings.iter().cloned());
        let (ids, rows) = (self.tokenizer.vocab_size(), self.settings.model.vocab_size);
        if ids < rows {
            let unused = rows - ids;
            all.push(format!(
                "vocab_size = {rows}: the tokenizer has {ids} ids, so {unused} rows of the token embedding are never used"
            ));
        }
        let batching = self.settings.batching;
        if self.training.is_stream() && batching != Padding::Packed {
            all.push(format!(
                "batching = {batching} has no effect: all sequences of one stream of text are of one length"
            ));
        }
        if let TokenSource::NotSaved(Some(reason)) = &self.token_source {
            all.push(reason.clone());
        }
        all
    }

    /// A note about the tokens in the cache; `None` when they are not there.
    pub fn notice(&self) -> Option<String> {
        match &self.token_source {
            TokenSource::Cache(folder) => Some(format!("tokens read from the cache: {}", folder.display())),
            TokenSource::Saved(folder) => Some(format!("tokens saved in the cache: {}", folder.display())),
            TokenSource::Memory | TokenSource::NotSaved(_) => None,
        }
    }

    /// A title such as "nano on shakespeare.txt".
    pub fn title(&self) -> String {
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let model = self.settings.init.as_ref().and_then(name).unwrap_or_else(|| self.settings.preset.clone());
        match self.settings.data.first().and_then(name) {
            Some(name) => format!("{model} on {name}"),
            None => model,
        }
    }
}

/// The start of a run: from scratch, from a tokenizer, or from a model.
#[derive(Default)]
struct Start {
    tokenizer: Option<Tokenizer>,
    weights: Option<Vec<Vec<f32>>>,
    warnings: Vec<String>,
}

impl Start {
    /// Reads the tokenizer or the model that the settings name.
    fn new(settings: &Settings) -> Result<Self> {
        let named = tokens::tokenizer(settings, None)?;
        let Some(init) = &settings.init else { return Ok(Start { tokenizer: named, ..Start::default() }) };
        let Model { folder, mut config, parameters, tokenizer, mut warnings } = Model::load(init)?.without_head();
        let folder = folder.as_deref().unwrap_or(init);
        let ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, summary_first_dropout, .. } = settings.model;
        config = ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, summary_first_dropout, ..config };
        if config_json::to_json(&config) != config_json::to_json(&settings.model) {
            let expected = "the model's configuration differs from the settings";
            return Err(Error::value("init", init.display(), expected));
        }
        let tokenizer = match (named, tokenizer) {
            (Some(named), Some(own)) => {
                if named.to_json()? != own.to_json()? {
                    let folder = folder.display();
                    warnings.push(format!(
                        "the tokenizer differs from that of {folder}, which the weights were trained with"
                    ));
                }
                named
            }
            (named, own) => named.or(own).ok_or_else(|| {
                Error::file(folder, "has no tokenizer")
                    .expected("name the one that it was trained with by --tokenizer FILE|DIR")
            })?,
        };
        Ok(Start { tokenizer: Some(tokenizer), weights: Some(parameters), warnings })
    }
}

fn data_loader(settings: &Settings, training: &Corpus) -> Result<DataLoader> {
    DataLoader::new(training.clone(), settings.model.n_positions, settings.batching(), settings.seed)
}

/// The largest micro-batch of a run.
pub(super) fn capacity(settings: &Settings, loader: &DataLoader, steps: u32) -> Result<Capacity> {
    let largest = loader.largest_micro_batch(u64::from(steps))?;
    // A held-out sequence or a sample may have more rows than every micro-batch.
    Ok(Capacity { rows: largest.rows.max(settings.model.n_positions), sequences: largest.sequences })
}

/// Checks that the training part and the held-out part both have a sequence.
fn check_parts(corpus: &Corpus, settings: &Settings) -> Result<()> {
    let (training, held_out) = corpus.split(settings.valid);
    check_part("training", &training, settings.model.n_positions)?;
    check_part("held-out", &held_out, settings.model.n_positions)
}

/// Checks that one part has a sequence.
fn check_part(part: &str, corpus: &Corpus, positions: usize) -> Result<()> {
    if Windows::new(corpus.clone(), positions).is_ok() {
        return Ok(());
    }
    let tokens = corpus.tokens().len();
    let (found, expected) = if corpus.is_stream() {
        let least = positions + 1;
        (
            tokens.to_string(),
            format!("must be {least} or more for n_positions = {positions}: use more text or a smaller n_positions"),
        )
    } else {
        let found = format!("{tokens} in {} documents", corpus.document_count());
        (found, "one document must have 2 or more: use more text".into())
    };
    Err(Error::value(format!("data: tokens of the {part} part"), found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::settings::Length;

    fn prepare(text: &str, change: impl FnOnce(&mut Settings)) -> Result<Pretraining> {
        let folder = tempfile::tempdir().expect("folder");
        let mut settings = Settings::default();
        settings.model.n_positions = 16;
        change(&mut settings);
        Pretraining::from_text(settings, text, &folder.path().join("run"))
    }

    #[test]
    fn a_text_is_split_and_its_steps_are_counted() {
        let text = crate::data::synthetic::stories::stories(1, 20_000);
        let run = prepare(&text, |_| ()).expect("prepared");
        let all = [&run.training.tokens()[..], run.held_out.tokens()].concat();
        assert_eq!(run.tokenizer.decode(&all).expect("decode"), text);
        assert_eq!(run.held_out.tokens().len(), (all.len() as f64 * 0.05) as usize);
        assert!(text.len() as u64 > 19 * run.held_out_bytes);
        assert!(run.held_out_bytes > run.held_out.tokens().len() as u64);
        assert!(run.baseline.bigram < run.baseline.unigram && run.steps == 1000 && run.warnings().is_empty());
        let run = prepare(&text, |s| s.length = Length::Epochs(2)).expect("prepared");
        let windows = run.training.tokens().len() / 16 * 2;
        assert!((windows / 8 - 1..=windows / 8 + 1).contains(&(run.steps as usize)), "{}", run.steps);
        // The preset's warm-up is cut, a given one is not.
        assert_eq!((run.settings.warmup, run.warnings()), (Warmup::Steps(run.steps / 5), vec![]));
        let change = |s: &mut Settings| (s.length, s.warmup) = (Length::Steps(100), Warmup::Steps(100));
        let warnings = prepare(&text, change).expect("prepared").warnings();
        assert!(warnings[0].starts_with("warmup = 100 is not below"), "{warnings:?}");
        let warnings = prepare(&text, |s| s.batching = Padding::Grouped).expect("prepared").warnings();
        assert!(warnings[0].starts_with("batching = grouped has no effect"), "{warnings:?}");
    }

    #[test]
    fn a_text_that_is_too_short_is_refused_by_part() {
        let refused = |text: &str, what: &str| {
            let error = prepare(text, |_| ()).expect_err(what);
            assert!(error.to_string().contains(what) && error.is_invalid_input(), "{error}");
        };
        refused("short", "tokens of the training part = ");
        refused(&"some text that is longer, ".repeat(20), "tokens of the held-out part = ");
        let small = prepare(&"ab ".repeat(2000), |s| s.valid = 0.5).expect("prepared");
        assert!(small.warnings().iter().any(|w| w.contains("rows of the token embedding are never used")));
    }
}
