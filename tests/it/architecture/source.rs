//! Views of a Rust or WGSL text that keep its layout: code alone, comments alone, strings alone.

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Code,
    Comment,
    /// String and character literals.
    Literal,
}

/// The text with everything that is not of this kind replaced by spaces. Lines and columns stay. Comments lose their marks.
fn view(text: &str, wanted: Kind) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let (kind, end) = piece(&chars, i);
        for c in &chars[i..end] {
            out.push(if kind == wanted || *c == '\n' { *c } else { ' ' });
        }
        if kind == Kind::Comment && wanted == Kind::Comment {
            let marks = (i..end).take_while(|j| "/!*".contains(at(*j))).count();
            let kept = out.len() - chars[i..end].iter().map(|c| c.len_utf8()).sum::<usize>();
            out.replace_range(kept..kept + marks, &" ".repeat(marks));
        }
        i = end;
    }
    out
}

/// The kind of the text at `i`, and where it ends; code ends after one character.
fn piece(chars: &[char], i: usize) -> (Kind, usize) {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
    let hashes = match at(i) == 'r' && !word_before {
        true => chars[i + 1..].iter().take_while(|c| **c == '#').count(),
        false => 0,
    };
    let (kind, end) = if at(i) == '/' && at(i + 1) == '/' {
        (Kind::Comment, i + chars[i..].iter().take_while(|c| **c != '\n').count())
    } else if at(i) == '/' && at(i + 1) == '*' {
        let (mut depth, mut j) = (1, i + 2);
        while depth > 0 && j < chars.len() {
            match (at(j), at(j + 1)) {
                ('/', '*') => (depth, j) = (depth + 1, j + 2),
                ('*', '/') => (depth, j) = (depth - 1, j + 2),
                _ => j += 1,
            }
        }
        (Kind::Comment, j)
    } else if at(i) == 'r' && !word_before && at(i + 1 + hashes) == '"' {
        let mut j = i + 2 + hashes;
        while j < chars.len() && !(at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#')) {
            j += 1;
        }
        (Kind::Literal, j + 1 + hashes)
    } else if at(i) == '"' {
        let mut j = i + 1;
        while j < chars.len() && at(j) != '"' {
            j += if at(j) == '\\' { 2 } else { 1 };
        }
        (Kind::Literal, j + 1)
    } else if at(i) == '\'' && at(i + 1) == '\\' {
        (Kind::Literal, i + 3 + chars[(i + 3).min(chars.len())..].iter().take_while(|c| **c != '\'').count() + 1)
    } else if at(i) == '\'' && at(i + 2) == '\'' {
        (Kind::Literal, i + 3)
    } else {
        (Kind::Code, i + 1)
    };
    (kind, end.min(chars.len()))
}

/// What the compiler takes for code.
pub fn code(text: &str) -> String {
    view(text, Kind::Code)
}

/// The text of the comments.
pub fn comments(text: &str) -> String {
    view(text, Kind::Comment)
}

/// The string and character literals.
pub fn literals(text: &str) -> String {
    view(text, Kind::Literal)
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a word starts in a text, as a whole word.
pub fn words(text: &str, word: &str) -> Vec<usize> {
    let alone = |i: usize| {
        !text[..i].chars().next_back().is_some_and(is_word)
            && !text[i + word.len()..].chars().next().is_some_and(is_word)
    };
    text.match_indices(word).map(|(i, _)| i).filter(|i| alone(*i)).collect()
}

/// The word that starts at the beginning of a text, after white space.
pub fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// The number of the line that holds byte `at`, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// Code without the items that only tests have, `#[cfg(test)]`. Lines stay.
pub fn without_tests(code: &str) -> String {
    let mut out = code.to_string();
    let mut from = 0;
    while let Some(start) = ["#[cfg(test", "#[cfg(all(test"].iter().filter_map(|a| out[from..].find(a)).min() {
        let start = from + start;
        let end = item_end(&out, start);
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
        from = start + blank.len();
    }
    out
}

/// Where the item that starts at `start` with its attributes ends: at `;`, or with its body.
fn item_end(code: &str, start: usize) -> usize {
    let is_import = words(&code[start..], "use").first().is_some_and(|at| {
        let before = &code[start..start + at];
        !before.contains('{') && !before.contains(';')
    });
    let mut depth = 0usize;
    for (i, c) in code[start..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 && !is_import {
                    return start + i + 1;
                }
            }
            ';' if depth == 0 => return start + i + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text =
        "a /* x /* y */ z */ b // unsafe\n\"un\\\"safe\" r#\"unsafe \" \"# 'x' '\\'' 'unsafe: &'a T \"two\nlines\" c";
    let own = code(text);
    assert_eq!(words(&own, "unsafe").len(), 1, "{own}");
    assert!(own.contains("&'a T") && own.trim_end().ends_with('c'), "{own}");
    assert_eq!((own.matches('\n').count(), own.chars().count()), (2, text.chars().count()));
    assert_eq!(words(&code("let our_unsafe = unsafe_code;"), "unsafe"), [] as [usize; 0]);
    assert_eq!(words(&code("for x in r { unsafe {} } // \""), "unsafe").len(), 1);
    assert_eq!(
        comments("//! é one\nlet x = \"// no\"; // two").split_whitespace().collect::<Vec<_>>(),
        ["é", "one", "two"]
    );
    assert_eq!(literals("f(\"a b\", 'c') // \"d\"").split_whitespace().collect::<Vec<_>>(), ["\"a", "b\"", "'c'"]);
}

#[test]
fn items_of_tests_are_left_out() {
    let code = "use a;\n#[cfg(test)]\nuse b::{c, d};\nfn e() {}\n#[cfg(test)]\nmod tests {\n  fn f() { g() }\n}\nfn h() {}\n\
        #[cfg(all(test, unix))]\nconst I: [u8; 2] = [1, 2];\nfn j() {}";
    let left = without_tests(code);
    assert_eq!(left.split_whitespace().collect::<Vec<_>>().join(" "), "use a; fn e() {} fn h() {} fn j() {}");
    assert_eq!(left.matches('\n').count(), code.matches('\n').count());
}
