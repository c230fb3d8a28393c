//! metrics.jsonl: one JSON object a line, flushed line by line, so that a run that dies leaves what it knew.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::atomic::write_atomic;
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
    /// LossCounts targets of the step.
    pub tokens: u64,
    /// LossCounts tokens a second.
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

/// An update of a run on a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStepLine {
    /// Updates done: the first line is 1.
    pub step: u32,
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// L3 = L2 + λ·L1.
    pub loss: f64,
    /// L2: mean over the step's examples.
    pub task_loss: f64,
    /// L1: mean over the step's targets, nats; none where λ is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_loss: Option<f64>,
    /// Learning rate of the update.
    pub lr: f64,
    /// Global norm of the gradient of what learns, before clipping.
    pub grad_norm: f32,
    /// Tokens of the step.
    pub tokens: u64,
    /// Examples of the step.
    pub examples: u32,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Seconds since the run began.
    pub elapsed_s: f64,
}

/// An epoch of a run on a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Counted from 1.
    pub epoch: u32,
    /// Updates done.
    pub step: u32,
    /// Mean task loss over the epoch's examples, each before the update that it was in.
    pub train_loss: f64,
    /// `valid_loss`, `valid_accuracy`, …: those that are defined.
    #[serde(flatten)]
    pub valid: BTreeMap<String, f64>,
}

/// The examples that were kept apart, once, with the best epoch's weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLine {
    /// The epoch whose weights they were.
    pub best_epoch: u32,
    /// `test_loss`, `test_accuracy`, …: those that are defined.
    #[serde(flatten)]
    pub test: BTreeMap<String, f64>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// An update of a run on a task. First, since it has all that the next one has.
    TaskStep(TaskStepLine),
    /// An update.
    Step(StepLine),
    /// An evaluation.
    Evaluation(EvaluationLine),
    /// An epoch of a run on a task.
    Epoch(EpochLine),
    /// The end of a run on a task.
    Test(TestLine),
}

impl Line {
    /// Updates done when it was written; for what comes after all of them, the largest number.
    pub fn updates(&self) -> u32 {
        match self {
            Line::Step(line) => line.step,
            Line::Evaluation(line) => line.step,
            Line::TaskStep(line) => line.step,
            Line::Epoch(line) => line.step,
            Line::Test(_) => u32::MAX,
        }
    }
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

    /// Writes a line and flushes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, line: &Line) -> Result<()> {
        serde_json::to_writer(&mut self.file, line)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .and_then(|()| self.file.flush())
            .map_err(|e| Error::io(&self.path, e))
    }

    /// Puts all lines on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        self.file.get_ref().sync_data().map_err(|e| Error::io(&self.path, e))
    }
}

/// The lines of a metrics.jsonl.
///
/// # Errors
/// [`Error::Value`] with the number of the line that is none, or where the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Line>> {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
    text.lines().enumerate().map(|(i, line)| parse(path, i, line.as_bytes())).collect()
}

/// Cuts a metrics.jsonl back to the lines of `step` updates and before, whole or not at all, and gives them. A last line
/// that was written by half goes too.
///
/// # Errors
/// [`Error::Value`] as [`read`], [`Error::Io`] where it cannot be written.
pub fn cut(path: &Path, step: u32) -> Result<Vec<Line>> {
    let bytes = std::fs::read(path).map_err(|e| Error::file(path, e))?;
    let (mut kept, mut lines) = (Vec::with_capacity(bytes.len()), Vec::new());
    for (i, whole) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = match parse(path, i, whole) {
            Err(_) if !whole.ends_with(b"\n") => break,
            line => line?,
        };
        if line.updates() <= step {
            kept.extend(whole.strip_suffix(b"\n").unwrap_or(whole));
            kept.push(b'\n');
            lines.push(line);
        }
    }
    if kept != bytes {
        write_atomic(path, &kept)?;
    }
    Ok(lines)
}

fn parse(path: &Path, index: usize, line: &[u8]) -> Result<Line> {
    let wrong = |_| Error::file(path, format!("line {}: expected a step or an evaluation", index + 1));
    serde_json::from_slice(line).map_err(wrong)
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
        Metrics::create(&path).expect("create").write(&Line::Step(step)).expect("step");
        let mut metrics = Metrics::append(&path).expect("append");
        metrics.write(&Line::Evaluation(evaluation)).expect("evaluation");
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

    #[test]
    fn a_cut_keeps_the_text_of_what_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        let evaluation =
            |step| format!(r#"{{"step":{step},"valid_loss":3.50,"valid_perplexity":29.5,"valid_bits_per_byte":2.5}}"#);
        let step = |step| {
            format!(
                r#"{{"step":{step},"loss":1.0,"lr":0.1,"grad_norm":1,"tokens":8,"tokens_per_second":9.0,"elapsed_s":{step}.0}}"#
            )
        };
        let whole = [evaluation(0), step(1), step(2), evaluation(2), step(3)].map(|line| line + "\n");
        let cases = [
            (whole.concat(), 2, 4),
            (whole.concat(), 9, 5),
            (whole.concat(), 0, 1),
            (whole.concat() + &step(4)[..30], 3, 5),
            (whole.concat() + "\u{0}\u{0}", 3, 5),
            (whole.concat().trim_end().to_string(), 3, 5),
            (String::new(), 3, 0),
        ];
        for (text, step, stay) in cases {
            std::fs::write(&path, &text).expect("write");
            let lines = cut(&path, step).expect("cut");
            assert_eq!((lines.len(), lines.iter().all(|line| line.updates() <= step)), (stay, true));
            assert_eq!(std::fs::read_to_string(&path).expect("text"), whole[..stay].concat());
        }
        std::fs::write(&path, [&whole[0], "{}\n", &whole[1]].concat()).expect("write");
        assert!(cut(&path, 5).expect_err("no line").to_string().ends_with("line 2: expected a step or an evaluation"));
    }
}
