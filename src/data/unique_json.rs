//! JSON whose objects have each key once. Most readers take the last of two values without a word, so that a key given twice is
//! a mistake that would go unnoticed.

use crate::{Error, Result};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::path::Path;

/// A value, in whose objects each key is given once. The error about another has the category `Data`.
pub(super) struct Unique(pub Value);

/// Parses a file. `what` says what a file is that is not JSON, such as "not JSON".
///
/// # Errors
/// [`Error::File`] with the place.
pub(crate) fn parse(bytes: &[u8], path: &Path, what: &str) -> Result<Value> {
    let wrong = |e: serde_json::Error| match e.is_data() {
        true => Error::file(path, e).expected("expected each key once"),
        false => Error::file(path, format!("{what}: {e}")),
    };
    serde_json::from_slice::<Unique>(bytes).map(|value| value.0).map_err(wrong)
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Unique, E> {
        Ok(Unique(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        let mut all = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Unique(all.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let mut keys = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if keys.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{}` twice", key.escape_debug())));
            }
            let Unique(value) = entries.next_value()?;
            keys.insert(key, value);
        }
        Ok(Unique(keys.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_parser_and_keys_are_unique() {
        let text = r#"[null, true, -1, 18446744073709551615, 1.5, 1e300, "a\u00e9", {"b": {"c": []}, "c": {}}]"#;
        let plain: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(parse(text.as_bytes(), Path::new("x.json"), "not JSON").expect("read"), plain);
        let error = |text: &str| parse(text.as_bytes(), Path::new("x.json"), "not JSON").expect_err(text).to_string();
        let twice = "x.json: the key `c` twice at line 1 column 19: expected each key once";
        assert_eq!(error(r#"{"b": [{"c": 1, "c": 2}]}"#), twice);
        assert!(error("[1").starts_with("x.json: not JSON: EOF"));
    }
}
