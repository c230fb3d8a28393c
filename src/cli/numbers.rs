//! Counts and sizes as text: written for people, read from options.

use indicatif::{BinaryBytes, HumanCount};

/// A whole number with a comma between thousands: `1,234`.
pub(super) fn grouped(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A size in bytes, with a binary unit: `1.20 GiB`.
pub(super) fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

/// Reads a whole number of bytes, or of KiB, MiB or GiB.
pub(super) fn parse_bytes(text: &str) -> Option<usize> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim_start() {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 116_534_784].map(grouped), ["0", "999", "1,000", "116,534,784"]);
        assert_eq!([12, 2048, 3 << 30].map(bytes), ["12 B", "2.00 KiB", "3.00 GiB"]);
    }

    #[test]
    fn bytes_are_read_in_units() {
        let all = ["0", "12", "3KiB", "2 GiB"].map(parse_bytes);
        assert_eq!(all, [Some(0), Some(12), Some(3072), Some(2 << 30)]);
        assert_eq!(["", "GiB", "8GB", "-1", "1.5GiB", "99999999999GiB"].map(parse_bytes), [None; 6]);
    }
}
