//! A line of a JSON-lines file: an object whose keys are given once.

use super::file_errors::{json_type, not_json};
use super::unique_json::Unique;
use serde_json::{Map, Value};

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
    match serde_json::from_str::<Unique>(text) {
        Ok(Unique(Value::Object(keys))) => Ok(keys),
        Ok(Unique(value)) => Err(WrongLine::NotAnObject(json_type(&value))),
        Err(e) if e.is_data() => Err(WrongLine::Repeated(e.to_string().replace(" at line 1 column ", " at column "))),
        Err(e) => Err(WrongLine::NotJson(match unseen(text.trim_end()) {
            Some(why) => format!("not JSON: {why}"),
            None => not_json(&e),
        })),
    }
}

/// What a line has that an editor does not show, and that no line of JSON may have there.
pub(crate) fn unseen(text: &str) -> Option<&'static str> {
    if text.starts_with('\u{feff}') {
        return Some("a byte-order mark before it, which only the beginning of a file may have");
    }
    text.contains('\r').then_some("a carriage return inside of the line, but lines must end in LF or CRLF")
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
