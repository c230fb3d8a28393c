//! Documents that need a long memory, by a seeded rule: a letter fills their first eighth and is asked for all through the
//! second half, with nothing but dots between. Whoever sees less than the distance between two questions, [`EVERY`] tokens,
//! can but guess every answer: one letter in eight.
//!
//! With a vocabulary of bytes (`--vocab-size 256`) a byte is a token, and the letter is all that there is to learn: dots
//! and the places of questions are soon known from positions alone. It is told more than once, so that attention which is
//! still even finds something of it; told once, it takes a small model many more updates to look for it at all.

use crate::philox::{Stream, Words};

/// The line that ends each document: `--document-separator`.
pub const SEPARATOR: &str = "---";
/// Bytes from one question to the next.
pub const EVERY: usize = 128;
/// The letters that are told.
pub const LETTERS: &[u8; 8] = b"ABCDEFGH";
/// What stands before a letter.
pub const SIGN: u8 = b'=';

/// The second counter word: apart from the windows and the stories of the same seed.
const RECALL: u32 = 2;

/// So many documents of `bytes` bytes each (2 at least), each ended by a line [`SEPARATOR`]. The same seed gives the same
/// text, and more documents begin with the same ones.
pub fn recall(seed: u64, documents: u32, bytes: usize) -> String {
    let mut text = String::new();
    for number in 0..documents {
        let letter = LETTERS[Words::new(seed, Stream::Order, number, RECALL).below(LETTERS.len() as u32) as usize];
        text.push_str(&document(letter, bytes.max(2)));
        text.push('\n');
        text.push_str(SEPARATOR);
        text.push('\n');
    }
    text
}

fn document(letter: u8, bytes: usize) -> String {
    let asked = |at: usize| at >= bytes / 2 && at.is_multiple_of(EVERY) && at + 1 < bytes;
    let byte = |at: usize| match at {
        _ if at < (bytes / 8).max(1) => letter,
        _ if asked(at) => SIGN,
        _ if asked(at - 1) => letter,
        _ => b'.',
    };
    (0..bytes).map(|at| char::from(byte(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_told_early_and_asked_for_late() {
        let text = recall(7, 80, 2047);
        assert_eq!(text, recall(7, 80, 2047));
        assert!(recall(7, 90, 2047).starts_with(&text) && recall(8, 80, 2047) != text);
        let mut seen = std::collections::BTreeSet::new();
        let documents: Vec<&str> = text.split_terminator("\n---\n").collect();
        assert_eq!(documents.len(), 80);
        for document in documents {
            assert_eq!(document.len(), 2047);
            let asked: Vec<usize> = document.match_indices('=').map(|(at, _)| at).collect();
            assert_eq!(asked, [1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920]);
            let told = document.find('.').expect("dots");
            assert_eq!(told, 255);
            let letters: Vec<u8> =
                (0..told).chain(asked.iter().map(|at| at + 1)).map(|at| document.as_bytes()[at]).collect();
            assert!(letters.iter().all(|letter| *letter == letters[0] && LETTERS.contains(letter)));
            seen.insert(letters[0]);
        }
        assert_eq!(seen.len(), LETTERS.len());
    }

    #[test]
    fn a_document_is_told_its_letter_however_short() {
        for bytes in [0, 1, 2, 3, 129, 130] {
            let text = recall(1, 1, bytes);
            assert!(LETTERS.contains(&text.as_bytes()[0]) && text.lines().count() == 2, "{text}");
            assert_eq!(text.lines().next().map(str::len), Some(bytes.max(2)));
            assert_eq!(text.contains('='), bytes == 130, "no question without room for its answer");
        }
    }
}
