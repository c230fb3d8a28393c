//! How GPT-1's own encoder cut a text in words, as far as small rules reach: the commonest repairs of ftfy, its
//! `text_standardize`, and the English rules of spaCy 2, written as a normalizer and a pre-tokenizer of the tokenizers crate,
//! so that the tokenizer.json gives the same ids elsewhere.
//!
//! The crate lower-cases before it cuts, spaCy's caller after: what spaCy decides by capitals ("MRS." is two words there,
//! "Mrs." one) is decided here as for the commoner form. Text that was decoded wrongly is not repaired, and a line's end at a
//! text's own end is kept, which `text_standardize` strips.
//!
//! Sources: github.com/openai/finetune-transformer-lm, text_utils.py; spaCy's lang/punctuation.py and
//! lang/en/tokenizer_exceptions.py.

use serde_json::{Value, json};

/// What becomes what, before anything is cut: regular expressions and their replacements.
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
    // A line's end is a word of its own, whatever white space is around it.
    (r"\r\n?|[\x{2028}\x{2029}]", "\n"),
    (r"\s*\n\s*", "\n"),
    // Colours of a terminal, and controls. They must stay behind the white space, whose runs are those of the text then:
    // texts are cut in pieces at them.
    (r"\x1b\[[0-9;]*[a-zA-Z]", ""),
    (r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{feff}]", ""),
];

/// Runs that GPT-1's encoder puts between spaces. (No backslash: its expression for that is one for the plus sign.)
const RUNS: &str = r#"-+|~+|!+|"+|;+|\?+|\++|,+|\)+|\(+|/+|\*+|\[+|\]+|\}+|\{+|\|+|_+"#;

/// Of these, the ones that spaCy cuts further, sign by sign.
const SIGNS: &str = r#"[!?,;"()\[\]{}*_+]"#;

/// Signs that spaCy takes off both ends of a word.
const EDGE: &str = r"[:<>#&%'«»$£€¥=§]";

/// Words that keep their point. Those that are common words without it (ill., miss., may.) are left out: lower case cannot
/// tell them from the end of a sentence.
const ABBREVIATIONS: &str = "adm ak ala apr ariz ark aug bros calif co colo conn corp dec del dr feb fla ga gen gov ia inc \
                             jan jr jul jun kan kans ky ltd md messrs mich minn mo mont mr mrs ms mt neb nebr nev nov oct \
                             okla pa ph.d prof rep rev sen sep sept st tenn va vs wis";

/// Words that "n't" is cut from.
const NEGATED: &str = "ai are ca could dare did do does had has have is may might must need ought sha should was were wo \
                       would";

/// Units that are cut from a number.
const UNITS: &str = "km dm cm mm kg mg g m ha ft lb oz mph kb mb gb tb";

fn words<'a>(list: &'a str, form: impl Fn(&'a str) -> String, between: &str) -> String {
    list.split_whitespace().map(form).collect::<Vec<_>>().join(between)
}

pub(super) fn normalizer() -> Value {
    let replace = |(pattern, content)| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let mut all: Vec<Value> = REPAIRS.into_iter().map(replace).collect();
    all.extend([json!({"type": "NFC"}), json!({"type": "Lowercase"})]);
    json!({"type": "Sequence", "normalizers": all})
}

pub(super) fn pre_tokenizer() -> Value {
    let split = |pattern: &str, behavior: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false});
    let apart = |pattern: &str| split(pattern, "Isolated");
    // What stands before a sign is looked at behind it: an expression that begins with the sign fails at once elsewhere.
    let abbreviation = words(ABBREVIATIONS, |word| format!(r"(?<!^{}\.)", word.replace('.', r"\.")), "");
    // Two letters or digits before it, and no initial: "d.c." keeps its last point.
    let point = format!(r"\.(?<=[a-z0-9%²'][a-z0-9%²']\.)(?<!\.[a-z]\.){abbreviation}(?={EDGE}*$)");
    let end = format!(r"(?:{EDGE}|\.)*$");
    let edge = format!(r"\.{{2,}}|'s(?={end})|{EDGE}(?={end})|{point}|\.(?<=[0-9]\.)$");
    let negated = words(NEGATED, |word| format!("^{word}n't"), "|");
    json!({"type": "Sequence", "pretokenizers": [
        apart(r"\n"),
        split(r"[^\S\n]+", "Removed"),
        apart(RUNS),
        apart(SIGNS),
        apart(&format!("^{EDGE}+(?=.)")),
        apart("^'(?:s|re|ve|ll|d|m)$"),
        apart(&edge),
        apart("(?<=^gon|^got)(?:na|ta)$|(?<=^can)not$"),
        apart(&format!("n't(?<={negated})(?='|$)")),
        apart("'(?<=[tediuoynw]')(?:ve|re|ll|d|m)(?='|$)"),
        apart(&format!("(?<=[0-9])(?:{})$", words(UNITS, String::from, "|"))),
        apart("(?<=[a-z])[:<>=](?=[a-z])"),
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{
        Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
        PreTokenizerWrapper,
    };

    fn cut(text: &str) -> Vec<String> {
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer()).expect("a normalizer");
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(pre_tokenizer()).expect("a pre-tokenizer");
        let mut string = PreTokenizedString::from(text);
        string.normalize(|s| normalizer.normalize(s)).expect("normal");
        pre_tokenizer.pre_tokenize(&mut string).expect("cut");
        let splits = string.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(word, _, _)| word.to_string()).collect()
    }

    /// Words are written with a bar between.
    #[test]
    fn words_as_gpt1_was_trained_on_them() {
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
            assert_eq!(cut(text).join("|"), expected, "{text:?}");
        }
    }
}
