//! A line of a JSON-lines file: an object whose keys are given once. Most readers of JSON take the last of two values without a
//! word, so that a line with a key twice is a mistake that would go unnoticed.

use super::file_errors::{json_type, not_json};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};
use std::fmt;

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WrongLine {
    /// Not JSON, with the reason.
    NotJson(String),
    /// Another value: its type.
    NotAnObject(&'static str),
    /// A key that is given twice, with the place.
    Repeated(String),
}

/// Parses the object of a line.
///
/// # Errors
/// [`WrongLine`].
pub(crate) fn parse_object(text: &str) -> Result<Map<String, Value>, WrongLine> {
    let wrong = |e: serde_json::Error| match e.classify() {
        Category::Data => WrongLine::Repeated(e.to_string().replace(" at line 1 column ", " at column ")),
        _ => WrongLine::NotJson(not_json(&e)),
    };
    if text.trim_start().starts_with('{') {
        return serde_json::from_str::<Keys>(text).map(|keys| keys.0).map_err(wrong);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Err(WrongLine::NotAnObject(json_type(&value))),
        Err(e) => Err(wrong(e)),
    }
}

struct Keys(Map<String, Value>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unique;
        impl<'de> Visitor<'de> for Unique {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Keys, A::Error> {
                let mut keys = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if keys.contains_key(&key) {
                        return Err(A::Error::custom(format!("the key `{}` twice", key.escape_debug())));
                    }
                    keys.insert(key, entries.next_value()?);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_once() {
        assert_eq!(parse_object(r#" {"a": 1, "b": {"a": 2}}"#).map(|keys| keys.len()), Ok(2));
        let wrong = |text: &str| parse_object(text).expect_err(text);
        assert_eq!(wrong(r#"{"a": 1, "b": 2, "a": 1}"#), WrongLine::Repeated("the key `a` twice at column 20".into()));
        assert_eq!(wrong("[1]"), WrongLine::NotAnObject("a list"));
        assert!(matches!(wrong(r#"{"a": 1"#), WrongLine::NotJson(_)));
        assert!(matches!(wrong(r#"{"a": 1} {"#), WrongLine::NotJson(_)));
        // A thousand brackets are no reason to run out of stack.
        assert!(matches!(wrong(&"[".repeat(100_000)), WrongLine::NotJson(_)));
        assert!(matches!(wrong(&"{\"a\":".repeat(100_000)), WrongLine::NotJson(_)));
    }
}
