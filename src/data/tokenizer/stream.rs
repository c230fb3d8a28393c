//! Decoding while tokens are generated: a token may be a part of a character, or have a space that only the next token
//! makes visible.

use super::Tokenizer;
use crate::Result;

/// Decodes ids a few at a time. All returned texts together are what [`Tokenizer::decode`] returns for all ids.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids since the last returned text, and before them the ids of that text: the first character of a token can
    /// depend on the token before it.
    ids: Vec<u32>,
    /// The number of ids of the last returned text.
    returned: usize,
}

impl<'a> TextStream<'a> {
    /// No ids.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        TextStream { tokenizer, ids: Vec::new(), returned: 0 }
    }

    /// Adds ids and returns the text that later ids cannot change. It may be empty.
    ///
    /// # Errors
    /// [`crate::Error::Value`] for an id beyond the vocabulary.
    pub fn push(&mut self, ids: &[u32]) -> Result<String> {
        self.ids.extend(ids);
        let text = self.new_text()?;
        // An incomplete character is decoded as the replacement character.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.ids.drain(..self.returned);
        self.returned = self.ids.len();
        Ok(text)
    }

    /// The rest of the text.
    ///
    /// # Errors
    /// As [`TextStream::push`].
    pub fn finish(mut self) -> Result<String> {
        let text = self.new_text()?;
        self.ids.clear();
        Ok(text)
    }

    fn new_text(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.returned])?;
        let all = self.tokenizer.decode(&self.ids)?;
        Ok(all.get(before.len()..).unwrap_or_default().to_string())
    }
}

/// Ends a text before the first stop word. Text that may be the beginning of a stop word is held back.
#[derive(Clone, Debug, Default)]
pub struct StopWords {
    words: Vec<String>,
    held: String,
    ended: bool,
}

impl StopWords {
    /// Ends before any of `words`; empty words are ignored.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        StopWords { words: words.into_iter().filter(|word| !word.is_empty()).collect(), ..StopWords::default() }
    }

    /// Whether there was a stop word.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Adds text and returns the part that is certainly before a stop word.
    pub fn push(&mut self, text: &str) -> String {
        if self.ended {
            return String::new();
        }
        self.held.push_str(text);
        if let Some(at) = self.words.iter().filter_map(|word| self.held.find(word.as_str())).min() {
            self.ended = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let starts_a_word = |at: &usize| self.words.iter().any(|word| word.starts_with(&self.held[*at..]));
        let at = self.held.char_indices().map(|(at, _)| at).find(starts_a_word).unwrap_or(self.held.len());
        let rest = self.held.split_off(at);
        std::mem::replace(&mut self.held, rest)
    }

    /// The text that was held back, if there was no stop word.
    pub fn finish(self) -> String {
        if self.ended { String::new() } else { self.held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::Pretokenizer;

    fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> (String, usize) {
        let mut stream = TextStream::new(tokenizer);
        let pieces: Vec<String> = ids.iter().map(|id| stream.push(&[*id]).expect("text")).collect();
        let count = pieces.iter().filter(|piece| !piece.is_empty()).count();
        (pieces.concat() + &stream.finish().expect("text"), count)
    }

    /// A vocabulary of bytes, so that a character has up to four tokens. Some are incomplete, in the middle and at the end.
    #[test]
    fn incomplete_characters_are_held_back() {
        let tokenizer = Tokenizer::train("a", 256, Pretokenizer::Bytes).expect("train");
        let text = "Grüße, 🐈 und \u{fffd}!";
        let ids = tokenizer.encode(text).expect("ids");
        assert_eq!(ids.len(), text.len());
        let (all, pieces) = streamed(&tokenizer, &ids);
        assert_eq!(
            (all.as_str(), pieces),
            (text, text.chars().count() - 1),
            "the replacement character is returned with the next one"
        );
        let cat = text.find('🐈').expect("cat");
        for broken in [&ids[..cat + 2], &ids[cat + 1..], &ids[cat + 3..cat + 4], &[ids[cat], ids[cat], ids[0]], &[]] {
            assert_eq!(streamed(&tokenizer, broken).0, tokenizer.decode(broken).expect("text"));
        }
    }

    #[test]
    fn words_are_returned_with_their_spaces() {
        let tokenizer = Tokenizer::train("the cat sat on the mat, the cat", 60, Pretokenizer::Bert).expect("train");
        let ids = tokenizer.encode("The cat, on the mat? ☃ the").expect("ids");
        let (all, pieces) = streamed(&tokenizer, &ids);
        assert_eq!(all, tokenizer.decode(&ids).expect("text"));
        assert!(all.starts_with("the cat") && pieces > 4, "{all:?} in {pieces}");
    }

    #[test]
    fn a_text_ends_before_its_stop_word() {
        let run = |words: &[&str], pieces: &[&str]| {
            let mut stop = StopWords::new(words.iter().map(|w| w.to_string()));
            let mut out: Vec<String> = pieces.iter().map(|piece| stop.push(piece)).collect();
            let ended = stop.ended();
            out.push(stop.finish());
            (out.concat(), ended)
        };
        assert_eq!(run(&["END"], &["a E", "N", "D b"]), ("a ".into(), true));
        assert_eq!(run(&["END"], &["a EN", "N", "E"]), ("a ENNE".into(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b", "x"]), ("a".into(), true));
        assert_eq!(run(&["é\n", "x"], &["caf", "é", "\n"]), ("caf".into(), true));
        assert_eq!(run(&["é\n", "af"], &["caf", "é", "\n"]), ("c".into(), true));
        assert_eq!(run(&[""], &["all"]), ("all".into(), false));
        let mut stop = StopWords::new(["\n\n".to_string()]);
        assert_eq!([stop.push("line"), stop.push("\n"), stop.push("more")], ["line", "", "\nmore"]);
    }
}
