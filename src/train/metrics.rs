//! metrics.jsonl: one JSON object per line, flushed after each line, so that a run that crashes has written all earlier
//! lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::data::read_file::read_text_bytes;
use crate::store::atomic::write_atomic;
use crate::store::sync::sync_file;
use crate::{Error, Result};

/// A training step on text. Numbers are written with the fewest digits that parse to the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Steps done, this one included: the first line has 1.
    pub step: u32,
    /// Mean over the step's targets, nats.
    pub loss: f32,
    /// Learning rate of the step.
    pub lr: f64,
    /// Global norm of the gradients, before clipping.
    pub grad_norm: f32,
    /// Targets of the step, padding excluded.
    pub tokens: u64,
    /// Targets per second, over the last steps.
    pub tokens_per_second: f64,
    /// Seconds since the run started.
    pub elapsed_s: f64,
    /// What the run uses of its devices; `None` in lines of earlier versions.
    #[serde(flatten)]
    pub utilization: Option<Utilization>,
    /// The ranks, if there are several.
    #[serde(flatten)]
    pub ranks: Option<RankTokens>,
}

/// What a run uses of its devices, over the last steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Utilization {
    /// Floating-point operations per second, in GFLOP/s: those that [`step_flops`](crate::model::step_flops) counts.
    pub gflops: f64,
    /// Their share of the devices' peak; `None` where it is not known. Above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Device memory in use, in bytes. With several ranks, that of the device which uses most.
    pub device_bytes: u64,
}

/// What the line of a step has where there are several ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankTokens {
    /// The number of ranks.
    pub ranks: usize,
    /// Targets of the step that each rank has trained on.
    pub rank_tokens: Vec<u64>,
}

/// An evaluation on the held-out text after `step` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationLine {
    /// Steps done.
    pub step: u32,
    /// Mean over the held-out tokens, nats.
    #[serde(deserialize_with = "infinite_if_null")]
    pub valid_loss: f64,
    /// e to the loss.
    #[serde(deserialize_with = "infinite_if_null")]
    pub valid_perplexity: f64,
    /// The total loss in bits, divided by the UTF-8 bytes of the held-out text; `None` where the tokenizer could not encode
    /// all of it.
    #[serde(default, deserialize_with = "some_infinite_if_null", skip_serializing_if = "Option::is_none")]
    pub valid_bits_per_byte: Option<f64>,
}

/// A training step on a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStepLine {
    /// Steps done, this one included: the first line has 1.
    pub step: u32,
    /// The epoch, counted from 1.
    pub epoch: u32,
    /// L3 = L2 + λ·L1.
    pub loss: f64,
    /// L2: mean over the step's examples.
    pub task_loss: f64,
    /// L1: mean over the step's targets, nats; `None` when λ is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lm_loss: Option<f64>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Global norm of the gradients of the trainable parameters, before clipping.
    pub grad_norm: f32,
    /// Tokens of the step.
    pub tokens: u64,
    /// Examples of the step.
    pub examples: u32,
    /// Tokens per second, over the last steps.
    pub tokens_per_second: f64,
    /// Seconds since the run started.
    pub elapsed_s: f64,
    /// What the run uses of its devices; `None` in lines of earlier versions.
    #[serde(flatten)]
    pub utilization: Option<Utilization>,
    /// The ranks, if there are several.
    #[serde(flatten)]
    pub ranks: Option<RankTokens>,
}

/// An epoch of fine-tuning, with its evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    /// Counted from 1.
    pub epoch: u32,
    /// Steps done.
    pub step: u32,
    /// Mean task loss over the epoch's examples, each measured in the step that trained on it.
    #[serde(deserialize_with = "infinite_if_null")]
    pub train_loss: f64,
    /// `valid_loss`, `valid_accuracy`, and so on: the metrics that are defined.
    #[serde(flatten, deserialize_with = "all_infinite_if_null")]
    pub valid: BTreeMap<String, f64>,
}

/// The test examples, evaluated once with the weights of the best epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLine {
    /// The best epoch.
    pub best_epoch: u32,
    /// `test_loss`, `test_accuracy`, and so on: the metrics that are defined.
    #[serde(flatten, deserialize_with = "all_infinite_if_null")]
    pub test: BTreeMap<String, f64>,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A training step on a task. Listed first, because it has all fields of the next one.
    TaskStep(TaskStepLine),
    /// A training step on text.
    Step(StepLine),
    /// An evaluation on the held-out text.
    Evaluation(EvaluationLine),
    /// An epoch of fine-tuning.
    Epoch(EpochLine),
    /// The test examples at the end of fine-tuning.
    Test(TestLine),
}

impl Line {
    /// The line of a step with what the run uses, and with the targets of each rank.
    pub(super) fn with_devices(mut self, used: Utilization, rank_tokens: Option<Vec<u64>>) -> Self {
        let all = rank_tokens.map(|rank_tokens| RankTokens { ranks: rank_tokens.len(), rank_tokens });
        match &mut self {
            Line::Step(StepLine { utilization, ranks, .. })
            | Line::TaskStep(TaskStepLine { utilization, ranks, .. }) => {
                (*utilization, *ranks) = (Some(used), all);
            }
            Line::Evaluation(_) | Line::Epoch(_) | Line::Test(_) => {}
        }
        self
    }

    /// Steps done when the line was written; the largest number for the line at the end of a run.
    pub fn step(&self) -> u32 {
        match self {
            Line::Step(line) => line.step,
            Line::Evaluation(line) => line.step,
            Line::TaskStep(line) => line.step,
            Line::Epoch(line) => line.step,
            Line::Test(_) => u32::MAX,
        }
    }
}

/// Reads a number that is written as null where JSON has no number for it: e to a loss above 709 is infinite.
fn infinite_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::INFINITY))
}

/// As [`infinite_if_null`], for a number that may be absent.
fn some_infinite_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    infinite_if_null(from).map(Some)
}

/// As [`infinite_if_null`], for the numbers of a map.
fn all_infinite_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let all = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(all.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::INFINITY))).collect())
}

/// The writer of metrics.jsonl.
pub struct Metrics {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Metrics {
    /// Creates a new file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(path.as_ref(), File::create(path.as_ref()))
    }

    /// Opens a file to append lines to it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(path.as_ref(), File::options().append(true).create(true).open(path.as_ref()))
    }

    fn from_file(path: &Path, file: std::io::Result<File>) -> Result<Self> {
        let file = file.map_err(|e| Error::io(path, e))?;
        Ok(Metrics { path: path.into(), file: BufWriter::new(file) })
    }

    /// Writes a line and flushes it.
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

    /// Syncs all lines to the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<()> {
        sync_file(self.file.get_ref()).map_err(|e| Error::io(&self.path, e))
    }
}

/// Reads the lines of a metrics.jsonl.
///
/// # Errors
/// [`Error::File`] with the number of a line that is neither a step nor an evaluation, or when the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Line>> {
    let path = path.as_ref();
    let bytes = read_text_bytes(path)?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.enumerate().map(|(i, line)| parse(path, i, line)).collect()
}

/// Reads the lines of a metrics.jsonl to which a process may be writing: a last line without its end is left out.
///
/// # Errors
/// As [`read`].
pub fn read_complete_lines(path: impl AsRef<Path>) -> Result<Vec<Line>> {
    let path = path.as_ref();
    let bytes = read_text_bytes(path)?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.enumerate().map(|(i, line)| parse(path, i, line)).collect()
}

/// Truncates a metrics.jsonl to the lines of the first `step` steps, atomically, and returns these lines. A last line that
/// was written in part is removed too.
///
/// # Errors
/// [`Error::File`] as [`read`]; [`Error::Io`] when the file cannot be written.
pub fn truncate(path: &Path, step: u32) -> Result<Vec<Line>> {
    let bytes = read_text_bytes(path)?;
    let (mut kept, mut lines) = (Vec::with_capacity(bytes.len()), Vec::new());
    for (i, bytes_of_line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = match parse(path, i, bytes_of_line) {
            Err(_) if !bytes_of_line.ends_with(b"\n") => break,
            line => line?,
        };
        if line.step() <= step {
            kept.extend(bytes_of_line.strip_suffix(b"\n").unwrap_or(bytes_of_line));
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
    let invalid = |_| {
        let error = Error::file(path, "neither a step nor an evaluation").at(format!("line {}", index + 1));
        error.expected("must be an object with the keys of one of them")
    };
    serde_json::from_slice(line).map_err(invalid)
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
            utilization: Some(Utilization { gflops: 9.5, mfu: None, device_bytes: 1 << 20 }),
            ranks: None,
        };
        let evaluation =
            EvaluationLine { step: 1, valid_loss: 3.386, valid_perplexity: 29.5, valid_bits_per_byte: Some(2.518) };
        Metrics::create(&path).expect("create").write(&Line::Step(step.clone())).expect("step");
        let mut metrics = Metrics::append(&path).expect("append");
        metrics.write(&Line::Evaluation(evaluation)).expect("evaluation");
        // `metrics` is still open: each line was flushed when it was written.
        assert_eq!(read(&path).expect("read"), [Line::Step(step), Line::Evaluation(evaluation)]);
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(
            text.starts_with(r#"{"step":1,"loss":6.2753997,"lr":0.00001,"grad_norm":0.1,"tokens":1024,"#),
            "{text}"
        );
        std::fs::write(&path, "{}\n").expect("write");
        let error = read(&path).expect_err("no line").to_string();
        assert!(error.contains("metrics.jsonl: line 1: neither a step nor an evaluation"), "{error}");
    }

    #[test]
    fn numbers_that_json_lacks_are_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        let infinite = f64::INFINITY;
        let map = |name: &str| BTreeMap::from([(name.to_string(), infinite), ("other".to_string(), 0.5)]);
        let lines = [
            Line::Evaluation(EvaluationLine {
                step: 3,
                valid_loss: 1746.0,
                valid_perplexity: infinite,
                valid_bits_per_byte: Some(infinite),
            }),
            Line::Epoch(EpochLine { epoch: 1, step: 3, train_loss: infinite, valid: map("valid_loss") }),
            Line::Test(TestLine { best_epoch: 1, test: map("test_loss") }),
        ];
        let mut metrics = Metrics::create(&path).expect("create");
        lines.iter().for_each(|line| metrics.write(line).expect("write"));
        assert_eq!(read(&path).expect("read"), lines);
        assert_eq!(truncate(&path, u32::MAX).expect("truncate"), lines);
    }

    #[test]
    fn truncation_keeps_the_remaining_lines_byte_for_byte() {
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
        for (text, step, remaining) in cases {
            std::fs::write(&path, &text).expect("write");
            let lines = truncate(&path, step).expect("truncate");
            assert_eq!((lines.len(), lines.iter().all(|line| line.step() <= step)), (remaining, true));
            assert_eq!(std::fs::read_to_string(&path).expect("text"), whole[..remaining].concat());
        }
        std::fs::write(&path, [&whole[0], "{}\n", &whole[1]].concat()).expect("write");
        let error = truncate(&path, 5).expect_err("no line").to_string();
        assert!(error.contains("metrics.jsonl: line 2: neither a step nor an evaluation"), "{error}");
    }
}
