//! A model's loss on a text: dropout off, consecutive windows of P targets, each token but a document's first predicted
//! once, the mean over all of them (SPEC 6).

use crate::config::ModelConfig;
use crate::data::batch::{Batch, IGNORED};
use crate::data::corpus::Corpus;
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::{evaluation_batches, evaluation_windows};
use crate::model::Capacity;
use crate::store::token_cache::TokenCache;
use crate::train::settings::Settings;
use crate::train::text::tokens;
use crate::{Error, Result};
use std::path::PathBuf;

/// Rows of a batch at most, unless a window alone has more: enough for products that fill a device.
const ROWS: usize = 4096;

/// What a text comes to under a model.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean nats a token.
    pub loss: f64,
    /// e to the loss.
    pub perplexity: f64,
    /// All nats in bits, over the text's UTF-8 bytes: what compares tokenizers.
    pub bits_per_byte: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
}

/// Losses, summed in f64 in the order of the text, batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Sum in nats.
    pub nats: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
}

impl Losses {
    /// Adds a batch's losses, a row each; rows without a target count for nothing. `each` gets every predicted id and
    /// its loss.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the token's number in the text, [`Error::Device`] for a number of losses that is not
    /// the number of rows, and whatever `each` says.
    pub fn add(&mut self, batch: &Batch, losses: &[f32], mut each: impl FnMut(u32, f32) -> Result<()>) -> Result<()> {
        if losses.len() != batch.rows() {
            return Err(Error::device(format!("{} losses came back for {} rows", losses.len(), batch.rows())));
        }
        let mut nats = 0.0;
        for (target, loss) in batch.targets.iter().zip(losses).filter(|(target, _)| **target != IGNORED) {
            self.tokens += 1;
            if !loss.is_finite() {
                return Err(Error::NotFinite(format!("the loss of predicted token {} is {loss}", self.tokens)));
            }
            nats += f64::from(*loss);
            each(*target, *loss)?;
        }
        self.nats += nats;
        Ok(())
    }

    /// The figures, for a text of so many bytes.
    pub fn evaluation(&self, bytes: u64) -> Evaluation {
        let loss = self.nats / self.tokens.max(1) as f64;
        Evaluation {
            loss,
            perplexity: loss.exp(),
            bits_per_byte: self.nats / std::f64::consts::LN_2 / bytes.max(1) as f64,
            tokens: self.tokens,
            bytes,
        }
    }
}

/// A text under a tokenizer, its windows, and how many of them make a batch.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its tokens.
    pub corpus: Corpus,
    /// Its UTF-8 bytes.
    pub bytes: u64,
    /// Tokens to predict.
    pub targets: u64,
    /// The largest batch.
    pub capacity: Capacity,
    positions: usize,
}

impl Text {
    /// The text of files and folders of them, as in pretraining, for a model and its tokenizer.
    ///
    /// # Errors
    /// [`Error::Value`] for what cannot be read and for a text without a token to predict; [`Error::Io`] where tokens
    /// cannot be written.
    pub fn read(
        data: Vec<PathBuf>,
        document_separator: Option<String>,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
        cache: &TokenCache,
    ) -> Result<Self> {
        let positions = model.n_positions;
        let settings = Settings { data, document_separator, model: model.clone(), ..Settings::default() };
        let check = |corpus: &Corpus| Text::new(corpus.clone(), 0, positions).map(drop);
        let text = tokens::of_files(&settings, Some(tokenizer.clone()), cache, check)?;
        Text::new(text.corpus, text.token_bytes.after(0), positions)
    }

    /// Of a corpus that stands for so many bytes, in windows of at most `positions` inputs.
    ///
    /// # Errors
    /// [`Error::Value`] when it has no token to predict.
    pub fn new(corpus: Corpus, bytes: u64, positions: usize) -> Result<Self> {
        let (mut windows, mut targets) = (0usize, 0usize);
        for window in evaluation_windows(&corpus, positions) {
            (windows, targets) = (windows + 1, targets + window.len());
        }
        if targets == 0 {
            let (tokens, all) = (corpus.tokens().len(), corpus.document_count());
            let s = if tokens == 1 { "" } else { "s" };
            let documents = if corpus.is_stream() { String::new() } else { format!(" in {all} documents") };
            return Err(Error::input(format!(
                "the text has {tokens} token{s}{documents}: must have 2 or more in a row, one to begin with and one to \
                 predict"
            )));
        }
        let rows = ROWS.max(positions).min(targets.next_multiple_of(positions));
        let capacity = Capacity { rows, sequences: windows.min(rows) };
        Ok(Text { corpus, bytes, targets: targets as u64, capacity, positions })
    }

    /// The batches, in the order of the text.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + '_ {
        let Capacity { rows, sequences } = self.capacity;
        evaluation_batches(&self.corpus, self.positions, rows, sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::Sequence;

    #[test]
    fn figures_by_hand() {
        let sequence = Sequence { ids: vec![5, 6, 7], targets: vec![6, IGNORED, 8] };
        let batch = Batch::from_sequences(&[sequence]).expect("batch");
        let (mut losses, mut seen) = (Losses::default(), Vec::new());
        let mut each = |id, loss| {
            seen.push((id, loss));
            Ok(())
        };
        losses.add(&batch, &[2.0, 0.0, 1.0], &mut each).expect("losses");
        losses.add(&batch, &[0.5, f32::NAN, 0.5], &mut each).expect("a row without a target is not looked at");
        assert_eq!(seen, [(6, 2.0), (8, 1.0), (6, 0.5), (8, 0.5)]);
        let figures = losses.evaluation(10);
        assert_eq!((figures.loss, figures.tokens, figures.bytes), (1.0, 4, 10));
        assert_eq!(figures.perplexity, std::f64::consts::E);
        assert!((figures.bits_per_byte - 0.4 * std::f64::consts::LOG2_E).abs() < 1e-15);

        let error = losses.add(&batch, &[1.0, 0.0, f32::NAN], |_, _| Ok(())).expect_err("NaN");
        assert_eq!(
            (error.to_string().as_str(), error.is_invalid_input()),
            ("the loss of predicted token 6 is NaN", false)
        );
        assert!(losses.add(&batch, &[1.0], |_, _| Ok(())).is_err());
    }

    #[test]
    fn batches_fit_the_capacity_and_predict_all() {
        let documents = |lengths: &[u64]| {
            let ends: Vec<u64> = lengths.iter().scan(0, |end, n| Some(std::mem::replace(end, *end + n) + n)).collect();
            Corpus::documents((0..lengths.iter().sum::<u64>() as u32).collect::<Vec<_>>(), ends).expect("documents")
        };
        let stream = |n: u32| Corpus::stream((0..n).collect::<Vec<_>>());
        let cases = [
            (stream(2), 128),
            (stream(10_000), 128),
            (stream(700), 512),
            (stream(20_000), 6000),
            (documents(&[3, 0, 900, 1, 2]), 64),
        ];
        for (corpus, positions) in cases {
            let text = Text::new(corpus.clone(), 1, positions).expect("a text");
            let Capacity { rows, sequences } = text.capacity;
            let batches: Vec<Batch> = text.batches().collect();
            assert!(batches.iter().all(|b| b.rows() <= rows && b.sequences() <= sequences), "{positions}");
            assert_eq!(batches.iter().map(|b| u64::from(b.target_count)).sum::<u64>(), text.targets);
            let predicted: Vec<u32> = batches.iter().flat_map(|b| b.targets.clone()).collect();
            let expected: Vec<u32> = corpus.iter().flat_map(|d| d.iter().skip(1).copied()).collect();
            assert_eq!(predicted, expected);
        }
        for (corpus, says) in [
            (stream(0), "the text has 0 tokens: must have 2"),
            (stream(1), "the text has 1 token: must have 2"),
            (documents(&[1, 1, 0]), "the text has 2 tokens in 3 documents: must have 2"),
        ] {
            let error = Text::new(corpus, 0, 8).expect_err(says);
            assert!(error.to_string().starts_with(says) && error.is_invalid_input(), "{error}");
        }
    }
}
