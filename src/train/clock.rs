//! A run's time, and its speed over the last updates.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Updates come back in bunches, and what lies between two bunches belongs to all of them.
pub(crate) struct Clock {
    /// When this process took it up.
    start: Instant,
    /// What the run had taken before this process.
    before: Duration,
    /// When each of the last updates came back, in front the moment before them.
    last: VecDeque<(Instant, u64)>,
}

impl Clock {
    /// Updates that a speed is taken over.
    const REACH: usize = 32;

    pub(in crate::train) fn new(before: Duration) -> Self {
        Clock { start: Instant::now(), before, last: VecDeque::new() }
    }

    /// After a pause: the speed before it is forgotten.
    pub(in crate::train) fn resume(&mut self) {
        self.last.clear();
        self.last.push_back((Instant::now(), 0));
    }

    /// Time since the run began, as long as it went on.
    pub(in crate::train) fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }

    /// Seconds since the beginning, tokens a second.
    pub(in crate::train) fn finished(&mut self, tokens: u64) -> (f64, f64) {
        let now = Instant::now();
        self.last.push_back((now, tokens));
        if self.last.len() > Self::REACH {
            self.last.pop_front();
        }
        let from = self.last.front().map_or(self.start, |first| first.0);
        let sum: u64 = self.last.iter().skip(1).map(|(_, tokens)| tokens).sum();
        let speed = sum as f64 / now.duration_since(from).as_secs_f64().max(1e-6);
        ((self.before + now.duration_since(self.start)).as_secs_f64(), speed)
    }
}
