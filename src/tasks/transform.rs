//! The input transformations of the tasks (docs/spec.md section 3.3): an example's texts to token sequences that begin with
//! `_start_`, end with `_classify_`, and have `_delimiter_` between two texts.

use super::record::{Record, Texts};
use crate::data::batch::{Answer, Batch, Example, IGNORED, Sequence};
use crate::data::parallel::map_shares;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::task::TaskTokens;
use crate::{Error, Result};

/// An example as token sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedExample {
    /// Ids: for classify and entail one sequence, for similar one for each order, for choose one for each candidate. The
    /// task head reads the state at the last token of each.
    pub sequences: Vec<Vec<u32>>,
    /// Its answer.
    pub answer: Answer,
}

/// The examples of a file as token sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedExamples {
    /// One for each record, in order.
    pub examples: Vec<EncodedExample>,
    /// The number of examples with a text that was truncated to fit into the model's positions.
    pub truncated: usize,
}

/// Encodes records on all CPU cores. A sequence of more than `n_positions` tokens keeps its special tokens, and its texts
/// lose tokens at their ends, the longer text first.
///
/// # Errors
/// [`Error::Value`] for a tokenizer without the tokens of fine-tuning, for an `n_positions` that leaves no space for text
/// beside the special tokens, and for a text that the tokenizer cannot encode.
pub fn encode(records: &[Record], tokenizer: &Tokenizer, n_positions: usize) -> Result<EncodedExamples> {
    let Some(tokens) = tokenizer.task_tokens() else {
        let expected = "expected the tokens _start_, _delimiter_ and _classify_ of a fine-tuned model";
        return Err(Error::value("tokenizer", format!("{tokenizer:?}"), expected));
    };
    let frame = Frame { tokens, n_positions };
    let shares = map_shares(records, |records| {
        let each = records.iter().map(|record| encode_record(record, tokenizer, frame));
        each.collect::<Result<Vec<_>>>()
    });
    let all = shares.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let truncated = all.iter().filter(|(_, truncated)| *truncated).count();
    Ok(EncodedExamples { examples: all.into_iter().map(|(example, _)| example).collect(), truncated })
}

/// Packs the sequences of examples into a batch. The target of a row is the next token of its sequence, special tokens
/// included; the last row of a sequence has none.
///
/// # Errors
/// [`Error::Value`] for more rows than 32 bits can count.
pub fn pack<'a>(examples: impl IntoIterator<Item = &'a EncodedExample>) -> Result<Batch> {
    let sequence = |ids: &Vec<u32>| {
        let targets = ids.iter().skip(1).copied().chain([IGNORED]).take(ids.len()).collect();
        Sequence { ids: ids.clone(), targets }
    };
    let (mut sequences, mut packed) = (Vec::new(), Vec::new());
    for example in examples {
        let first = sequences.len();
        sequences.extend(example.sequences.iter().map(sequence));
        packed.push(Example { sequences: first..sequences.len(), answer: example.answer });
    }
    Ok(Batch { examples: packed, ..Batch::from_sequences(&sequences)? })
}

/// Puts the special tokens around texts.
#[derive(Clone, Copy)]
struct Frame {
    tokens: TaskTokens,
    n_positions: usize,
}

impl Frame {
    /// The number of text tokens that fit into a sequence with this number of special tokens.
    fn text_tokens(self, special: usize) -> Result<usize> {
        let n_positions = self.n_positions;
        let expected = || format!("expected more than the {special} special tokens of a sequence");
        let left = n_positions.checked_sub(special).filter(|left| *left > 0);
        left.ok_or_else(|| Error::value("n_positions", n_positions, expected()))
    }

    fn one(self, text: &[u32]) -> Vec<u32> {
        [&[self.tokens.start], text, &[self.tokens.extract]].concat()
    }

    fn two(self, first: &[u32], second: &[u32]) -> Vec<u32> {
        [&[self.tokens.start], first, &[self.tokens.delimiter], second, &[self.tokens.extract]].concat()
    }
}

/// Encodes a record. The second value is whether a text of it was truncated.
fn encode_record(record: &Record, tokenizer: &Tokenizer, frame: Frame) -> Result<(EncodedExample, bool)> {
    let ids = |text: &String| tokenizer.encode(text);
    let (sequences, truncated) = match &record.texts {
        Texts::Classify(text) => {
            let (ids, limit) = (ids(text)?, frame.text_tokens(2)?);
            let kept = ids.len().min(limit);
            (vec![frame.one(&ids[..kept])], kept < ids.len())
        }
        Texts::Entail(premise, hypothesis) => {
            let (first, second) = (ids(premise)?, ids(hypothesis)?);
            let [a, b] = truncate_pair(first.len(), second.len(), frame.text_tokens(3)?);
            (vec![frame.two(&first[..a], &second[..b])], a + b < first.len() + second.len())
        }
        Texts::Similar(first, second) => {
            let (first, second) = (ids(first)?, ids(second)?);
            let [a, b] = truncate_pair(first.len(), second.len(), frame.text_tokens(3)?);
            let truncated = a + b < first.len() + second.len();
            (vec![frame.two(&first[..a], &second[..b]), frame.two(&second[..b], &first[..a])], truncated)
        }
        Texts::Choose(context, candidates) => {
            let (context, limit) = (ids(context)?, frame.text_tokens(3)?);
            let (mut sequences, mut truncated) = (Vec::with_capacity(candidates.len()), false);
            for candidate in candidates {
                let candidate = ids(candidate)?;
                let [a, b] = truncate_pair(context.len(), candidate.len(), limit);
                truncated |= a + b < context.len() + candidate.len();
                sequences.push(frame.two(&context[..a], &candidate[..b]));
            }
            (sequences, truncated)
        }
    };
    Ok((EncodedExample { sequences, answer: record.answer }, truncated))
}

/// The lengths of two texts after truncation to `limit` tokens in all. The shorter text stays whole if it has at most
/// half of `limit`; otherwise each gets half. An odd token goes to the longer text, or to the second of two equally long
/// ones. (transformers' `truncation=True` does the same.)
fn truncate_pair(first: usize, second: usize, limit: usize) -> [usize; 2] {
    if first + second <= limit {
        return [first, second];
    }
    let short = first.min(second).min(limit / 2);
    let long = limit - short;
    if first > second { [long, short] } else { [short, long] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::Pretokenizer;

    /// A tokenizer with one token a byte; the special tokens are 256, 257 and 258.
    fn byte_tokenizer() -> Tokenizer {
        let plain = Tokenizer::train("", 256, Pretokenizer::Bytes).expect("train");
        plain.with_task_tokens(256).expect("tokens")
    }

    fn record(texts: Texts) -> Record {
        Record { line: 2, texts, answer: Answer::Class(1) }
    }

    /// The sequences of one record, with special tokens as `<`, `|`, `>`, and the number of truncated examples.
    fn shown(texts: Texts, n_positions: usize) -> (Vec<String>, usize) {
        let tokenizer = byte_tokenizer();
        let encoded = encode(&[record(texts)], &tokenizer, n_positions).expect("encode");
        assert_eq!(encoded.examples[0].answer, Answer::Class(1));
        let text = |ids: &Vec<u32>| {
            let text = tokenizer.decode(ids).expect("text");
            text.replace("_start_", "<").replace("_delimiter_", "|").replace("_classify_", ">")
        };
        (encoded.examples[0].sequences.iter().map(text).collect(), encoded.truncated)
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn four_transformations() {
        assert_eq!(shown(Texts::Classify("text".into()), 9), (strings(&["<text>"]), 0));
        assert_eq!(shown(Texts::Entail("pre".into(), "hy".into()), 9), (strings(&["<pre|hy>"]), 0));
        assert_eq!(shown(Texts::Similar("a".into(), "bc".into()), 9), (strings(&["<a|bc>", "<bc|a>"]), 0));
        let candidates = strings(&["x", "yz", "w"]);
        assert_eq!(
            shown(Texts::Choose("con".into(), candidates), 9),
            (strings(&["<con|x>", "<con|yz>", "<con|w>"]), 0)
        );
    }

    #[test]
    fn the_longer_text_is_truncated() {
        assert_eq!(shown(Texts::Classify("abcdef".into()), 6), (strings(&["<abcd>"]), 1));
        assert_eq!(shown(Texts::Entail("abcdef".into(), "xy".into()), 8), (strings(&["<abc|xy>"]), 1));
        assert_eq!(shown(Texts::Entail("ab".into(), "uvwxyz".into()), 8), (strings(&["<ab|uvw>"]), 1));
        assert_eq!(shown(Texts::Entail("abcdef".into(), "uvwxyz".into()), 8), (strings(&["<ab|uvw>"]), 1));
        assert_eq!(shown(Texts::Similar("abcde".into(), "wxyz".into()), 8), (strings(&["<abc|wx>", "<wx|abc>"]), 1));
        let candidates = strings(&["x", "vwxyz"]);
        let (sequences, truncated) = shown(Texts::Choose("abcd".into(), candidates.clone()), 8);
        assert_eq!(
            (sequences, truncated),
            (strings(&["<abcd|x>", "<ab|vwx>"]), 1),
            "one example, however many sequences"
        );
        assert_eq!(shown(Texts::Choose("abcd".into(), candidates), 4), (strings(&["<a|>", "<|v>"]), 1));
        let error =
            encode(&[record(Texts::Entail("a".into(), "b".into()))], &byte_tokenizer(), 3).expect_err("too small");
        assert_eq!(error.to_string(), "n_positions = 3: expected more than the 3 special tokens of a sequence");
        let plain = Tokenizer::train("", 256, Pretokenizer::Bytes).expect("train");
        let error = encode(&[], &plain, 9).expect_err("no tokens").to_string();
        assert!(error.contains("expected the tokens _start_, _delimiter_ and _classify_"), "{error}");
    }

    #[test]
    fn truncation_takes_one_token_at_a_time_from_the_longer_text() {
        for first in 0..9usize {
            for second in 0..9usize {
                for limit in 0..12 {
                    // Of two equally long texts the first loses a token, unless it was the longer one.
                    let (mut a, mut b) = (first, second);
                    while a + b > limit {
                        if a > b || (a == b && first <= second) { a -= 1 } else { b -= 1 }
                    }
                    assert_eq!(truncate_pair(first, second, limit), [a, b], "{first}, {second}, {limit}");
                }
            }
        }
    }

    #[test]
    fn packed_sequences_predict_their_next_tokens() {
        let texts = [Texts::Similar("ab".into(), "c".into()), Texts::Similar("d".into(), "e".into())];
        let encoded = encode(&texts.map(record), &byte_tokenizer(), 9).expect("encode");
        let batch = pack(&encoded.examples).expect("a batch");
        batch.validate(259, 9).expect("valid");
        assert_eq!((batch.sequences(), batch.rows(), batch.target_count), (4, 22, 18));
        assert_eq!(batch.examples[1], Example { sequences: 2..4, answer: Answer::Class(1) });
        let rows = batch.rows_of(1);
        let (ids, targets) = (&batch.ids[rows.clone()], &batch.targets[rows]);
        assert_eq!((ids[0], ids[2], ids[5]), (256, 257, 258));
        assert_eq!((&ids[1..], targets[5]), (&targets[..5], IGNORED));
        assert_eq!(pack(&[]).expect("none"), Batch::default());
    }
}
