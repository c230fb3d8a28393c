//! A run on stderr: a bar in a terminal, now and then a line elsewhere.

use super::interrupt;
use super::numbers::grouped;
use super::output::note;
use crate::Result;
use crate::train::metrics::{EpochLine, TaskStepLine, TestLine};
use crate::train::{EvaluationLine, Observer, Prepared, PreparedTask, StepLine};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);
/// Characters of a sample that are shown.
const SAMPLE: usize = 96;

/// Shows a run while it goes, and hears of Ctrl-C.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    steps: u32,
    /// Whether the run's folder was named.
    placed: bool,
    said: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    pub(super) fn new() -> Result<Self> {
        Ok(Progress { bar: None, steps: 0, placed: false, said: None, stop: interrupt::flag()? })
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => note(line),
        }
    }

    /// An update in the bar, or now and then on a line.
    fn progress(&mut self, step: u32, state: &str, seconds_left: f64) {
        if let Some(bar) = &self.bar {
            bar.set_message(state.to_string());
            bar.set_position(step.into());
        } else if self.said.is_none_or(|said| said.elapsed() >= PAUSE) {
            note(format_args!("step {step}/{}  {state}  {} s left", self.steps, grouped(seconds_left as u64)));
            self.said = Some(Instant::now());
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn began(&mut self, run: &Prepared) {
        self.steps = run.steps;
        self.bar = bar(run.steps);
        let most = if run.training.is_stream() { "" } else { "at most " };
        self.say(&format!(
            "training: {} parameters, {} tokens of text, {} held out; {} updates of {most}{} tokens",
            grouped(run.settings.model.parameter_count() as u64),
            grouped(run.training.tokens().len() as u64),
            grouped(run.held_out.tokens().len() as u64),
            grouped(run.steps.into()),
            grouped(run.tokens_an_update() as u64)
        ));
    }

    fn task_began(&mut self, run: &PreparedTask) {
        self.steps = run.steps;
        self.bar = bar(run.steps);
        self.say(&format!(
            "training: {} parameters, {} examples, {} for validation; {} epochs of {} updates",
            grouped(run.model.parameter_count() as u64),
            grouped(run.train.all.len() as u64),
            grouped(run.valid.all.len() as u64),
            run.epochs,
            grouped(run.updates_an_epoch() as u64)
        ));
    }

    fn task_step(&mut self, line: &TaskStepLine) {
        let left = f64::from(self.steps - line.step) * line.tokens as f64 / line.tokens_per_second.max(1e-9);
        let state = format!("loss {:.3}  {} tokens/s", line.task_loss, grouped(line.tokens_per_second as u64));
        self.progress(line.step, &state, left);
    }

    fn epoch(&mut self, line: &EpochLine) {
        let valid: Vec<String> =
            line.valid.iter().map(|(name, value)| format!("{} {value:.4}", name.replace('_', " "))).collect();
        self.say(&format!("epoch {}: train loss {:.4}, {}", line.epoch, line.train_loss, valid.join(", ")));
    }

    fn tested(&mut self, line: &TestLine) {
        let test: Vec<String> =
            line.test.iter().map(|(name, value)| format!("{} {value:.4}", name.replace('_', " "))).collect();
        self.say(&format!("with the weights of epoch {}: {}", line.best_epoch, test.join(", ")));
    }

    fn resumed(&mut self, step: u32, checkpoint: &Path) {
        self.placed = true;
        self.say(&format!("resumed from {} after {} updates", checkpoint.display(), grouped(step.into())));
        if let Some(bar) = &self.bar {
            bar.set_position(step.into());
            bar.reset_eta();
        }
    }

    fn warned(&mut self, warning: &str) {
        self.say(&format!("warning: {warning}"));
    }

    fn step(&mut self, line: &StepLine) {
        let state = format!("loss {:.3}  {} tokens/s", line.loss, grouped(line.tokens_per_second as u64));
        let left = f64::from(self.steps - line.step) * line.tokens as f64 / line.tokens_per_second.max(1e-9);
        self.progress(line.step, &state, left);
    }

    fn evaluated(&mut self, line: &EvaluationLine) {
        let EvaluationLine { step, valid_loss, valid_bits_per_byte, .. } = line;
        self.say(&format!("step {step}: validation loss {valid_loss:.4}, {valid_bits_per_byte:.4} bits a byte"));
    }

    fn sampled(&mut self, step: u32, text: &str) {
        self.say(&format!("step {step}: {}", on_a_line(text)));
    }

    fn saved(&mut self, checkpoint: &Path) {
        if let Some(run) = checkpoint.ancestors().nth(2).filter(|_| !self.placed) {
            self.placed = true;
            self.say(&format!("run: {}; Ctrl-C saves and stops it", run.display()));
        }
    }

    fn stop(&self) -> bool {
        let stop = self.stop.load(Ordering::SeqCst);
        if stop {
            self.say("interrupted: finishing the step and saving; Ctrl-C again ends at once");
        }
        stop
    }
}

/// A bar on stderr, in a terminal.
fn bar(steps: u32) -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}  {eta} left");
        ProgressBar::with_draw_target(Some(steps.into()), ProgressDrawTarget::stderr())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "))
    })
}

/// The beginning of a text on one line, with nothing in it that moves a terminal's cursor.
fn on_a_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(SAMPLE) {
        Some((end, _)) => format!("\"{}…\"", &line[..end]),
        None => format!("\"{line}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_one_short_line() {
        assert_eq!(on_a_line("\nROMEO:\n\tO, \u{1b}[2Jshe\u{0}\n"), "\"ROMEO: O, [2Jshe\"");
        let long = on_a_line(&"é ".repeat(500));
        assert_eq!((long.chars().count(), long.ends_with("…\"")), (SAMPLE + 3, true));
    }
}
