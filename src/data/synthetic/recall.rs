//! Documents that need a long context. A letter fills the first eighth of a document. In the second half, every [`EVERY`]
//! tokens, a question is followed by that letter; everything else is dots. Without remembering the letter, a model with a
//! context shorter than [`EVERY`] tokens can only guess each answer, one letter in eight.
//!
//! With a vocabulary of bytes (`--vocab-size 256`) a byte is a token, and the letter is all that there is to learn: dots
//! and questions follow from positions alone. The letter is repeated so that attention finds it even while its weights
//! are uniform. With a single letter a small model needs many more steps before it learns to look for it.

use crate::philox::{Stream, Words};

/// The line that ends each document, for `--document-separator`.
pub const SEPARATOR: &str = "---";
/// Bytes from one question to the next.
pub const EVERY: usize = 128;
/// The letters of documents.
pub const LETTERS: &[u8; 8] = b"ABCDEFGH";
/// The byte of a question.
pub const QUESTION: u8 = b'=';

/// The second counter word, different from those of the windows and the stories of the same seed.
const RECALL: u32 = 2;

/// A text of `documents` documents of `bytes` bytes each (2 at least), each ended by a line [`SEPARATOR`]. The same seed
/// gives the same text; a longer text begins with the shorter one.
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
    let is_question = |at: usize| at >= bytes / 2 && at.is_multiple_of(EVERY) && at + 1 < bytes;
    let byte = |at: usize| match at {
        _ if at < (bytes / 8).max(1) => letter,
        _ if is_question(at) => QUESTION,
        _ if is_question(at - 1) => letter,
        _ => b'.',
    };
    (0..bytes).map(|at| char::from(byte(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_is_at_the_beginning_and_in_the_answers() {
        let text = recall(7, 80, 2047);
        assert_eq!(text, recall(7, 80, 2047));
        assert!(recall(7, 90, 2047).starts_with(&text) && recall(8, 80, 2047) != text);
        let mut seen = std::collections::BTreeSet::new();
        let documents: Vec<&str> = text.split_terminator("\n---\n").collect();
        assert_eq!(documents.len(), 80);
        for document in documents {
            assert_eq!(document.len(), 2047);
            let questions: Vec<usize> = document.match_indices('=').map(|(at, _)| at).collect();
            assert_eq!(questions, [1024, 1152, 1280, 1408, 1536, 1664, 1792, 1920]);
            let letters_end = document.find('.').expect("dots");
            assert_eq!(letters_end, 255);
            let letters: Vec<u8> =
                (0..letters_end).chain(questions.iter().map(|at| at + 1)).map(|at| document.as_bytes()[at]).collect();
            assert!(letters.iter().all(|letter| *letter == letters[0] && LETTERS.contains(letter)));
            seen.insert(letters[0]);
        }
        assert_eq!(seen.len(), LETTERS.len());
    }

    #[test]
    fn short_documents_have_the_letter() {
        for bytes in [0, 1, 2, 3, 129, 130] {
            let text = recall(1, 1, bytes);
            assert!(LETTERS.contains(&text.as_bytes()[0]) && text.lines().count() == 2, "{text}");
            assert_eq!(text.lines().next().map(str::len), Some(bytes.max(2)));
            assert_eq!(text.contains('='), bytes == 130, "every question has an answer");
        }
    }
}
