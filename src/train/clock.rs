//! The elapsed time of a run, and its speed over the last steps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Measures time and speed. Results arrive in groups, so the speed is a mean over several steps.
pub(super) struct Clock {
    /// When this process started the run.
    start: Instant,
    /// Time that earlier processes spent on the run.
    before: Duration,
    /// When training was last resumed, and the time spent training before that.
    training_since: Instant,
    training: Duration,
    /// When each of the last results arrived, with its number of tokens. The first entry marks the time before them.
    arrivals: VecDeque<(Instant, u64)>,
    /// Of the last steps: targets and seconds of each rank.
    ranks: VecDeque<Vec<(u64, f64)>>,
}

impl Clock {
    /// Steps that the speed is a mean over.
    const STEPS: usize = 32;

    pub(super) fn new(before: Duration) -> Self {
        let start = Instant::now();
        Clock {
            start,
            before,
            training_since: start,
            training: Duration::ZERO,
            arrivals: VecDeque::new(),
            ranks: VecDeque::new(),
        }
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

    /// Time that the run has taken, in all processes.
    pub(super) fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }

    /// The time between [`Clock::resume`] and [`Clock::pause`] in this process.
    pub(super) fn training(&self) -> Duration {
        self.training
    }

    /// Records the targets of each rank in a step, and the seconds that it took for them. Returns the targets per second of
    /// each rank.
    pub(super) fn record_ranks(&mut self, tokens: &[u64], seconds: &[f32]) -> Vec<f64> {
        let step = tokens.iter().zip(seconds).map(|(tokens, seconds)| (*tokens, f64::from(*seconds)));
        self.ranks.push_back(step.collect());
        if self.ranks.len() > Self::STEPS {
            self.ranks.pop_front();
        }
        let of_rank = |rank: usize| self.ranks.iter().filter_map(move |step| step.get(rank));
        let speed = |rank: usize| {
            let (tokens, seconds) = of_rank(rank).fold((0, 0.0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
            tokens as f64 / seconds.max(1e-6)
        };
        (0..tokens.len()).map(speed).collect()
    }

    /// Records a step of this number of tokens. Returns seconds since the run started, and tokens per second.
    pub(super) fn record_step(&mut self, tokens: u64) -> (f64, f64) {
        let now = Instant::now();
        self.arrivals.push_back((now, tokens));
        if self.arrivals.len() > Self::STEPS {
            self.arrivals.pop_front();
        }
        let from = self.arrivals.front().map_or(self.start, |first| first.0);
        let sum: u64 = self.arrivals.iter().skip(1).map(|(_, tokens)| tokens).sum();
        let speed = sum as f64 / now.duration_since(from).as_secs_f64().max(1e-6);
        ((self.before + now.duration_since(self.start)).as_secs_f64(), speed)
    }
}
