//! The time of a run, and its speed over the last updates.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Results arrive in groups, so a speed is taken over several updates.
pub(super) struct Clock {
    /// When this process started the run.
    start: Instant,
    /// The time that the run had taken before this process.
    before: Duration,
    /// When training was last resumed, and the time spent training before that.
    training_since: Instant,
    training: Duration,
    /// When each of the last results arrived, with its tokens; in front the moment before them.
    arrivals: VecDeque<(Instant, u64)>,
}

impl Clock {
    /// Updates that a speed is taken over.
    const UPDATES: usize = 32;

    pub(super) fn new(before: Duration) -> Self {
        let start = Instant::now();
        Clock { start, before, training_since: start, training: Duration::ZERO, arrivals: VecDeque::new() }
    }

    /// Training continues after a pause. The speed before the pause is forgotten.
    pub(super) fn resume(&mut self) {
        self.training_since = Instant::now();
        self.arrivals.clear();
        self.arrivals.push_back((self.training_since, 0));
    }

    /// Training pauses for an evaluation, a sample or a checkpoint.
    pub(super) fn pause(&mut self) {
        self.training += self.training_since.elapsed();
    }

    /// The time that the run has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }

    /// The time between [`Clock::resume`] and [`Clock::pause`] in this process.
    pub(super) fn training(&self) -> Duration {
        self.training
    }

    /// Notes an update of so many tokens; returns seconds since the run started, and tokens per second.
    pub(super) fn update(&mut self, tokens: u64) -> (f64, f64) {
        let now = Instant::now();
        self.arrivals.push_back((now, tokens));
        if self.arrivals.len() > Self::UPDATES {
            self.arrivals.pop_front();
        }
        let from = self.arrivals.front().map_or(self.start, |first| first.0);
        let sum: u64 = self.arrivals.iter().skip(1).map(|(_, tokens)| tokens).sum();
        let speed = sum as f64 / now.duration_since(from).as_secs_f64().max(1e-6);
        ((self.before + now.duration_since(self.start)).as_secs_f64(), speed)
    }
}
