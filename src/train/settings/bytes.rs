//! A number of bytes, written with a binary unit.

use super::value::{RawValue, Setting};

/// A number of bytes: in settings a whole number, or a text such as `8GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

impl Bytes {
    /// Reads a whole number of bytes, or of KiB, MiB or GiB.
    fn parse(text: &str) -> Option<Self> {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
        digits.parse::<u64>().ok()?.checked_mul(size).map(Bytes)
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = |(_, size): &(&str, u64)| self.0.is_multiple_of(*size);
        let (name, size) = UNITS.into_iter().find(whole).unwrap_or(("", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

impl Setting for Bytes {
    const HINT: &'static str = "BYTES";
    fn read(raw: &RawValue) -> Result<Self, String> {
        let bytes = match raw {
            RawValue::Text(text) => Bytes::parse(text),
            RawValue::Toml(toml::Value::Integer(number)) => u64::try_from(*number).ok().map(Bytes),
            RawValue::Toml(value) => value.as_str().and_then(Bytes::parse),
        };
        bytes.ok_or_else(|| "expected a whole number of bytes, KiB, MiB or GiB, such as 8GiB".into())
    }
    fn write(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_written_in_units() {
        let all = ["0", "12", "3KiB", "2 GiB", "2048MiB"].map(Bytes::parse);
        assert_eq!(all, [0, 12, 3072, 2 << 30, 2 << 30].map(|n| Some(Bytes(n))));
        assert_eq!(["", "GiB", "8GB", "-1", "1.5GiB", "99999999999GiB"].map(Bytes::parse), [None; 6]);
        assert_eq!(
            [12, 3072, 2 << 30, (1 << 30) + 1024].map(|n| Bytes(n).to_string()),
            ["12", "3KiB", "2GiB", "1048577KiB"]
        );
        assert_eq!(Bytes::read(&RawValue::Toml(toml::Value::Integer(7))), Ok(Bytes(7)));
        assert!(Bytes::read(&RawValue::Toml(toml::Value::Integer(-7))).is_err());
    }
}
