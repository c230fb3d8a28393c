//! Names of the files of tokenizers, of those that are read and of others.

use std::path::Path;

/// A vocabulary file and a merges file: under Hugging Face's names, and under the names that OpenAI published GPT-1's with.
pub const GPT1_FILES: [[&str; 2]; 2] = [["vocab.json", "merges.txt"], ["encoder_bpe_40000.json", "vocab_40000.bpe"]];

/// Files of tokenizers that are not read: how a name ends, and what has such a file.
const OTHER_FILES: [(&str, &str); 5] = [
    (".model", "a SentencePiece model"),
    ("vocab.txt", "a WordPiece vocabulary"),
    (".tiktoken", "a tiktoken vocabulary"),
    ("encoder.json", "GPT-2's vocabulary under OpenAI's name, which is read as vocab.json"),
    ("vocab.bpe", "GPT-2's merges under OpenAI's name, which are read as merges.txt"),
];

/// What a file of a tokenizer is that is not read, by its name.
pub(super) fn other_tokenizer(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    OTHER_FILES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, what)| *what)
}

/// The pair of [`GPT1_FILES`] that a path is one of.
pub(super) fn pair_of(path: &Path) -> Option<[&'static str; 2]> {
    GPT1_FILES.into_iter().find(|pair| path.file_name().is_some_and(|name| pair.iter().any(|own| name == *own)))
}
