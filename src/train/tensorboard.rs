//! The numbers of metrics.jsonl as an event file of TensorBoard, in the run's folder `tensorboard`.
//!
//! The format is that of TensorFlow's record files (tensorflow/core/lib/io/record_writer.h) with messages `Event`
//! (tensorflow/core/util/event.proto): for each record its length, the length's checksum, the message, and the message's checksum.

use super::metrics::Line;
use crate::{Error, Result};
use crc::{CRC_32_ISCSI, Crc};
use prost::encoding::{bytes, double, float, int64, string};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The folder of event files in a run's folder.
pub const TENSORBOARD: &str = "tensorboard";

const PREFIX: &str = "events.out.tfevents.";
const SUFFIX: &str = ".wgpt";
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Keys of a line that are no measures.
const NOT_MEASURED: [&str; 6] = ["step", "epoch", "best_epoch", "elapsed_s", "examples", "ranks"];

/// The event file of a process that trains a run.
pub struct Events {
    path: PathBuf,
    file: File,
    /// The largest step of a line so far.
    step: u32,
}

impl Events {
    /// Creates the event file in a run's folder, with the lines so far; those of an earlier process are replaced. `elapsed_s` is
    /// the time that the run has taken.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written or removed.
    pub fn create(run: &Path, lines: &[Line], elapsed_s: f64) -> Result<Self> {
        let folder = run.join(TENSORBOARD);
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| Error::io(path, error)
        };
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        for entry in std::fs::read_dir(&folder).map_err(io(&folder))? {
            let entry = entry.map_err(io(&folder))?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
                std::fs::remove_file(entry.path()).map_err(io(&entry.path()))?;
            }
        }
        let now = now();
        let path = folder.join(format!("{PREFIX}{:010}{SUFFIX}", now as u64));
        let file = File::create_new(&path).map_err(io(&path))?;
        let mut events = Events { path, file, step: 0 };
        let mut all =
            record(&event(now - elapsed_s, 0, |event| string::encode(3, &"brain.Event:2".to_string(), event)));
        let mut elapsed = 0.0;
        for line in lines {
            elapsed = seconds(line).unwrap_or(elapsed);
            all.extend(events.records(line, now - elapsed_s + elapsed));
        }
        events.append(&all)?;
        Ok(events)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let records = self.records(line, now());
        self.append(&records)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        // In one call, so that a reader seldom finds half a record.
        self.file.write_all(bytes).map_err(|error| Error::io(&self.path, error))
    }

    /// The records of a line's numbers. Those that are not finite are left out.
    fn records(&mut self, line: &Line, time: f64) -> Vec<u8> {
        if !matches!(line, Line::Test(_)) {
            self.step = self.step.max(line.step());
        }
        let Ok(Value::Object(keys)) = serde_json::to_value(line) else { return Vec::new() };
        let values = keys.iter().filter(|(key, _)| !NOT_MEASURED.contains(&key.as_str()));
        let values = values.filter_map(|(key, value)| Some((tag(key), value.as_f64()?)));
        values.flat_map(|(tag, value)| record(&scalar(time, self.step, tag, value as f32))).collect()
    }
}

/// The name of a measure: `valid_loss` is `valid/loss`, and `lr` is `train/lr`.
fn tag(key: &str) -> String {
    let parts =
        ["valid", "test", "train"].iter().find_map(|part| Some((part, key.strip_prefix(part)?.strip_prefix('_')?)));
    match parts {
        // The mean over an epoch, beside the steps' `train/loss`.
        Some((&"train", name)) => format!("epoch/{name}"),
        Some((part, name)) => format!("{part}/{name}"),
        None => format!("train/{key}"),
    }
}

/// Seconds since the run started, where the line has them.
fn seconds(line: &Line) -> Option<f64> {
    match line {
        Line::Step(line) => Some(line.elapsed_s),
        Line::TaskStep(line) => Some(line.elapsed_s),
        _ => None,
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// An `Event`: wall time (field 1), step (2), and what `what` adds.
fn event(time: f64, step: u32, what: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut event = Vec::new();
    double::encode(1, &time, &mut event);
    if step > 0 {
        int64::encode(2, &i64::from(step), &mut event);
    }
    what(&mut event);
    event
}

/// An `Event` with a summary (5) of one value (1): its tag (1) and number (2).
fn scalar(time: f64, step: u32, tag: String, number: f32) -> Vec<u8> {
    let (mut value, mut summary) = (Vec::new(), Vec::new());
    string::encode(1, &tag, &mut value);
    float::encode(2, &number, &mut value);
    bytes::encode(1, &value, &mut summary);
    event(time, step, |event| bytes::encode(5, &summary, event))
}

fn record(message: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| CHECKSUM.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), message, &masked(message)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{EvaluationLine, StepLine};

    /// What the writer of TensorBoard 2.21 writes for the same events.
    const WRITTEN: &str = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c2100000000000000017becf609\
                           000000000000044010ac022a130a110a0a747261696e2f6c6f737315000050405efe6c12";

    #[test]
    fn the_bytes_are_those_of_tensorboard() {
        let version = event(1.5, 0, |event| string::encode(3, &"brain.Event:2".to_string(), event));
        let bytes = [record(&version), record(&scalar(2.5, 300, "train/loss".into(), 3.25))].concat();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, WRITTEN);
    }

    #[test]
    fn a_new_process_replaces_the_events() {
        let run = tempfile::tempdir().expect("folder");
        let step = StepLine {
            step: 7,
            loss: 2.5,
            lr: 0.1,
            grad_norm: 1.0,
            tokens: 8,
            tokens_per_second: 9.0,
            elapsed_s: 3.0,
            utilization: None,
            ranks: None,
        };
        let infinite =
            EvaluationLine { step: 7, valid_loss: 800.0, valid_perplexity: f64::INFINITY, valid_bits_per_byte: None };
        let mut first = Events::create(run.path(), &[], 0.0).expect("events");
        first.write(&Line::Step(step.clone())).expect("write");
        let mut second = Events::create(run.path(), &[Line::Step(step)], 3.0).expect("events");
        second.write(&Line::Evaluation(infinite)).expect("write");
        let files: Vec<_> = std::fs::read_dir(run.path().join(TENSORBOARD)).expect("folder").collect();
        assert_eq!(files.len(), 1);
        let bytes = std::fs::read(&second.path).expect("events");
        let count = |tag: &str| bytes.windows(tag.len()).filter(|part| *part == tag.as_bytes()).count();
        assert_eq!(
            ["train/loss", "train/lr", "train/elapsed_s", "valid/loss", "valid/perplexity"].map(count),
            [1, 1, 0, 1, 0]
        );
    }

    #[test]
    fn measures_have_the_names_that_tensorboard_groups() {
        let names =
            ["loss", "lr", "lm_loss", "valid_loss", "valid_bits_per_byte", "test_accuracy", "train_loss"].map(tag);
        let expected = [
            "train/loss",
            "train/lr",
            "train/lm_loss",
            "valid/loss",
            "valid/bits_per_byte",
            "test/accuracy",
            "epoch/loss",
        ];
        assert_eq!(names, expected);
    }
}
