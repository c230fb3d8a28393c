//! metrics.jsonl: one JSON object a line, flushed line by line, so that a run that dies leaves what it knew.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An update. Numbers are printed in the fewest digits that read back as the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Updates done: the first line is 1.
    pub step: u32,
    /// Mean over the step's targets, nats.
    pub loss: f32,
    /// Learning rate of the update.
    pub lr: f64,
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f32,
    /// Real targets of the step.
    pub tokens: u64,
    /// Real tokens a second.
    pub tokens_per_second: f64,
    /// Seconds since the run began.
    pub elapsed_s: f64,
}

/// An evaluation of the held-out text after `step` updates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Updates done.
    pub step: u32,
    /// Mean over the held-out tokens, nats.
    pub valid_loss: f64,
    /// e to the loss.
    pub valid_perplexity: f64,
    /// Over the held-out text's UTF-8 bytes.
    pub valid_bits_per_byte: f64,
}

/// A line of the file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// An update.
    Step(StepLine),
    /// An evaluation.
    Evaluation(EvaluationLine),
}

/// The writer of metrics.jsonl.
pub struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Metrics {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::with(path.as_ref(), File::create(path.as_ref()))
    }

    /// Goes on at the end of a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        Self::with(path.as_ref(), File::options().append(true).create(true).open(path.as_ref()))
    }

    fn with(path: &Path, file: std::io::Result<File>) -> Result<Self> {
        let file = file.map_err(|e| Error::io(path, e))?;
        Ok(Metrics { path: path.into(), file: BufWriter::new(file) })
    }

    /// Writes an update and flushes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn step(&mut self, line: &StepLine) -> Result<()> {
        self.line(line)
    }

    /// Writes an evaluation and flushes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn evaluation(&mut self, line: &EvaluationLine) -> Result<()> {
        self.line(line)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.file, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .and_then(|()| self.file.flush())
            .map_err(|e| Error::io(&self.path, e))
    }
}

/// The lines of a metrics.jsonl.
///
/// # Errors
/// [`Error::Input`] with the number of the line that is none, or where the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Line>> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|_| Error::file(path, format!("line {}: expected a step or an evaluation", number + 1)))
    };
    text.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back_to_the_last_bit() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        let step = StepLine {
            step: 1,
            loss: 6.2753997,
            lr: 1e-5,
            grad_norm: 0.1,
            tokens: 1024,
            tokens_per_second: 5000.0 / 3.0,
            elapsed_s: 0.25,
        };
        let evaluation =
            EvaluationLine { step: 1, valid_loss: 3.386, valid_perplexity: 29.5, valid_bits_per_byte: 2.518 };
        Metrics::create(&path).expect("create").step(&step).expect("step");
        let mut metrics = Metrics::append(&path).expect("append");
        metrics.evaluation(&evaluation).expect("evaluation");
        // Not dropped: the flush is the line's own.
        assert_eq!(read(&path).expect("read"), [Line::Step(step), Line::Evaluation(evaluation)]);
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(
            text.starts_with(r#"{"step":1,"loss":6.2753997,"lr":0.00001,"grad_norm":0.1,"tokens":1024,"#),
            "{text}"
        );
        std::fs::write(&path, "{}\n").expect("write");
        assert!(read(&path).expect_err("no line").to_string().ends_with("line 1: expected a step or an evaluation"));
    }
}
