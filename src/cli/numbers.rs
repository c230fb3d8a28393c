//! Counts and sizes as text for people.

use indicatif::{BinaryBytes, HumanCount};

/// A whole number with a comma between thousands: `1,234`.
pub(super) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A size in bytes, with a binary unit: `1.20 GiB`.
pub(super) fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 116_534_784].map(grouped), ["0", "999", "1,000", "116,534,784"]);
        assert_eq!([12, 2048, 3 << 30].map(bytes), ["12 B", "2.00 KiB", "3.00 GiB"]);
    }
}
