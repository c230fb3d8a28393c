//! The words of a text, for methods without a tokenizer.

/// The words of a text in lower case: letters, digits and apostrophes inside.
pub(super) fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('’', "'");
    let parts = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    parts.map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// Whether an English word negates.
pub(super) fn is_negation(word: &str) -> bool {
    const WORDS: [&str; 11] =
        ["no", "not", "nobody", "none", "nothing", "never", "neither", "nor", "nowhere", "without", "cannot"];
    WORDS.contains(&word) || word.ends_with("n't")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_lower_case_without_punctuation() {
        assert_eq!(words("It 's “Fine”, isn’t it? 3.5"), ["it", "s", "fine", "isn't", "it", "3", "5"]);
        assert!(words(" .,'").is_empty());
        assert_eq!(
            words("no isn't knot").iter().map(|word| is_negation(word)).collect::<Vec<_>>(),
            [true, true, false]
        );
    }
}
