//! Progress of a task of known length on stderr: a bar in a terminal, else a line every few seconds.

use super::numbers::grouped;
use super::output::note;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

/// Time between two lines where there is no bar.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// A bar on stderr; `None` where no bar can be drawn: no terminal, or one that cannot move its cursor (`TERM=dumb`, or empty).
pub(super) fn bar(length: u64, template: &str) -> Option<ProgressBar> {
    // An empty TERM names no terminal, as one that is not set.
    if std::env::var_os("TERM").is_some_and(|name| name.is_empty()) {
        return None;
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    (!bar.is_hidden()).then(|| bar.with_style(style.progress_chars("━╸ ")))
}

/// The progress of a task.
pub(super) struct Meter {
    bar: Option<ProgressBar>,
    length: u64,
    unit: &'static str,
    printed: Instant,
}

impl Meter {
    /// A task of `length` units, nothing of which is done.
    pub(super) fn new(length: u64, unit: &'static str) -> Self {
        let template = format!("{{bar:32}} {{human_pos}}/{{human_len}} {unit}  {{msg}}  {{eta}} left");
        Meter { bar: bar(length, &template), length, unit, printed: Instant::now() }
    }

    /// `done` units are done. `message` is shown beside the count.
    pub(super) fn set(&mut self, done: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message.to_string());
        } else if self.printed.elapsed() >= PAUSE {
            note(format_args!("{}/{} {}  {message}", grouped(done), grouped(self.length), self.unit));
            self.printed = Instant::now();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
