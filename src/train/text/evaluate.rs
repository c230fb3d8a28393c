//! A model's loss on a text, without dropout: consecutive windows of P targets predict each token once, except the first of
//! a document; the loss is the mean over all of them (docs/spec.md section 6).

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

/// Most rows of a batch, unless a single window has more: enough for matrix products that use a whole device.
const ROWS: usize = 4096;

/// The results of a model on a text.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Mean loss, in nats per token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Total loss in bits, divided by the text's UTF-8 bytes. It can be compared across tokenizers. `None` for a text that the
    /// tokenizer could not encode completely.
    pub bits_per_byte: Option<f64>,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
}

/// The sum of losses, in f64, in the order of the text, batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Sum in nats.
    pub nats: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
}

impl Losses {
    /// Adds the losses of a batch, one per row; rows without a target are left out. Calls `each` with every predicted id
    /// and its loss.
    ///
    /// # Errors
    /// [`Error::NotFinite`] with the token's number in the text, [`Error::Value`] when the number of losses is not the
    /// number of rows, and the errors of `each`.
    pub fn add(&mut self, batch: &Batch, losses: &[f32], mut each: impl FnMut(u32, f32) -> Result<()>) -> Result<()> {
        if losses.len() != batch.rows() {
            return Err(Error::value("losses", losses.len(), format!("must be {}, one for each row", batch.rows())));
        }
        let mut nats = 0.0;
        for (target, loss) in batch.targets.iter().zip(losses).filter(|(target, _)| **target != IGNORED) {
            self.tokens += 1;
            if !loss.is_finite() {
                return Err(Error::not_finite("loss", format!("predicted token {}", self.tokens)));
            }
            nats += f64::from(*loss);
            each(*target, *loss)?;
        }
        self.nats += nats;
        Ok(())
    }

    /// The results, for a text of this many bytes.
    pub fn evaluation(&self, bytes: u64) -> Evaluation {
        let loss = self.nats / self.tokens.max(1) as f64;
        Evaluation {
            loss,
            perplexity: loss.exp(),
            bits_per_byte: Some(self.nats / std::f64::consts::LN_2 / bytes.max(1) as f64),
            tokens: self.tokens,
            bytes,
        }
    }
}

/// A tokenized text, and the capacity of its batches of windows.
#[derive(Clone, Debug)]
pub struct Text {
    /// The tokens of the text.
    pub corpus: Corpus,
    /// UTF-8 bytes of the text.
    pub bytes: u64,
    /// Number of tokens to predict.
    pub targets: u64,
    /// The size of the largest batch.
    pub capacity: Capacity,
    /// Warnings about the text.
    pub warnings: Vec<String>,
    /// Whether the tokenizer could encode all of the text, so that the loss covers it.
    pub is_known: bool,
    positions: usize,
}

impl Text {
    /// Reads the text of files and folders, as in pretraining, for a model and its tokenizer.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read; [`Error::Value`] for a text without a token to predict; [`Error::Io`] when
    /// tokens cannot be written.
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
        let text = tokens::from_files(&settings, Some(tokenizer.clone()), cache, check)?;
        let (warnings, is_known) = (text.all_warnings(), tokenizer.unknown_count(text.corpus.tokens()) == 0);
        Ok(Text { warnings, is_known, ..Text::new(text.corpus, text.token_bytes.after(0), positions)? })
    }

    /// The results of losses on the text.
    pub fn evaluation(&self, losses: &Losses) -> Evaluation {
        let evaluation = losses.evaluation(self.bytes);
        Evaluation { bits_per_byte: evaluation.bits_per_byte.filter(|_| self.is_known), ..evaluation }
    }

    /// A tokenized text of this many bytes, in windows of at most `positions` inputs.
    ///
    /// # Errors
    /// [`Error::Value`] when there is no token to predict.
    pub fn new(corpus: Corpus, bytes: u64, positions: usize) -> Result<Self> {
        let (mut windows, mut targets) = (0usize, 0usize);
        for window in evaluation_windows(&corpus, positions) {
            (windows, targets) = (windows + 1, targets + window.len());
        }
        if targets == 0 {
            let (tokens, documents) = (corpus.tokens().len(), corpus.document_count());
            let (found, expected) = if corpus.is_stream() {
                (tokens.to_string(), "must be 2 or more: the first token is not predicted")
            } else {
                let expected = "one document must have 2 or more: its first token is not predicted";
                (format!("{tokens} in {documents} documents"), expected)
            };
            return Err(Error::value("tokens of the text", found, expected));
        }
        let rows = ROWS.max(positions).min(targets.next_multiple_of(positions));
        let capacity = Capacity { rows, sequences: windows.min(rows) };
        let (warnings, is_known) = (Vec::new(), true);
        Ok(Text { corpus, bytes, targets: targets as u64, capacity, warnings, is_known, positions })
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
    fn results_are_those_computed_by_hand() {
        let sequence = Sequence { ids: vec![5, 6, 7], targets: vec![6, IGNORED, 8] };
        let batch = Batch::from_sequences(&[sequence]).expect("batch");
        let (mut losses, mut seen) = (Losses::default(), Vec::new());
        let mut each = |id, loss| {
            seen.push((id, loss));
            Ok(())
        };
        losses.add(&batch, &[2.0, 0.0, 1.0], &mut each).expect("losses");
        losses.add(&batch, &[0.5, f32::NAN, 0.5], &mut each).expect("a row without a target is left out");
        assert_eq!(seen, [(6, 2.0), (8, 1.0), (6, 0.5), (8, 0.5)]);
        let results = losses.evaluation(10);
        assert_eq!((results.loss, results.tokens, results.bytes), (1.0, 4, 10));
        assert_eq!(results.perplexity, std::f64::consts::E);
        assert!((results.bits_per_byte.expect("bits") - 0.4 * std::f64::consts::LOG2_E).abs() < 1e-15);

        let error = losses.add(&batch, &[1.0, 0.0, f32::NAN], |_, _| Ok(())).expect_err("NaN");
        assert_eq!(
            (error.to_string().as_str(), error.is_invalid_input()),
            ("predicted token 6: the loss is not finite", false)
        );
        assert!(losses.add(&batch, &[1.0], |_, _| Ok(())).is_err());
    }

    #[test]
    fn batches_fit_the_capacity_and_predict_every_token_once() {
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
        for (corpus, message) in [
            (stream(0), "tokens of the text = 0: must be 2"),
            (stream(1), "tokens of the text = 1: must be 2"),
            (documents(&[1, 1, 0]), "tokens of the text = 2 in 3 documents: one document must have 2"),
        ] {
            let error = Text::new(corpus, 0, 8).expect_err(message);
            assert!(error.to_string().starts_with(message) && error.is_invalid_input(), "{error}");
        }
    }
}
