//! Named blocks of shader templates: calls, and lines with the texts of parameters.

/// The name and the texts of `NAME(TEXT, TEXT)`. Commas within parentheses do not separate.
pub(super) fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let (name, texts) = text.trim().strip_suffix(')')?.split_once('(')?;
    let (mut all, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, byte) in texts.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                all.push(texts[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    all.push(texts[start..].trim());
    if all == [""] {
        all.clear();
    }
    (depth == 0 && is_name(name) && !all.contains(&"")).then_some((name, all))
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}

pub(super) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The text with `texts` in place of `$PARAMETER`. Of two parameters, of which one begins with the other, the longer one counts.
pub(super) fn filled<P: AsRef<str>>(text: &str, parameters: &[P], texts: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let found = parameters.iter().map(AsRef::as_ref).zip(texts).filter(|(name, _)| after.starts_with(name));
        let (name, text) = found.max_by_key(|(name, _)| name.len()).unwrap_or(("", &"$"));
        out += before;
        out += text;
        rest = &after[name.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_a_name_and_texts() {
        assert_eq!(call("f()"), Some(("f", vec![])));
        assert_eq!(call(" f_2( a , g(b, c) + 1u ) "), Some(("f_2", vec!["a", "g(b, c) + 1u"])));
        for text in ["f", "(a)", "f(a", "f(a))(", "f(a,)", "f(,a)", "f (a)", "f(a) b"] {
            assert_eq!(call(text), None, "{text}");
        }
    }

    #[test]
    fn parameters_are_filled() {
        assert_eq!(filled("$a$ab ${$a*2} p.$a_b $b $", &["a", "ab"], &["x", "y"]), "xy ${x*2} p.x_b $b $");
    }
}
