//! Counts, sizes and times as text for people.

use indicatif::{BinaryBytes, HumanCount};

/// A whole number with a comma between thousands: `1,234`.
pub(super) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A size in bytes, with a binary unit: `1.20 GiB`.
pub(super) fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

/// Time as minutes and seconds, hours and minutes, or days.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole / 60 {
        minutes @ 0..60 => format!("{minutes}:{:02} min", whole % 60),
        minutes @ 60..5760 => format!("{}:{:02} h", minutes / 60, minutes % 60),
        minutes => format!("{:.1} days", minutes as f64 / 1440.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 116_534_784].map(grouped), ["0", "999", "1,000", "116,534,784"]);
        assert_eq!([12, 2048, 3 << 30].map(bytes), ["12 B", "2.00 KiB", "3.00 GiB"]);
        let times = [0.4, 59.6, 3599.0, 7260.0, 200.0 * 3600.0].map(duration);
        assert_eq!(times, ["0:00 min", "1:00 min", "59:59 min", "2:01 h", "8.3 days"]);
    }
}
