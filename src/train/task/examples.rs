//! The examples of a file, encoded for a model, and their evaluation batches.

use crate::data::tokenizer::Tokenizer;
use crate::model::Capacity;
use crate::tasks::{EncodedExample, EncodedExamples, Record, encode};
use crate::{Error, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most rows of an evaluation batch, unless a single example has more.
const EVALUATION_ROWS: usize = 4096;

/// The examples of a file, encoded for a model.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The file.
    pub path: PathBuf,
    /// One example per row of the file, in order.
    pub all: Arc<[EncodedExample]>,
    /// Examples with a text that was truncated to fit the model's positions.
    pub truncated: usize,
    /// A warning about text that the tokenizer does not have tokens for.
    unknown: Option<String>,
}

impl Examples {
    /// Encodes the records of a file.
    ///
    /// # Errors
    /// As [`encode`]; [`Error::File`] for a file without examples.
    pub fn new(path: &Path, records: &[Record], tokenizer: &Tokenizer, n_positions: usize) -> Result<Self> {
        if records.is_empty() {
            return Err(Error::file(path, "has no examples"));
        }
        let EncodedExamples { examples, truncated } = encode(records, tokenizer, n_positions)?;
        let ids: Vec<u32> = examples.iter().flat_map(|example| &example.sequences).flatten().copied().collect();
        let unknown = tokenizer.unknown_warning(&ids);
        Ok(Examples { path: path.to_path_buf(), all: examples.into(), truncated, unknown })
    }

    /// Warnings about examples that the model does not see completely. `n_positions` are those of the model.
    pub fn warnings(&self, n_positions: usize) -> Vec<String> {
        let (cut, all) = (self.truncated, self.all.len());
        let cut =
            (cut > 0).then(|| format!("{cut} of {all} examples were truncated to fit n_positions = {n_positions}"));
        cut.into_iter().chain(self.unknown.clone()).map(|what| format!("{}: {what}", self.path.display())).collect()
    }

    /// Ranges of examples for batches of about 4,096 rows, and the capacity that the largest one needs.
    pub fn batches(&self) -> (Vec<Range<usize>>, Capacity) {
        let (mut ranges, mut first, mut size) = (Vec::new(), 0, Capacity { rows: 0, sequences: 0 });
        let mut largest = Capacity { rows: 1, sequences: 1 };
        for (i, example) in self.all.iter().enumerate() {
            let added = size_of(example);
            if i > first && size.rows + added.rows > EVALUATION_ROWS {
                ranges.push(first..i);
                (first, size) = (i, Capacity { rows: 0, sequences: 0 });
            }
            size = Capacity { rows: size.rows + added.rows, sequences: size.sequences + added.sequences };
            largest = Capacity { rows: largest.rows.max(size.rows), sequences: largest.sequences.max(size.sequences) };
        }
        ranges.push(first..self.all.len());
        (ranges, largest)
    }
}

/// Rows and sequences of an example.
pub(super) fn size_of(example: &EncodedExample) -> Capacity {
    Capacity { rows: example.sequences.iter().map(Vec::len).sum(), sequences: example.sequences.len() }
}
