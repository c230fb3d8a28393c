//! The learning rate: a linear warm-up, then cosine, linear or constant (SPEC 2).

use crate::train::settings::value::ScheduleKind;

/// The learning rate of every update of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The way down.
    pub kind: ScheduleKind,
    /// The rate at the end of the warm-up.
    pub lr: f64,
    /// Updates of warm-up.
    pub warmup: u32,
    /// Updates in all.
    pub steps: u32,
}

impl Schedule {
    /// The rate of the update after `updates_done`: the first has 0. Past the end it stays where the end left it.
    pub fn rate(&self, updates_done: u32) -> f64 {
        if updates_done < self.warmup {
            return self.lr * (f64::from(updates_done) + 1.0) / f64::from(self.warmup);
        }
        let way = f64::from(self.steps.saturating_sub(self.warmup).max(1));
        let gone = (f64::from(updates_done - self.warmup) / way).min(1.0);
        self.lr
            * match self.kind {
                ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * gone).cos()),
                ScheduleKind::Linear => 1.0 - gone,
                ScheduleKind::Constant => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_and_falls() {
        let of = |kind| Schedule { kind, lr: 2e-3, warmup: 200, steps: 1000 };
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Constant] {
            assert_eq!(of(kind).rate(0), 1e-5);
            assert_eq!(of(kind).rate(199), 2e-3);
            assert_eq!(of(kind).rate(200), 2e-3);
        }
        assert!((of(ScheduleKind::Cosine).rate(600) - 1e-3).abs() < 1e-15);
        assert!((of(ScheduleKind::Linear).rate(400) - 1.5e-3).abs() < 1e-15);
        assert_eq!(of(ScheduleKind::Constant).rate(999), 2e-3);
        assert_eq!(of(ScheduleKind::Cosine).rate(5000), 0.0);
    }

    #[test]
    fn a_run_of_warmup_alone_and_one_without() {
        let all = Schedule { kind: ScheduleKind::Cosine, lr: 1.0, warmup: 10, steps: 10 };
        assert_eq!((all.rate(9), all.rate(10)), (1.0, 1.0));
        let none = Schedule { kind: ScheduleKind::Linear, lr: 1.0, warmup: 0, steps: 4 };
        assert_eq!([0, 1, 2, 3].map(|s| none.rate(s)), [1.0, 0.75, 0.5, 0.25]);
    }
}
