//! The progress of a run on stderr, with a bar in a terminal.

use super::bar::{PAUSE, bar};
use super::interrupt;
use super::numbers::{bytes, grouped};
use super::output::note;
use crate::Result;
use crate::report::command::shell_word;
use crate::store::model_folder::{CHECKPOINTS, LATEST, read_pointer};
use crate::terminal::{truncated, visible, visible_lines, visible_path};
use crate::train::metrics::{TaskStepLine, Utilization};
use crate::train::observer::Description;
use crate::train::{EvaluationLine, Line, Observer, StepLine};
use indicatif::ProgressBar;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Columns that are shown of a sample.
const SAMPLE: usize = 96;

/// Shows the progress of a run, and stops it at Ctrl-C.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    steps: u32,
    /// Whether the run's folder has been shown.
    folder_shown: bool,
    /// The latest checkpoint.
    checkpoint: Arc<Mutex<Option<PathBuf>>>,
    /// When the last line was printed where there is no bar.
    printed: Option<Instant>,
    stop: Arc<AtomicBool>,
    /// Targets per second of each rank, if there are several.
    rank_speeds: Vec<f64>,
    /// Whether the device memory of the run has been shown.
    memory_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Result<Self> {
        Ok(Progress {
            bar: None,
            steps: 0,
            folder_shown: false,
            checkpoint: Arc::default(),
            printed: None,
            stop: interrupt::flag()?,
            rank_speeds: Vec::new(),
            memory_shown: false,
        })
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(visible_lines(line)),
            None => note(line),
        }
    }

    /// Shows a step in the bar, or on a line if the last one is some seconds ago.
    fn show_step(
        &mut self,
        step: u32,
        loss: f64,
        tokens: u64,
        tokens_per_second: f64,
        utilization: Option<Utilization>,
    ) {
        if let Some(used) = utilization.filter(|_| !self.memory_shown) {
            self.memory_shown = true;
            self.print(&format!("{} of device memory in use", bytes(used.device_bytes)));
        }
        let speeds: Vec<String> = self.rank_speeds.iter().map(|speed| grouped(*speed as u64)).collect();
        let by_rank =
            if speeds.is_empty() { String::new() } else { format!(" (by rank alone {})", speeds.join(" + ")) };
        let share = utilization.and_then(|used| used.mfu);
        let of_peak = share.map_or(String::new(), |share| format!("  {:.1} % of peak", share * 100.0));
        let state = format!("loss {loss:.3}  {} tokens/s{by_rank}{of_peak}", grouped(tokens_per_second as u64));
        let seconds_left = f64::from(self.steps - step) * tokens as f64 / tokens_per_second.max(1e-9);
        if let Some(bar) = &self.bar {
            bar.set_message(state);
            bar.set_position(step.into());
        } else if self.printed.is_none_or(|printed| printed.elapsed() >= PAUSE) {
            note(format_args!("step {step}/{}  {state}  {} s left", self.steps, grouped(seconds_left as u64)));
            self.printed = Some(Instant::now());
        }
    }

    /// The latest checkpoint, saved or resumed from; `None` before the first.
    pub(super) fn checkpoint(&self) -> Option<PathBuf> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_checkpoint(&self, checkpoint: &Path) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint.to_path_buf());
    }

    /// Names the latest checkpoint when SIGTERM arrives: another rank may have ended, and this one is then killed.
    ///
    /// # Errors
    /// As [`interrupt::at_termination`].
    #[cfg(all(unix, feature = "mpi"))]
    pub(super) fn name_checkpoint_at_end(&self, how: HowToContinue) -> Result<()> {
        let latest = self.checkpoint.clone();
        interrupt::at_termination(move || {
            let latest = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
            latest.iter().for_each(|latest| how.note_latest(latest));
        })
    }

    /// Removes the bar.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The command that continues a run.
#[derive(Clone)]
pub(super) struct HowToContinue {
    /// `pretrain`, or `finetune` and the task.
    command: String,
    /// The value of `--adapter`, if it was given.
    adapter: Option<String>,
}

impl HowToContinue {
    pub(super) fn new(command: &str, adapter: Option<&str>) -> Self {
        HowToContinue { command: command.into(), adapter: adapter.map(str::to_string) }
    }

    /// Prints the command for the run in a folder.
    pub(super) fn note(&self, run: &Path) {
        // Lists of indices need no quotes.
        let is_plain = |adapter: &str| adapter.chars().all(|c| c.is_ascii_alphanumeric() || c == ',');
        let adapter = self.adapter.as_deref().map(|adapter| match is_plain(adapter) {
            true => format!(" --adapter {adapter}"),
            false => format!(" --adapter {}", shell_word(Path::new(adapter))),
        });
        let (command, run) = (&self.command, shell_word(run));
        note(format_args!("to continue: wgpt {command} --resume {run}{}", adapter.unwrap_or_default()));
    }

    /// Prints the latest checkpoint of a run and the command, given an earlier checkpoint.
    pub(super) fn note_latest(&self, checkpoint: &Path) {
        let Some(run) = checkpoint.ancestors().nth(2) else { return };
        if let Ok(latest) = read_pointer(&run.join(LATEST)) {
            note(format_args!("the latest checkpoint is {}", visible_path(&run.join(CHECKPOINTS).join(latest))));
            self.note(run);
        }
    }
}

impl Observer for Progress {
    fn started(&mut self, run: &Description) {
        self.steps = run.steps;
        self.bar = bar(run.steps.into(), "{bar:32} {pos}/{len}  {msg}  {eta} left");
        let [parameters, training, validation, batch] =
            [run.parameters, run.training, run.validation, run.batch].map(|count| grouped(count as u64));
        let (steps, unit, at_most) =
            (grouped(run.steps.into()), run.unit, if run.batch_is_exact { "" } else { "at most " });
        self.print(&format!(
            "training {parameters} parameters on {training} {unit}, {validation} more for validation; \
             {steps} steps of {at_most}{batch} {unit}"
        ));
    }

    fn resumed(&mut self, step: u32, checkpoint: &Path) {
        self.folder_shown = true;
        self.set_checkpoint(checkpoint);
        self.print(&format!("resumed from {} after {} steps", checkpoint.display(), grouped(step.into())));
        if let Some(bar) = &self.bar {
            bar.set_position(step.into());
            bar.reset_eta();
        }
    }

    fn noted(&mut self, note: &str) {
        self.print(note);
    }

    fn warned(&mut self, warning: &str) {
        self.print(&format!("warning: {warning}"));
    }

    fn recorded(&mut self, line: &Line) {
        match line {
            Line::Step(line) => {
                let StepLine { step, loss, tokens, tokens_per_second, utilization, .. } = *line;
                self.show_step(step, loss.into(), tokens, tokens_per_second, utilization);
            }
            Line::TaskStep(line) => {
                let TaskStepLine { step, task_loss, tokens, tokens_per_second, utilization, .. } = *line;
                self.show_step(step, task_loss, tokens, tokens_per_second, utilization);
            }
            Line::Evaluation(EvaluationLine { step, valid_loss, valid_bits_per_byte, .. }) => {
                let bits = valid_bits_per_byte.map_or(String::new(), |bits| format!(", {bits:.4} bits per byte"));
                self.print(&format!("step {step}: validation loss {valid_loss:.4}{bits}"));
            }
            Line::Epoch(line) => {
                let (epoch, train_loss) = (line.epoch, line.train_loss);
                self.print(&format!("epoch {epoch}: train loss {train_loss:.4}, {}", values(&line.valid)));
            }
            Line::Test(line) => {
                self.print(&format!(
                    "test examples with the weights of epoch {}: {}",
                    line.best_epoch,
                    values(&line.test)
                ));
            }
        }
    }

    fn measured(&mut self, tokens_per_second: &[f64]) {
        self.rank_speeds = tokens_per_second.to_vec();
    }

    fn sampled(&mut self, step: u32, text: &str) {
        self.print(&format!("step {step}: {}", on_one_line(text)));
    }

    fn saved(&mut self, checkpoint: &Path) {
        self.set_checkpoint(checkpoint);
        if let Some(run) = checkpoint.ancestors().nth(2).filter(|_| !self.folder_shown) {
            self.folder_shown = true;
            self.print(&format!("run: {}; Ctrl-C saves a checkpoint and stops", run.display()));
        }
    }

    fn stop(&self) -> bool {
        let stop = self.stop.load(Ordering::SeqCst);
        if stop {
            self.print("interrupted: finishing the step and saving a checkpoint; Ctrl-C again quits at once");
        }
        stop
    }
}

/// The names and values of metrics, in one line.
fn values(values: &BTreeMap<String, f64>) -> String {
    let texts: Vec<String> =
        values.iter().map(|(name, value)| format!("{} {value:.4}", name.replace('_', " "))).collect();
    texts.join(", ")
}

/// The start of a text, on one line, with escapes for control characters.
fn on_one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let line = visible(&line);
    match truncated(&line, SAMPLE) {
        start if start.len() < line.len() => format!("\"{start}…\""),
        whole => format!("\"{whole}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_short_line() {
        assert_eq!(on_one_line("\nROMEO:\n\tO, \u{1b}[2Jshe\u{0}\n"), "\"ROMEO: O, \\u{1b}[2Jshe\\u{0}\"");
        let long = on_one_line(&"é ".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with("…\"")), (SAMPLE + 3, true));
        assert_eq!(on_one_line(&"中".repeat(500)).chars().count(), SAMPLE / 2 + 3);
    }
}
