//! Pretraining on text, prepared: settings, the run's folder, text, tokenizer and lengths are checked before an adapter is
//! opened.

use super::tokens::{self, Origin, Text};
use crate::config::ModelConfig;
use crate::data::baseline::{Baseline, baseline};
use crate::data::batch::Batch;
use crate::data::corpus::Corpus;
use crate::data::data_loader::{BatchSize, DataLoader};
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::Windows;
use crate::model::Capacity;
use crate::store::Model;
use crate::store::config_json;
use crate::store::token_cache::TokenCache;
use crate::train::metrics::EvaluationLine;
use crate::train::run_folder::RunFolder;
use crate::train::settings::Settings;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Pretraining on text, ready for a device. It implements [`crate::train::Objective`].
#[derive(Clone, Debug)]
pub struct Pretraining {
    /// The settings; `pretokenizer` is the tokenizer's.
    pub settings: Settings,
    /// Where the run's folder will appear.
    pub out: PathBuf,
    /// RawValue, or trained on the text.
    pub tokenizer: Tokenizer,
    /// The tokens to train on.
    pub training: Corpus,
    /// The tokens held out for evaluation: the last share.
    pub held_out: Corpus,
    /// UTF-8 bytes of the held-out text.
    pub held_out_bytes: u64,
    /// Updates of the run.
    pub steps: u32,
    /// The losses of count models on the held-out tokens.
    pub baseline: Baseline,
    /// Other files of the run's folder, such as a generated text: name and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Where the tokens came from.
    pub origin: Origin,
    /// First weights, dense, in the order of [`crate::config::ModelConfig::parameters`]; `None`: drawn at random.
    pub weights: Option<Vec<Vec<f32>>>,
    /// The last evaluation.
    pub evaluation: Option<EvaluationLine>,
    /// Warnings about the model that the weights come from.
    model_warnings: Vec<String>,
    pub(super) capacity: Capacity,
}

impl Pretraining {
    /// Reads the files of `settings.data`, one after another, for a run whose folder `out` is new. The tokenizer is the one
    /// given, else the one that `settings` name, else that of the model named by `init`, else one trained on the text.
    /// Tokens are kept in the cache.
    ///
    /// # Errors
    /// [`Error::Value`] and [`Error::File`] that name key or file; [`Error::Io`] when tokens cannot be written.
    pub fn new(settings: Settings, tokenizer: Option<Tokenizer>, out: &Path, cache: &TokenCache) -> Result<Self> {
        RunFolder::check_new(out)?;
        Self::read(settings, tokenizer, out, cache)
    }

    /// As [`Pretraining::new`], but `out` may exist. With a tokenizer, `settings.init` is not read: the caller has the
    /// weights.
    ///
    /// # Errors
    /// As [`Pretraining::new`].
    pub fn read(settings: Settings, tokenizer: Option<Tokenizer>, out: &Path, cache: &TokenCache) -> Result<Self> {
        settings.validate()?;
        let start = match tokenizer {
            Some(tokenizer) => Start { tokenizer: tokens::given(&settings, Some(tokenizer))?, ..Start::default() },
            None => Start::of(&settings)?,
        };
        let given = start.tokenizer.clone();
        let text = tokens::of_files(&settings, given, cache, |corpus| check_parts(corpus, &settings))?;
        Self::tokenized(settings, text, start, out)
    }

    /// As [`Pretraining::new`], with a text in memory.
    ///
    /// # Errors
    /// As [`Pretraining::new`].
    pub fn from_text(settings: Settings, text: &str, out: &Path) -> Result<Self> {
        RunFolder::check_new(out)?;
        settings.validate()?;
        let start = Start::of(&settings)?;
        let text = tokens::of_text(&settings, start.tokenizer.clone(), text)?;
        check_parts(&text.corpus, &settings)?;
        Self::tokenized(settings, text, start, out)
    }

    fn tokenized(mut settings: Settings, text: Text, start: Start, out: &Path) -> Result<Self> {
        let Text { tokenizer, corpus, token_bytes, origin } = text;
        settings.pretokenizer = tokenizer.pretokenizer();
        let (training, held_out) = corpus.split(settings.valid);
        let order = order(&settings, &training)?;
        let steps = settings.steps(|epochs| order.steps_in(epochs))?;
        let largest = order.largest_micro_batch(u64::from(steps))?;
        // A sequence that is held out, or a sample, may be longer than all micro-batches.
        let rows = largest.rows.max(settings.model.n_positions);
        Ok(Pretraining {
            baseline: baseline(&training, &held_out, tokenizer.vocab_size())?,
            held_out_bytes: token_bytes.after(training.tokens().len()),
            capacity: Capacity { rows, sequences: largest.sequences },
            training,
            held_out,
            out: out.to_path_buf(),
            files: Vec::new(),
            tokenizer,
            steps,
            origin,
            weights: start.weights,
            evaluation: None,
            model_warnings: start.warnings,
            settings,
        })
    }

    /// The run's batches from the beginning.
    ///
    /// # Errors
    /// As [`DataLoader::new`].
    pub fn order(&self) -> Result<DataLoader> {
        order(&self.settings, &self.training)
    }

    /// Tokens of an update: exactly for a stream, at most for documents.
    pub fn tokens_an_update(&self) -> usize {
        let positions = self.settings.model.n_positions;
        match self.settings.batching().size {
            BatchSize::Windows(n) => n * positions,
            BatchSize::Rows(rows) if self.training.is_stream() => rows / positions * positions,
            BatchSize::Rows(rows) => rows,
        }
    }

    /// The held-out part, in batches that fit the run's capacity.
    pub fn evaluation_batches(&self) -> impl Iterator<Item = Batch> + '_ {
        let Capacity { rows, sequences } = self.capacity;
        crate::data::windows::evaluation_batches(&self.held_out, self.settings.model.n_positions, rows, sequences)
    }

    /// Warnings about settings that are allowed but probably not intended.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.settings.warning(self.steps).into_iter().collect();
        all.extend(self.model_warnings.iter().cloned());
        let (has, asked) = (self.tokenizer.vocab_size(), self.settings.model.vocab_size);
        if has < asked {
            let unused = asked - has;
            all.push(format!(
                "vocab_size = {asked}: the tokenizer has {has} ids, so {unused} rows of the model are never used"
            ));
        }
        if let Origin::Dropped(Some(why)) = &self.origin {
            all.push(why.clone());
        }
        all
    }

    /// A sentence about where the tokens came from; `None` for a text in memory.
    pub fn notice(&self) -> Option<String> {
        match &self.origin {
            Origin::Cache(folder) => Some(format!("tokens read from the cache: {}", folder.display())),
            Origin::Kept(folder) => Some(format!("tokens saved in the cache: {}", folder.display())),
            Origin::Memory | Origin::Dropped(_) => None,
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

/// What a run starts from: nothing, a tokenizer, or a model.
#[derive(Default)]
struct Start {
    tokenizer: Option<Tokenizer>,
    weights: Option<Vec<Vec<f32>>>,
    warnings: Vec<String>,
}

impl Start {
    /// The start that the settings name.
    fn of(settings: &Settings) -> Result<Self> {
        let named = tokens::given(settings, None)?;
        let Some(init) = &settings.init else { return Ok(Start { tokenizer: named, ..Start::default() }) };
        let Model { folder, mut config, parameters, tokenizer, mut warnings } = Model::load(init)?.without_head();
        let folder = folder.as_deref().unwrap_or(init);
        let ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, summary_first_dropout, .. } = settings.model;
        config = ModelConfig { resid_pdrop, embd_pdrop, attn_pdrop, summary_first_dropout, ..config };
        if config_json::to_json(&config) != config_json::to_json(&settings.model) {
            let why = "the model's configuration differs from the settings";
            return Err(Error::value("init", init.display(), why));
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
                    .expected("give the one that it was trained with by --tokenizer FILE|DIR")
            })?,
        };
        Ok(Start { tokenizer: Some(tokenizer), weights: Some(parameters), warnings })
    }
}

fn order(settings: &Settings, training: &Corpus) -> Result<DataLoader> {
    DataLoader::new(training.clone(), settings.model.n_positions, settings.batching(), settings.seed)
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
    let needs = if corpus.is_stream() {
        format!(
            "a window of n_positions = {positions} needs {}, so give more text or a smaller n_positions",
            positions + 1
        )
    } else {
        format!("{} documents must hold one of 2 tokens or more, so give more text", corpus.document_count())
    };
    Err(Error::input(format!("the {part} part of the data has {tokens} tokens: {needs}")))
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
    fn a_text_is_split_and_its_updates_are_counted() {
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
        assert!(run.warnings()[0].starts_with("warmup = 200 is not below"), "{:?}", run.warnings());
    }

    #[test]
    fn a_text_that_is_too_short_is_refused_by_part() {
        let says = |text: &str, what: &str| {
            let error = prepare(text, |_| ()).expect_err(what);
            assert!(error.to_string().contains(what) && error.is_invalid_input(), "{error}");
        };
        says("short", "the training part of the data has");
        says(&"some text that is longer, ".repeat(20), "the held-out part of the data has");
        let small = prepare(&"ab ".repeat(2000), |s| s.valid = 0.5).expect("prepared");
        assert!(small.warnings().iter().any(|w| w.contains("rows of the model are never used")));
    }
}
