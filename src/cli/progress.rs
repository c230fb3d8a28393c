//! A run on stderr: a bar in a terminal, now and then a line elsewhere.

use super::{grouped, interrupt, note};
use crate::Result;
use crate::train::{EvaluationLine, Observer, Prepared, StepLine};
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
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(run.steps.into()), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}  {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
            self.bar = Some(bar);
        }
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
        if let Some(bar) = &self.bar {
            bar.set_message(state);
            bar.set_position(line.step.into());
        } else if self.said.is_none_or(|said| said.elapsed() >= PAUSE) {
            let left = f64::from(self.steps - line.step) * line.tokens as f64 / line.tokens_per_second.max(1e-9);
            note(format_args!("step {}/{}  {state}  {} s left", line.step, self.steps, grouped(left as u64)));
            self.said = Some(Instant::now());
        }
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
