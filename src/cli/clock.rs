//! The date and time in the name of a run's folder.

use jiff::Timestamp;

/// The current time in UTC, as `20261124-194609`.
pub(super) fn stamp() -> String {
    stamp_of(Timestamp::now())
}

fn stamp_of(time: Timestamp) -> String {
    time.strftime("%Y%m%d-%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_sorts_by_time() {
        let of = |seconds| stamp_of(Timestamp::from_second(seconds).expect("a time"));
        assert_eq!(of(0), "19700101-000000");
        assert_eq!(of(951_782_399), "20000228-235959");
        assert_eq!(of(951_782_400), "20000229-000000");
        assert_eq!(of(1_795_549_569), "20261124-194609");
    }
}
