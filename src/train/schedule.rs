//! The learning-rate schedule: a linear warm-up, then cosine decay, linear decay, or a constant (docs/spec.md section 2).

use crate::train::settings::value::ScheduleKind;

/// The learning-rate schedule of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The schedule after warm-up.
    pub kind: ScheduleKind,
    /// The learning rate at the end of the warm-up.
    pub lr: f64,
    /// Steps of warm-up.
    pub warmup: u32,
    /// Steps of the whole run.
    pub steps: u32,
}

impl Schedule {
    /// The learning rate of the step that follows `steps_done` steps. Past the end of the run it stays at its last value.
    pub fn rate(&self, steps_done: u32) -> f64 {
        if steps_done < self.warmup {
            return self.lr * (f64::from(steps_done) + 1.0) / f64::from(self.warmup);
        }
        let decay_steps = f64::from(self.steps.saturating_sub(self.warmup).max(1));
        let progress = (f64::from(steps_done - self.warmup) / decay_steps).min(1.0);
        self.lr
            * match self.kind {
                ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
                ScheduleKind::Linear => 1.0 - progress,
                ScheduleKind::Constant => 1.0,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_during_warmup_and_then_decays() {
        let schedule = |kind| Schedule { kind, lr: 2e-3, warmup: 200, steps: 1000 };
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear, ScheduleKind::Constant] {
            assert_eq!(schedule(kind).rate(0), 1e-5);
            assert_eq!(schedule(kind).rate(199), 2e-3);
            assert_eq!(schedule(kind).rate(200), 2e-3);
        }
        assert!((schedule(ScheduleKind::Cosine).rate(600) - 1e-3).abs() < 1e-15);
        assert!((schedule(ScheduleKind::Linear).rate(400) - 1.5e-3).abs() < 1e-15);
        assert_eq!(schedule(ScheduleKind::Constant).rate(999), 2e-3);
        assert_eq!(schedule(ScheduleKind::Cosine).rate(5000), 0.0);
    }

    #[test]
    fn warmup_may_take_all_steps_or_none() {
        let all = Schedule { kind: ScheduleKind::Cosine, lr: 1.0, warmup: 10, steps: 10 };
        assert_eq!((all.rate(9), all.rate(10)), (1.0, 1.0));
        let none = Schedule { kind: ScheduleKind::Linear, lr: 1.0, warmup: 0, steps: 4 };
        assert_eq!([0, 1, 2, 3].map(|s| none.rate(s)), [1.0, 0.75, 0.5, 0.25]);
    }
}
