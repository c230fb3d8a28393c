//! A run on stderr: a bar in a terminal, now and then a line elsewhere.

use super::{grouped, note};
use crate::train::{EvaluationLine, Observer, Prepared, StepLine};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two plain lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows a run while it goes.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    steps: u32,
    said: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress { bar: None, steps: 0, said: None }
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
        let tokens = run.settings.batch * run.settings.model.n_positions;
        self.say(&format!(
            "training: {} parameters, {} tokens of text, {} held out; {} updates of {} tokens",
            grouped(run.settings.model.parameter_count() as u64),
            grouped(run.training.tokens().len() as u64),
            grouped(run.held_out.tokens().len() as u64),
            grouped(run.steps.into()),
            grouped(tokens as u64)
        ));
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
}
