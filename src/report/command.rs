//! Commands that a user can copy into a shell.

use std::path::Path;

/// A path as a word of a command line, quoted where it has blanks or other special characters: of a POSIX shell, on Windows of
/// `cmd` and PowerShell.
pub fn shell_word(path: &Path) -> String {
    if cfg!(windows) {
        return windows_word(&path.to_string_lossy());
    }
    match path.to_str() {
        // A name that begins with `-` would be read as an option.
        Some(text) if text.starts_with('-') => quote(&format!("./{text}")),
        Some(text) => quote(text),
        None => {
            // Not UTF-8: each such byte as an escape of `$'…'`, which bash, zsh and ksh read.
            let bytes = path.as_os_str().as_encoded_bytes();
            format!("$'{}'", bytes.iter().copied().flat_map(escape).collect::<String>())
        }
    }
}

/// In double quotes, which no name on Windows has. A backslash before the closing quote would be part of an escape.
fn windows_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || r"\/:._-".contains(c);
    match text {
        text if text.starts_with('-') => windows_word(&format!(r".\{text}")),
        text if !text.is_empty() && text.chars().all(is_plain) => text.to_string(),
        text => format!("\"{text}{}\"", "\\".repeat(text.len() - text.trim_end_matches('\\').len())),
    }
}

fn quote(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return format!("$'{}'", text.bytes().flat_map(escape).collect::<String>());
    }
    // The path of an existing file has no NUL, the only character that cannot be quoted.
    shlex::try_quote(text).map_or_else(|_| text.to_string(), |quoted| quoted.into_owned())
}

fn escape(byte: u8) -> Vec<char> {
    match byte {
        b'\'' | b'\\' => vec!['\\', byte.into()],
        b' '..=b'~' => vec![byte.into()],
        _ => format!("\\x{byte:02x}").chars().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_of_a_shell() {
        let words = [
            ("runs/nano-1", "runs/nano-1"),
            ("my run", "'my run'"),
            ("a'b", "\"a'b\""),
            ("$HOME", "'$HOME'"),
            ("-x", "./-x"),
            ("läuft", "läuft"),
            ("a\nb", "$'a\\x0ab'"),
        ];
        for (path, word) in words.into_iter().filter(|_| !cfg!(windows)) {
            let quoted = shell_word(Path::new(path));
            assert!(quoted == word || quoted == format!("'{word}'"), "{path:?}: {quoted}");
        }
        let words = [
            (r"C:\runs\nano-1", r"C:\runs\nano-1"),
            (r"C:\my runs\it's", "\"C:\\my runs\\it's\""),
            (r"my run\\", "\"my run\\\\\\\\\""),
            ("a&b", "\"a&b\""),
            ("läuft", "läuft"),
            ("-x", r".\-x"),
            ("-x y", "\".\\-x y\""),
        ];
        for (path, word) in words {
            assert_eq!(windows_word(path), word);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_every_path_back() {
        use std::os::unix::ffi::OsStrExt;
        let paths: [&[u8]; 8] = [
            b"my run",
            b"a'b\"c",
            b"$HOME `x`",
            b"\xff\xfe' \\",
            b"!x*?[a]{b}~",
            b"l\xc3\xa4uft",
            b"a\tb\nc",
            b";&|<>()#%^=",
        ];
        for bytes in paths {
            let word = shell_word(Path::new(std::ffi::OsStr::from_bytes(bytes)));
            let Ok(output) = std::process::Command::new("bash").args(["-c", &format!("printf %s {word}")]).output()
            else {
                eprintln!("skipped: no bash");
                return;
            };
            assert_eq!(output.stdout, bytes, "{word}");
        }
    }
}
