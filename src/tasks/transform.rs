//! The input transformations (SPEC 3): an example's texts to token sequences that begin with `_start_`, end with
//! `_classify_`, and have `_delimiter_` between two texts.

use super::{Answer, Record, Texts};
use crate::data::batch::{self, Batch, IGNORED, Sequence};
use crate::data::pieces::on_threads;
use crate::data::tokenizer::Tokenizer;
use crate::data::tokenizer::task::TaskTokens;
use crate::{Error, Result};

/// An example as a model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Ids: one sequence, for similar both orders, for choose one a candidate. The state at the last token of each is
    /// the head's.
    pub sequences: Vec<Vec<u32>>,
    /// What is right.
    pub answer: Answer,
}

/// Examples of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// One a record, in order.
    pub examples: Vec<Example>,
    /// Examples of which a text was cut to fit in the model's positions.
    pub cut: usize,
}

/// Encodes records on all threads. A sequence longer than `n_positions` keeps its special tokens and loses the ends of its
/// texts, of the longer one first.
///
/// # Errors
/// [`Error::File`] for a tokenizer without the tokens of fine-tuning, for positions that not even the special tokens fit
/// in, and when the tokenizer refuses a text.
pub fn encode(records: &[Record], tokenizer: &Tokenizer, n_positions: usize) -> Result<Encoded> {
    let Some(tokens) = tokenizer.task_tokens() else {
        return Err(Error::input("the tokenizer has no _start_, _delimiter_ and _classify_: is the model fine-tuned?"));
    };
    let frame = Frame { tokens, n_positions };
    let runs = on_threads(records, |records| {
        let each = records.iter().map(|record| example(record, tokenizer, frame));
        each.collect::<Result<Vec<_>>>()
    });
    let all = runs.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let cut = all.iter().filter(|(_, cut)| *cut).count();
    Ok(Encoded { examples: all.into_iter().map(|(example, _)| example).collect(), cut })
}

/// Packs the sequences of examples one behind the other. A row's target is the next token of its sequence, special ones
/// too; the last row has none.
///
/// # Errors
/// [`Error::File`] for more rows than 32 bits count.
pub fn pack<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Result<Batch> {
    let sequence = |ids: &Vec<u32>| {
        let targets = ids.iter().skip(1).copied().chain([IGNORED]).take(ids.len()).collect();
        Sequence { ids: ids.clone(), targets }
    };
    let (mut sequences, mut of_batch) = (Vec::new(), Vec::new());
    for example in examples {
        let first = sequences.len();
        sequences.extend(example.sequences.iter().map(sequence));
        of_batch.push(batch::Example { sequences: first..sequences.len(), answer: example.answer });
    }
    Ok(Batch { examples: of_batch, ..Batch::from_sequences(&sequences)? })
}

/// What is around texts, and the room there is.
#[derive(Clone, Copy)]
struct Frame {
    tokens: TaskTokens,
    n_positions: usize,
}

impl Frame {
    /// Tokens of texts that fit beside so many special ones.
    fn room(self, special: usize) -> Result<usize> {
        let n_positions = self.n_positions;
        let message =
            || format!("n_positions = {n_positions}: a sequence has {special} special tokens and needs room for text");
        n_positions.checked_sub(special).filter(|room| *room > 0).ok_or_else(|| Error::input(message()))
    }

    fn one(self, text: &[u32]) -> Vec<u32> {
        [&[self.tokens.start], text, &[self.tokens.extract]].concat()
    }

    fn two(self, first: &[u32], second: &[u32]) -> Vec<u32> {
        [&[self.tokens.start], first, &[self.tokens.delimiter], second, &[self.tokens.extract]].concat()
    }
}

/// An example, and whether a text of it was cut.
fn example(record: &Record, tokenizer: &Tokenizer, frame: Frame) -> Result<(Example, bool)> {
    let ids = |text: &String| tokenizer.encode(text);
    let (sequences, cut) = match &record.texts {
        Texts::Classify(text) => {
            let (ids, room) = (ids(text)?, frame.room(2)?);
            let kept = ids.len().min(room);
            (vec![frame.one(&ids[..kept])], kept < ids.len())
        }
        Texts::Entail(premise, hypothesis) => {
            let (first, second) = (ids(premise)?, ids(hypothesis)?);
            let [a, b] = cut_longest(first.len(), second.len(), frame.room(3)?);
            (vec![frame.two(&first[..a], &second[..b])], a + b < first.len() + second.len())
        }
        Texts::Similar(one, other) => {
            let (one, other) = (ids(one)?, ids(other)?);
            let [a, b] = cut_longest(one.len(), other.len(), frame.room(3)?);
            let cut = a + b < one.len() + other.len();
            (vec![frame.two(&one[..a], &other[..b]), frame.two(&other[..b], &one[..a])], cut)
        }
        Texts::Choose(context, candidates) => {
            let (context, room) = (ids(context)?, frame.room(3)?);
            let (mut sequences, mut cut) = (Vec::with_capacity(candidates.len()), false);
            for candidate in candidates {
                let candidate = ids(candidate)?;
                let [a, b] = cut_longest(context.len(), candidate.len(), room);
                cut |= a + b < context.len() + candidate.len();
                sequences.push(frame.two(&context[..a], &candidate[..b]));
            }
            (sequences, cut)
        }
    };
    Ok((Example { sequences, answer: record.answer }, cut))
}

/// What is kept of two lengths so that they fit: all of the shorter one while it has no more than half, else half of each,
/// where an odd token is the longer one's, of equal ones the second's. (So does transformers' `truncation=True`.)
fn cut_longest(first: usize, second: usize, room: usize) -> [usize; 2] {
    if first + second <= room {
        return [first, second];
    }
    let short = first.min(second).min(room / 2);
    let long = room - short;
    if first > second { [long, short] } else { [short, long] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::Pretokenizer;

    /// Every character one token, its id the byte character's; specials 256, 257, 258.
    fn letters() -> Tokenizer {
        let plain = Tokenizer::train("", 256, Pretokenizer::Bytes).expect("train");
        plain.with_task_tokens(256).expect("tokens")
    }

    fn record(texts: Texts) -> Record {
        Record { line: 2, texts, answer: Answer::Class(1) }
    }

    /// The sequences of one record, special tokens as `<`, `|`, `>`, and whether it was cut.
    fn shown(texts: Texts, n_positions: usize) -> (Vec<String>, usize) {
        let tokenizer = letters();
        let encoded = encode(&[record(texts)], &tokenizer, n_positions).expect("encode");
        assert_eq!(encoded.examples[0].answer, Answer::Class(1));
        let text = |ids: &Vec<u32>| {
            let text = tokenizer.decode(ids).expect("text");
            text.replace("_start_", "<").replace("_delimiter_", "|").replace("_classify_", ">")
        };
        (encoded.examples[0].sequences.iter().map(text).collect(), encoded.cut)
    }

    fn own(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn four_transformations() {
        assert_eq!(shown(Texts::Classify("text".into()), 9), (own(&["<text>"]), 0));
        assert_eq!(shown(Texts::Entail("pre".into(), "hy".into()), 9), (own(&["<pre|hy>"]), 0));
        assert_eq!(shown(Texts::Similar("a".into(), "bc".into()), 9), (own(&["<a|bc>", "<bc|a>"]), 0));
        let candidates = own(&["x", "yz", "w"]);
        assert_eq!(shown(Texts::Choose("con".into(), candidates), 9), (own(&["<con|x>", "<con|yz>", "<con|w>"]), 0));
    }

    #[test]
    fn the_longer_text_is_cut() {
        assert_eq!(shown(Texts::Classify("abcdef".into()), 6), (own(&["<abcd>"]), 1));
        assert_eq!(shown(Texts::Entail("abcdef".into(), "xy".into()), 8), (own(&["<abc|xy>"]), 1));
        assert_eq!(shown(Texts::Entail("ab".into(), "uvwxyz".into()), 8), (own(&["<ab|uvw>"]), 1));
        assert_eq!(shown(Texts::Entail("abcdef".into(), "uvwxyz".into()), 8), (own(&["<ab|uvw>"]), 1));
        assert_eq!(shown(Texts::Similar("abcde".into(), "wxyz".into()), 8), (own(&["<abc|wx>", "<wx|abc>"]), 1));
        let candidates = own(&["x", "vwxyz"]);
        let (sequences, cut) = shown(Texts::Choose("abcd".into(), candidates.clone()), 8);
        assert_eq!((sequences, cut), (own(&["<abcd|x>", "<ab|vwx>"]), 1), "one example, however many sequences");
        assert_eq!(shown(Texts::Choose("abcd".into(), candidates), 4), (own(&["<a|>", "<|v>"]), 1));
        let error = encode(&[record(Texts::Entail("a".into(), "b".into()))], &letters(), 3).expect_err("no room");
        assert_eq!(error.to_string(), "n_positions = 3: a sequence has 3 special tokens and needs room for text");
        let plain = Tokenizer::train("", 256, Pretokenizer::Bytes).expect("train");
        assert!(encode(&[], &plain, 9).expect_err("no tokens").to_string().starts_with("the tokenizer has no _start_"));
    }

    #[test]
    fn a_token_at_a_time() {
        for first in 0..9usize {
            for second in 0..9usize {
                for room in 0..12 {
                    // Whichever loses a token when both are equal: all but an odd token is the same.
                    let (mut a, mut b) = (first, second);
                    while a + b > room {
                        if a > b || (a == b && first <= second) { a -= 1 } else { b -= 1 }
                    }
                    assert_eq!(cut_longest(first, second, room), [a, b], "{first}, {second}, {room}");
                }
            }
        }
    }

    #[test]
    fn packed_sequences_predict_their_next_tokens() {
        let texts = [Texts::Similar("ab".into(), "c".into()), Texts::Similar("d".into(), "e".into())];
        let encoded = encode(&texts.map(record), &letters(), 9).expect("encode");
        let batch = pack(&encoded.examples).expect("a batch");
        batch.validate(259, 9).expect("valid");
        assert_eq!((batch.sequences(), batch.rows(), batch.target_count), (4, 22, 18));
        assert_eq!(batch.examples[1], batch::Example { sequences: 2..4, answer: Answer::Class(1) });
        let rows = batch.rows_of(1);
        let (ids, targets) = (&batch.ids[rows.clone()], &batch.targets[rows]);
        assert_eq!((ids[0], ids[2], ids[5]), (256, 257, 258));
        assert_eq!((&ids[1..], targets[5]), (&targets[..5], IGNORED));
        assert_eq!(pack(&[]).expect("none"), Batch::default());
    }
}
