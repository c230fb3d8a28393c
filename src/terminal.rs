//! Text for a terminal: names, paths and data may hold characters that move the cursor, color the screen or reverse the
//! direction of text, and characters that take two columns.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;
#[cfg(feature = "cli")]
use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

/// Whether a terminal may obey a character instead of showing it: control characters, line and paragraph separators, and
/// marks that change the direction of the text around them.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(|c| !is_obeyed(c) || is_kept(c)) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_obeyed(c) || is_kept(c) => out.push(c),
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            // Infallible: a String takes all text.
            c => drop(write!(out, "{}", c.escape_unicode())),
        }
    }
    out.into()
}

/// A text on one line, with an escape in place of each character that a terminal obeys: `\n`, `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// A text of several lines, with an escape in place of each other character that a terminal obeys; tabs stay.
#[cfg(feature = "cli")]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// The first `most` characters of a text on one line, as [`visible`], and an ellipsis where there are more.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => visible(text),
        Some((end, _)) => format!("{}…", visible(&text[..end])).into(),
    }
}

/// A path on one line, as [`visible`]; an empty one is `""`.
pub fn visible_path(path: &Path) -> String {
    match path.as_os_str().is_empty() {
        true => "\"\"".into(),
        false => visible(&path.to_string_lossy()).into_owned(),
    }
}

/// The number of columns that a text without control characters takes in a terminal.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The longest start of a text that takes at most so many columns.
#[cfg(feature = "cli")]
pub fn truncated(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        for (text, shown, lines) in [
            ("plain é 中 👨‍👩‍👧 text", "plain é 中 👨‍👩‍👧 text", "plain é 中 👨‍👩‍👧 text"),
            ("a\x1b[31mb\x07\u{9b}2J", "a\\u{1b}[31mb\\u{7}\\u{9b}2J", "a\\u{1b}[31mb\\u{7}\\u{9b}2J"),
            ("a\tb\r\nc\0", "a\\tb\\r\\nc\\u{0}", "a\tb\\r\nc\\u{0}"),
            ("gpj.\u{202e}exe\u{2028}", "gpj.\\u{202e}exe\\u{2028}", "gpj.\\u{202e}exe\\u{2028}"),
        ] {
            assert_eq!((visible(text).as_ref(), visible_lines(text).as_ref()), (shown, lines), "{text:?}");
        }
        assert_eq!([Path::new("a\x1b/b"), Path::new("")].map(visible_path), ["a\\u{1b}/b", "\"\""]);
        assert_eq!(["ab\n", "abé\n", "abé\ncd"].map(|text| shortened(text, 4)), ["ab\\n", "abé\\n", "abé\\n…"]);
    }

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!(["abc", "正面", "e\u{301}", ""].map(columns), [3, 4, 1, 0]);
        assert_eq!([1, 2, 3, 4, 9].map(|n| truncated("a正b", n)), ["a", "a", "a正", "a正b", "a正b"]);
    }
}
