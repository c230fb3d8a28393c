//! Documents that need a long memory, by a seeded rule: the colours of keys are told in the beginning and asked for at the
//! end, and between them nothing happens. Whoever sees only the end can but guess, one colour in eight.
//!
//! A key is told and asked for in the same words, each once, so what stands nearer never gives the answer away. Colours
//! differ in their first letter: with a vocabulary of bytes a single token decides.

use crate::philox::{Stream, Words};

/// The line that ends each document: `--document-separator`.
pub const SEPARATOR: &str = "---";

/// The second counter word: apart from the windows and the stories of the same seed.
const DOORS: u32 = 2;
/// Bytes of a document for each of its doors.
const BYTES_A_DOOR: usize = 256;
const MOST_DOORS: usize = 40;

const COLOURS: [&str; 8] = ["red", "blue", "green", "yellow", "white", "pink", "orange", "violet"];
const QUIET: [&str; 4] = [
    "The hall is long and quiet.\n",
    "The lamps burn low.\n",
    "Dust lies on the floor.\n",
    "Nobody comes, nobody goes.\n",
];
const NOW: &str = "Now remember.\n";

/// So many documents of at most `bytes` bytes each (but one door at least), each ended by a line [`SEPARATOR`]. The same seed
/// gives the same text, and more documents begin with the same ones.
pub fn doors(seed: u64, documents: u32, bytes: usize) -> String {
    let mut text = String::new();
    for number in 0..documents {
        document(&mut Words::new(seed, Stream::Order, number, DOORS), bytes, &mut text);
        text.push_str(SEPARATOR);
        text.push('\n');
    }
    text
}

fn document(words: &mut Words, bytes: usize, text: &mut String) {
    let count = (bytes / BYTES_A_DOOR).clamp(1, MOST_DOORS);
    let mut keys: Vec<String> = (1..=count)
        .map(|door| format!("The key of door {door} is {}.\n", COLOURS[words.below(COLOURS.len() as u32) as usize]))
        .collect();
    let begin = text.len();
    text.extend(keys.iter().map(String::as_str));
    words.shuffle(&mut keys);
    let asked = NOW.len() + keys.iter().map(String::len).sum::<usize>();
    let from = words.below(QUIET.len() as u32) as usize;
    for sentence in QUIET.iter().cycle().skip(from) {
        if text.len() - begin + sentence.len() + asked > bytes {
            break;
        }
        text.push_str(sentence);
    }
    text.push_str(NOW);
    text.extend(keys);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told_early_and_asked_for_once() {
        let text = doors(7, 30, 4096);
        assert_eq!(text, doors(7, 30, 4096));
        assert!(doors(7, 40, 4096).starts_with(&text) && doors(8, 30, 4096) != text);
        let documents: Vec<&str> = text.split_terminator("---\n").collect();
        assert_eq!(documents.len(), 30);
        let mut colours = std::collections::BTreeMap::new();
        for document in documents {
            assert!(document.len() <= 4096 && document.len() > 4096 - 30, "{}", document.len());
            let (told, asked) = document.split_once(NOW).expect("both parts");
            let mut all: Vec<&str> = asked.lines().collect();
            assert_eq!(all.len(), 16);
            for key in &all {
                let (at, again) = (told.find(key).expect("told"), document.rfind(key).expect("asked"));
                assert!(at < 500 && again - at > 3000, "{key}: told at {at}, asked at {again}");
                assert_eq!(document.matches(key).count(), 2);
                *colours.entry(key.rsplit_once(' ').expect("a colour").1).or_insert(0) += 1;
            }
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), 16, "each door once");
        }
        assert!(colours.len() == 8 && colours.values().all(|n| (30..90).contains(n)), "{colours:?}");
    }

    #[test]
    fn a_document_has_a_door_however_short() {
        let text = doors(1, 2, 0);
        assert_eq!(text.matches("The key of door 1 is ").count(), 4, "{text}");
    }
}
