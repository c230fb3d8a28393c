//! All of a run that can be wrong before an adapter is opened: settings, the place for its folder, text, tokenizer,
//! lengths. What comes out only wants a device.

use super::run_folder::RunFolder;
use super::settings::Settings;
use crate::Result;
use crate::data::baseline::{Baseline, baseline};
use crate::data::corpus;
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::WindowOrder;
use std::path::{Path, PathBuf};

/// A run that is ready for a device.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What was asked for.
    pub settings: Settings,
    /// Where the run's folder will appear.
    pub out: PathBuf,
    /// Trained on the text.
    pub tokenizer: Tokenizer,
    /// Ids to train on.
    pub training: Vec<u32>,
    /// Ids held out for evaluation: the last share.
    pub held_out: Vec<u32>,
    /// UTF-8 bytes of the text that is held out.
    pub held_out_bytes: usize,
    /// Updates of the run.
    pub steps: u32,
    /// What counting reaches on the ids held out.
    pub baseline: Baseline,
    /// Files that the run's folder holds besides its own, such as a text made for it: name and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Prepared {
    /// Reads the files of `settings.data`, one behind the other.
    ///
    /// # Errors
    /// [`crate::Error::Input`] that names key or file and says what would be right.
    pub fn new(settings: Settings, out: &Path) -> Result<Self> {
        RunFolder::check_new(out)?;
        settings.validate()?;
        Self::of_text(read(&settings)?.as_str(), None, settings, out)
    }

    /// For a run at `out` that goes on: as [`Prepared::new`], with the run's own tokenizer.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn resumed(settings: Settings, tokenizer: Tokenizer, out: &Path) -> Result<Self> {
        settings.validate()?;
        Self::of_text(read(&settings)?.as_str(), Some(tokenizer), settings, out)
    }

    /// As [`Prepared::new`], with the text at hand.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn from_text(settings: Settings, text: &str, out: &Path) -> Result<Self> {
        RunFolder::check_new(out)?;
        settings.validate()?;
        Self::of_text(text, None, settings, out)
    }

    fn of_text(text: &str, given: Option<Tokenizer>, settings: Settings, out: &Path) -> Result<Self> {
        let model = &settings.model;
        let tokenizer = match given {
            Some(tokenizer) => tokenizer,
            None => Tokenizer::train(text, model.vocab_size, settings.pretokenizer)?,
        };
        let ids = tokenizer.encode(text)?;
        let (training, held_out) = corpus::split(&ids, settings.valid);
        corpus::check_part("training", training, model.n_positions)?;
        corpus::check_part("held-out", held_out, model.n_positions)?;
        let order = WindowOrder::new(training.len(), model.n_positions, settings.seed)?;
        let batch = settings.batch as u64;
        let steps = settings.steps(|epochs| {
            let updates = order.windows_in(epochs).div_ceil(batch);
            u32::try_from(updates).unwrap_or(u32::MAX)
        });
        Ok(Prepared {
            baseline: baseline(training, held_out, tokenizer.vocab_size())?,
            held_out_bytes: tokenizer.decode(held_out)?.len(),
            training: training.to_vec(),
            held_out: held_out.to_vec(),
            out: out.to_path_buf(),
            files: Vec::new(),
            tokenizer,
            steps,
            settings,
        })
    }

    /// What a user should hear of a run that is allowed, but hardly meant.
    pub fn warnings(&self) -> Vec<String> {
        let mut all: Vec<String> = self.settings.warning(self.steps).into_iter().collect();
        let (has, asked) = (self.tokenizer.vocab_size(), self.settings.model.vocab_size);
        if has < asked {
            all.push(format!(
                "vocab_size = {asked}: the text gives only {has} tokens, so {} rows of the model stay unused",
                asked - has
            ));
        }
        all
    }

    /// "nano on shakespeare.txt", for people.
    pub fn title(&self) -> String {
        let name = |path: &PathBuf| path.file_name().map(|n| n.to_string_lossy().into_owned());
        match self.settings.data.first().and_then(name) {
            Some(name) => format!("{} on {name}", self.settings.preset),
            None => self.settings.preset.clone(),
        }
    }
}

fn read(settings: &Settings) -> Result<String> {
    let mut text = String::new();
    for file in settings.data_files()? {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &corpus::read_text(file)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Length;

    fn prepare(text: &str, change: impl FnOnce(&mut Settings)) -> Result<Prepared> {
        let folder = tempfile::tempdir().expect("folder");
        let mut settings = Settings::default();
        settings.model.n_positions = 16;
        change(&mut settings);
        Prepared::from_text(settings, text, &folder.path().join("run"))
    }

    #[test]
    fn a_text_is_cut_in_two_and_counted() {
        let text = crate::data::stories::stories(1, 20_000);
        let run = prepare(&text, |_| ()).expect("prepared");
        let all = [run.training.clone(), run.held_out.clone()].concat();
        assert_eq!(run.tokenizer.decode(&all).expect("decode"), text);
        assert_eq!(run.held_out.len(), (all.len() as f64 * 0.05) as usize);
        assert!(text.len() > 19 * run.held_out_bytes && run.held_out_bytes > run.held_out.len());
        assert!(run.baseline.bigram < run.baseline.unigram && run.steps == 1000 && run.warnings().is_empty());
        let run = prepare(&text, |s| s.length = Length::Epochs(2)).expect("prepared");
        let windows = run.training.len() / 16 * 2;
        assert!((windows / 8 - 1..=windows / 8 + 1).contains(&(run.steps as usize)), "{}", run.steps);
        assert!(run.warnings()[0].starts_with("warmup = 200 is not below"), "{:?}", run.warnings());
    }

    #[test]
    fn what_is_too_short_is_named() {
        let says = |text: &str, what: &str| {
            let error = prepare(text, |_| ()).expect_err(what);
            assert!(error.to_string().contains(what) && error.exit_code() == 2, "{error}");
        };
        says("short", "the training part of the data has");
        says(&"some text that is longer, ".repeat(20), "the held-out part of the data has");
        let small = prepare(&"ab ".repeat(2000), |s| s.valid = 0.5).expect("prepared");
        assert!(small.warnings().iter().any(|w| w.contains("rows of the model stay unused")));
    }
}
