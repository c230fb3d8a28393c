//! Errors that several readers of files report in the same words.

use crate::Error;
use crate::terminal::shortened;
use serde_json::Value;
use std::path::Path;

/// The system refuses to read a file.
pub(crate) fn unreadable(path: &Path, e: std::io::Error) -> Error {
    match path.as_os_str().is_empty() {
        true => Error::file(path, "the path is empty").expected("expected the path of a file or a folder"),
        false => Error::unreadable(path, &e),
    }
}

/// A text is not UTF-8, from a byte on.
pub(crate) fn not_utf8(path: &Path, offset: u64) -> Error {
    Error::file(path, "not UTF-8").at(format!("byte offset {offset}")).expected("expected UTF-8 text")
}

/// Most names that an error lists, and most characters of each.
const LISTED: usize = 20;
const LONGEST_NAME: usize = 40;

/// The names of columns or keys, for an error: what cannot be seen is escaped.
pub(crate) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let all = names.len();
    let shown = |name: &str| format!("`{}`", shortened(&name.escape_debug().to_string(), LONGEST_NAME));
    let first = names.take(LISTED).map(shown).collect::<Vec<_>>().join(", ");
    if all > LISTED { format!("{first}, … ({all} in all)") } else { first }
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
