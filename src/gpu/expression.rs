//! Numbers and conditions of shader templates.

use std::collections::HashMap;

/// A comparison of two numbers.
type Comparison = fn(&i64, &i64) -> bool;

/// The value of an expression of integers, names, `+ - * / %` and parentheses; `None` if it is not one, a name is unknown or
/// a division is by zero.
pub(super) fn number(text: &str, names: &HashMap<String, i64>) -> Option<i64> {
    let mut parser = Parser { text: text.as_bytes(), at: 0, names };
    parser.sum().filter(|_| parser.peek().is_none())
}

/// Whether a condition holds: `NAME` (not 0), `!NAME` (0), or two expressions compared by `==`, `!=`, `<`, `<=`, `>` or `>=`.
/// `None` if it is none of these.
pub(super) fn condition(text: &str, names: &HashMap<String, i64>) -> Option<bool> {
    let comparisons: [(&str, Comparison); 6] =
        [("==", i64::eq), ("!=", i64::ne), ("<=", i64::le), (">=", i64::ge), ("<", i64::lt), (">", i64::gt)];
    for (sign, holds) in comparisons {
        if let Some((left, right)) = text.split_once(sign) {
            return Some(holds(&number(left, names)?, &number(right, names)?));
        }
    }
    let text = text.trim();
    match text.strip_prefix('!') {
        Some(name) => names.get(name.trim()).map(|value| *value == 0),
        None => names.get(text).map(|value| *value != 0),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    names: &'a HashMap<String, i64>,
}

impl Parser<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        while let Some(op @ (b'+' | b'-')) = self.peek() {
            self.at += 1;
            let right = self.product()?;
            value = if op == b'+' { value.checked_add(right)? } else { value.checked_sub(right)? };
        }
        Some(value)
    }

    fn product(&mut self) -> Option<i64> {
        let mut value = self.atom()?;
        while let Some(op @ (b'*' | b'/' | b'%')) = self.peek() {
            self.at += 1;
            let right = self.atom()?;
            value = match op {
                b'*' => value.checked_mul(right)?,
                b'/' => value.checked_div(right)?,
                _ => value.checked_rem(right)?,
            };
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<i64> {
        if self.peek()? == b'(' {
            self.at += 1;
            let value = self.sum()?;
            (self.peek()? == b')').then(|| self.at += 1)?;
            return Some(value);
        }
        let start = self.at;
        while self.text.get(self.at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_') {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        word.parse().ok().or_else(|| self.names.get(word).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HashMap<String, i64> {
        [("ON", 1), ("OFF", 0), ("WIDTH", 8)].map(|(name, value)| (name.to_string(), value)).into()
    }

    #[test]
    fn numbers_follow_precedence() {
        let value = |text| number(text, &names());
        assert_eq!(value("WIDTH*2 + 1"), Some(17));
        assert_eq!(value("1 + WIDTH % 3 * (2 - 4)"), Some(-3));
        for text in ["", "WIDTH +", "(1", "UNKNOWN", "1/OFF", "1 2", "!ON"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn conditions_are_names_or_comparisons() {
        let holds = |text| condition(text, &names());
        for text in
            ["ON", " ON ", "!OFF", "WIDTH == 8", "WIDTH != 7", "WIDTH/2 < 5", "WIDTH <= 8", "WIDTH > 1", "ON>=1"]
        {
            assert_eq!(holds(text), Some(true), "{text}");
        }
        for text in ["OFF", "!ON", "WIDTH == 7", "WIDTH != 8", "WIDTH < 8", "8 <= OFF", "WIDTH > 8", "OFF >= 1"] {
            assert_eq!(holds(text), Some(false), "{text}");
        }
        for text in ["1-ON", "1", "UNKNOWN", "!UNKNOWN", "WIDTH = 8", "WIDTH ==", "ON == 1 == 1"] {
            assert_eq!(holds(text), None, "{text}");
        }
    }
}
