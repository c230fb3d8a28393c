//! Training of byte pair encoding: which pairs of symbols are merged, and in which order.
//!
//! The tokenizers crate has a trainer, too, but it gives ids to symbols with `</w>` in the order of a hash map, so three
//! processes gave three vocabularies. This trainer always gives the same result: the most frequent pair is merged first,
//! and of equally frequent pairs the one with the smallest ids, the left id first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Two adjacent symbols, by id.
pub type Pair = (u32, u32);

/// A trained vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// The text of each id: the given alphabet, then the results of merges, in order.
    pub tokens: Vec<String>,
    /// The merges, in the order in which they are applied.
    pub merges: Vec<Pair>,
}

/// Merges pairs until there are `vocab_size` tokens or no pair is left.
///
/// `words` holds each word as symbols (ids in `alphabet`) with its number of occurrences. Its order does not change the
/// result.
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
        // Two merges that give the same text ("ab"+"c", "a"+"bc") give one token.
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

/// Replaces `pair` by `new` from left to right, and updates the counts of the adjacent pairs.
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

/// Length of a list of pairs from which on repetitions in it are worth removing.
const MANY_CHANGED: usize = 1 << 16;

/// Counts of pairs, the words that contain them, and a queue. Entries of the queue may be out of date; they are checked
/// when they are taken.
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
        self.change(pair);
    }

    fn remove(&mut self, pair: Pair, count: u64) {
        if let Some(total) = self.counts.get_mut(&pair) {
            *total = total.saturating_sub(count);
            self.change(pair);
        }
    }

    /// Notes a pair whose count changed. Before the list grows, repetitions are removed from it: the pairs of long words would
    /// take more memory than the words.
    fn change(&mut self, pair: Pair) {
        let full = self.changed.len() == self.changed.capacity();
        if full && self.changed.len() >= MANY_CHANGED {
            self.changed.sort_unstable();
            self.changed.dedup();
            if self.changed.len() > self.changed.capacity() / 2 {
                self.changed.reserve(self.changed.capacity());
            }
        }
        self.changed.push(pair);
    }

    /// Adds the pairs whose counts changed to the queue, with their current counts.
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

    /// The next pair to merge. Entries that are out of date are dropped, because their pairs have newer entries.
    fn next(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if self.counts.get(&pair) == Some(&count) {
                return Some(pair);
            }
        }
        None
    }

    /// The words that may contain the pair, each once.
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
    fn frequent_pairs_are_merged_first_and_then_the_smallest_ids() {
        // "ab" occurs three times, "bc" and "ca" twice each: of these (b,c) has the smaller ids.
        let words = vec![(vec![0, 1], 3), (vec![1, 2], 2), (vec![2, 0], 2)];
        let v = train(letters("abc"), words, 6);
        assert_eq!(v.merges, [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(v.tokens[3..], ["ab", "bc", "ca"]);
    }

    #[test]
    fn overlapping_pairs_are_counted_correctly() {
        let v = train(letters("a"), vec![(vec![0; 7], 1)], 4);
        // aaaaaaa → A A A a → AA A a → (tie of (A,a) and (AA,A): the smaller left id) AA Aa
        assert_eq!(v.merges, [(0, 0), (1, 1), (1, 0)]);
        assert_eq!(v.tokens, ["a", "aa", "aaaa", "aaa"]);
    }

    /// Oracle: the same rule, with all counts computed again at every step.
    fn train_by_recounting(alphabet: Vec<String>, mut words: Vec<(Vec<u32>, u64)>, vocab_size: usize) -> Vocabulary {
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
    fn training_agrees_with_recounting_at_every_step() {
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
            assert_eq!(v, train_by_recounting(letters("abc"), words, 40), "round {round}");
            assert_eq!(v, train(letters("abc"), shuffled, 40), "round {round}");
        }
    }
}
