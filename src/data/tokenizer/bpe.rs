//! Byte pair encoding, trained: which pairs of symbols become one, and in which order.
//!
//! The tokenizers crate has a trainer too, but its ids depend on the order of a hash map (the symbols with `</w>` get
//! theirs while it walks its word counts), so three processes gave three vocabularies. This one has one answer: the
//! most frequent pair is merged first, of equally frequent ones the pair with the smallest ids, left id before right.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Two neighbouring symbols, by id.
pub type Pair = (u32, u32);

/// What training gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The text of each id: the alphabet as it was given, then what merges made, in order.
    pub tokens: Vec<String>,
    /// The merges, first the one that is applied first.
    pub merges: Vec<Pair>,
}

/// Merges pairs until there are `vocab_size` tokens or no pair is left.
///
/// `words` holds symbols (ids in `alphabet`) and how often the word occurs. The result depends on the arguments alone;
/// the order of `words` does not matter to it.
pub fn train(alphabet: Vec<String>, words: Vec<(Vec<u32>, u64)>, vocab_size: usize) -> Vocabulary {
    let mut tokens = alphabet;
    let mut ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let mut merges = Vec::new();
    let (mut words, counts): (Vec<Vec<u32>>, Vec<u64>) = words.into_iter().unzip();
    let mut pairs = Pairs::default();
    for (i, word) in words.iter().enumerate() {
        for pair in word.windows(2) {
            pairs.add((pair[0], pair[1]), counts[i], i);
        }
    }
    pairs.queue_changed();
    while tokens.len() < vocab_size {
        let Some(pair) = pairs.next() else { break };
        let text = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
        // Two ways to the same text ("ab"+"c", "a"+"bc") are two merges and one token.
        let new = *ids.entry(text.clone()).or_insert_with(|| {
            tokens.push(text);
            tokens.len() as u32 - 1
        });
        merges.push(pair);
        for i in pairs.take_places(pair) {
            merge_word(&mut words[i], pair, new, counts[i], i, &mut pairs);
        }
        pairs.queue_changed();
    }
    Vocabulary { tokens, merges }
}

/// Replaces `pair` by `new` from left to right, and moves the counts of the neighbouring pairs along.
fn merge_word(word: &mut Vec<u32>, pair: Pair, new: u32, count: u64, index: usize, pairs: &mut Pairs) {
    let mut kept = 0;
    let mut i = 0;
    while i < word.len() {
        if i + 1 < word.len() && (word[i], word[i + 1]) == pair {
            pairs.remove(pair, count);
            if kept > 0 {
                pairs.remove((word[kept - 1], pair.0), count);
                pairs.add((word[kept - 1], new), count, index);
            }
            if let Some(&next) = word.get(i + 2) {
                pairs.remove((pair.1, next), count);
                pairs.add((new, next), count, index);
            }
            word[kept] = new;
            i += 2;
        } else {
            word[kept] = word[i];
            i += 1;
        }
        kept += 1;
    }
    word.truncate(kept);
}

/// Counts of pairs, the words they were seen in, and a queue whose entries are checked when they come up.
#[derive(Default)]
struct Pairs {
    counts: HashMap<Pair, u64>,
    places: HashMap<Pair, Vec<usize>>,
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
    changed: Vec<Pair>,
}

impl Pairs {
    fn add(&mut self, pair: Pair, count: u64, word: usize) {
        *self.counts.entry(pair).or_default() += count;
        let places = self.places.entry(pair).or_default();
        if places.last() != Some(&word) {
            places.push(word);
        }
        self.changed.push(pair);
    }

    fn remove(&mut self, pair: Pair, count: u64) {
        if let Some(have) = self.counts.get_mut(&pair) {
            *have = have.saturating_sub(count);
            self.changed.push(pair);
        }
    }

    /// Puts the pairs whose counts changed into the queue with their present counts.
    fn queue_changed(&mut self) {
        self.changed.sort_unstable();
        self.changed.dedup();
        for pair in self.changed.drain(..) {
            match self.counts.get(&pair) {
                Some(&count) if count > 0 => self.queue.push((count, Reverse(pair))),
                _ => {
                    self.counts.remove(&pair);
                    self.places.remove(&pair);
                }
            }
        }
    }

    /// The next pair to merge: an entry of the queue that is out of date is dropped, for its pair has a newer one.
    fn next(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if self.counts.get(&pair) == Some(&count) {
                return Some(pair);
            }
        }
        None
    }

    /// The words in which the pair was seen, each once.
    fn take_places(&mut self, pair: Pair) -> Vec<usize> {
        let mut places = self.places.remove(&pair).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn counts_come_first_and_then_the_smallest_ids() {
        // "ab" three times, "ca" and "bc" twice each: (a,b), then (b,c) before (c,a) had they stood apart.
        let words = vec![(vec![0, 1], 3), (vec![1, 2], 2), (vec![2, 0], 2)];
        let v = train(letters("abc"), words, 6);
        assert_eq!(v.merges, [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(v.tokens[3..], ["ab", "bc", "ca"]);
    }

    #[test]
    fn overlapping_pairs_are_counted_right() {
        let v = train(letters("a"), vec![(vec![0; 7], 1)], 4);
        // aaaaaaa → A A A a → AA A a → (tie of (A,a) and (AA,A): the smaller left id) AA Aa
        assert_eq!(v.merges, [(0, 0), (1, 1), (1, 0)]);
        assert_eq!(v.tokens, ["a", "aa", "aaaa", "aaa"]);
    }

    /// The same rule with every count made anew at every step: what the queue must agree with.
    fn slowly(alphabet: Vec<String>, mut words: Vec<(Vec<u32>, u64)>, vocab_size: usize) -> Vocabulary {
        let (mut tokens, mut merges) = (alphabet, Vec::new());
        while tokens.len() < vocab_size {
            let mut counts = std::collections::BTreeMap::<Pair, u64>::new();
            for (word, count) in &words {
                word.windows(2).for_each(|p| *counts.entry((p[0], p[1])).or_default() += count);
            }
            let Some((&pair, _)) = counts.iter().max_by_key(|(pair, count)| (**count, Reverse(**pair))) else { break };
            let text = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
            let new = tokens.iter().position(|t| *t == text).unwrap_or_else(|| {
                tokens.push(text);
                tokens.len() - 1
            }) as u32;
            merges.push(pair);
            for (word, _) in &mut words {
                let mut i = 0;
                while i + 1 < word.len() {
                    if (word[i], word[i + 1]) == pair {
                        word.splice(i..i + 2, [new]);
                    }
                    i += 1;
                }
            }
        }
        Vocabulary { tokens, merges }
    }

    #[test]
    fn agrees_with_counting_anew_at_every_step() {
        let mut random = crate::philox::Words::new(5, crate::philox::Stream::Order, 0, 0);
        for round in 0..30 {
            let words: Vec<(Vec<u32>, u64)> = (0..20)
                .map(|_| {
                    let length = random.below(12);
                    ((0..length).map(|_| random.below(3)).collect(), u64::from(random.below(4)) + 1)
                })
                .collect();
            let mut shuffled = words.clone();
            random.shuffle(&mut shuffled);
            let v = train(letters("abc"), words.clone(), 40);
            assert_eq!(v, slowly(letters("abc"), words, 40), "round {round}");
            assert_eq!(v, train(letters("abc"), shuffled, 40), "round {round}");
        }
    }
}
