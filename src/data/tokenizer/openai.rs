//! How GPT-1's own encoder split a text into words, as far as a few rules can follow it: the most common repairs of ftfy,
//! GPT-1's `text_standardize`, and the English rules of spaCy 2. They are written as a normalizer and a pre-tokenizer of
//! the tokenizers crate, so that a tokenizer.json gives the same ids in other programs.
//!
//! Differences: the crate converts to lower case before it splits, the original code after. Where spaCy decides by capital
//! letters ("MRS." is two words, "Mrs." is one), the more common form decides here. Text that was decoded with a wrong
//! encoding is not repaired. A line break at the end of a text is kept; `text_standardize` removes it.
//!
//! Sources: github.com/openai/finetune-transformer-lm, text_utils.py; spaCy's lang/punctuation.py and
//! lang/en/tokenizer_exceptions.py.

use serde_json::{Value, json};

/// Regular expressions and their replacements, applied before a text is split.
const REPAIRS: [(&str, &str); 13] = [
    // Quotes, dashes, dots.
    (r"[\x{201c}\x{201d}\x{201e}\x{201f}]", "\""),
    (r"[\x{2018}\x{2019}\x{201a}\x{201b}\x{b4}\x{2bc}]", "'"),
    (r"[\x{2013}\x{2014}\x{2015}]", "-"),
    (r"[\x{2026}\x{85}]", "..."),
    // Ligatures.
    (r"\x{fb00}", "ff"),
    (r"\x{fb01}", "fi"),
    (r"\x{fb02}", "fl"),
    (r"\x{fb03}", "ffi"),
    (r"\x{fb04}", "ffl"),
    // A line break with the white space around it is one word.
    (r"\r\n?|[\x{2028}\x{2029}]", "\n"),
    (r"\s*\n\s*", "\n"),
    // Terminal colors and control characters. These come after the rules for white space, which then see the same runs of
    // white space as `data::block`, which splits texts at them.
    (r"\x1b\[[0-9;]*[a-zA-Z]", ""),
    (r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{feff}]", ""),
];

/// Runs of characters that GPT-1's encoder surrounds with spaces. (The backslash is not among them: the original expression
/// for it matches the plus sign.)
const RUNS: &str = r#"-+|~+|!+|"+|;+|\?+|\++|,+|\)+|\(+|/+|\*+|\[+|\]+|\}+|\{+|\|+|_+"#;

/// The characters of these runs that spaCy splits one by one.
const SIGNS: &str = r#"[!?,;"()\[\]{}*_+]"#;

/// Characters that spaCy splits off both ends of a word.
const EDGE: &str = r"[:<>#&%'«»$£€¥=§]";

/// Characters at the end of a word that are looked at from each of them. Without a limit, the time for a run of such characters
/// would grow with the square of its length.
const LONGEST_END: usize = 200;

/// Abbreviations that keep their period. Those that are common words without it (ill., miss., may.) are left out: in lower
/// case they look like the end of a sentence.
const ABBREVIATIONS: &str = "adm ak ala apr ariz ark aug bros calif co colo conn corp dec del dr feb fla ga gen gov ia inc \
                             jan jr jul jun kan kans ky ltd md messrs mich minn mo mont mr mrs ms mt neb nebr nev nov oct \
                             okla pa ph.d prof rep rev sen sep sept st tenn va vs wis";

/// Words that "n't" is split from.
const NEGATED: &str = "ai are ca could dare did do does had has have is may might must need ought sha should was were wo \
                       would";

/// Units that are split from a number.
const UNITS: &str = "km dm cm mm kg mg g m ha ft lb oz mph kb mb gb tb";

/// Applies `pattern` to each word of a list and joins the results.
fn join<'a>(list: &'a str, pattern: impl Fn(&'a str) -> String, separator: &str) -> String {
    list.split_whitespace().map(pattern).collect::<Vec<_>>().join(separator)
}

pub(super) fn normalizer() -> Value {
    let replace = |(pattern, content)| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let mut all: Vec<Value> = REPAIRS.into_iter().map(replace).collect();
    all.extend([json!({"type": "NFC"}), json!({"type": "Lowercase"})]);
    json!({"type": "Sequence", "normalizers": all})
}

pub(super) fn pre_tokenizer() -> Value {
    let split = |pattern: &str, behavior: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false});
    let isolate = |pattern: &str| split(pattern, "Isolated");
    // What must precede a character is a look-behind after it, because an expression that begins with the character fails
    // immediately everywhere else.
    let abbreviation = join(ABBREVIATIONS, |word| format!(r"(?<!^{}\.)", word.replace('.', r"\.")), "");
    // After two letters or digits, and not after an initial: "d.c." keeps its last period.
    let period = format!(r"\.(?<=[a-z0-9%²'][a-z0-9%²']\.)(?<!\.[a-z]\.){abbreviation}(?={EDGE}{{0,{LONGEST_END}}}$)");
    let end = format!(r"(?:{EDGE}|\.){{0,{LONGEST_END}}}$");
    let edge = format!(r"\.{{2,}}|'s(?={end})|{EDGE}(?={end})|{period}|\.(?<=[0-9]\.)$");
    let negated = join(NEGATED, |word| format!("^{word}n't"), "|");
    json!({"type": "Sequence", "pretokenizers": [
        isolate(r"\n"),
        split(r"[^\S\n]+", "Removed"),
        isolate(RUNS),
        isolate(SIGNS),
        isolate(&format!("^{EDGE}+(?=.)")),
        isolate("^'(?:s|re|ve|ll|d|m)$"),
        isolate(&edge),
        isolate("(?<=^gon|^got)(?:na|ta)$|(?<=^can)not$"),
        isolate(&format!("n't(?<={negated})(?='|$)")),
        isolate("'(?<=[tediuoynw]')(?:ve|re|ll|d|m)(?='|$)"),
        isolate(&format!("(?<=[0-9])(?:{})$", join(UNITS, String::from, "|"))),
        isolate("(?<=[a-z])[:<>=](?=[a-z])"),
    ]})
}

#[cfg(all(test, feature = "tokenizers"))]
mod tests {
    use super::*;
    use tokenizers::{
        Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
        PreTokenizerWrapper,
    };

    fn split(text: &str) -> Vec<String> {
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer()).expect("a normalizer");
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer()).expect("a pre-tokenizer");
        let mut string = PreTokenizedString::from(text);
        string.normalize(|s| normalizer.normalize(s)).expect("normal");
        pre_tokenizer.pre_tokenize(&mut string).expect("split");
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(word, _, _)| word.to_string()).collect()
    }

    /// The expected words are separated by bars.
    #[test]
    fn texts_are_split_as_for_gpt1() {
        for (text, expected) in [
            ("", ""),
            ("a \r\n\n b", "a|\n|b"),
            ("“Don’t move,” she said…", "\"|do|n't|move|,|\"|she|said|..."),
            (
                "He'd've gone; it's Jonah's. They'll see, won't they?",
                "he|'d|'ve|gone|;|it|'s|jonah|'s|.|they|'ll|see|,|wo|n't|they|?",
            ),
            (
                "Mrs. Hale of the U.S. came at 6:45 p.m., or later.",
                "mrs.|hale|of|the|u.s.|came|at|6:45|p.m.|,|or|later|.",
            ),
            ("O'Neill paid $1,234.56 (3.2%) for 5kg!!", "o'neill|paid|$|1|,|234.56|(|3.2|%|)|for|5|kg|!|!"),
            ("er--no, cannot, gonna: a half-empty café", "er|--|no|,|can|not|,|gon|na|:|a|half|-|empty|café"),
            ("in 1987.", "in|1987|."),
            ("(Didn't they? The waﬄe shop shouldn't've.)", "(|did|n't|they|?|the|waffle|shop|should|n't|'ve|.|)"),
            ("wait...", "wait|..."),
        ] {
            assert_eq!(split(text).join("|"), expected, "{text:?}");
        }
    }
}
