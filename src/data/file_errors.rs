//! Errors that several readers of files report in the same words.

use crate::Error;
use serde_json::Value;
use std::path::Path;

/// The system refuses to read a file.
pub(crate) fn unreadable(path: &Path, e: std::io::Error) -> Error {
    Error::file(path, format!("could not be read: {e}"))
}

/// Why a line of JSON lines is not JSON. Each line is parsed by itself, so the parser's line number is always 1 and is
/// left out.
pub(crate) fn not_json(e: &serde_json::Error) -> String {
    format!("not JSON: {}", e.to_string().replace(" at line 1 column ", " at column "))
}

/// The type of a JSON value, with an article.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
