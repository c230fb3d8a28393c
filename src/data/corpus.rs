//! The tokens of a text, divided into documents, and its held-out part.

use super::shared_slice::{SharedSlice, Tokens};
use crate::{Error, Result};
use std::ops::Range;

/// The tokens of a text: one stream, or separate documents. A part of a corpus is a corpus, too. Cloning copies no tokens.
#[derive(Clone, Debug)]
pub struct Corpus {
    tokens: Tokens,
    documents: Option<Documents>,
}

/// Ends of documents, in tokens from the beginning of the whole corpus. The first and the last document of a part may be
/// incomplete.
#[derive(Clone, Debug)]
struct Documents {
    ends: SharedSlice<u64>,
    /// Tokens of the whole corpus before this part.
    before: u64,
}

impl Corpus {
    /// One stream.
    pub fn stream(tokens: impl Into<Tokens>) -> Self {
        Corpus { tokens: tokens.into(), documents: None }
    }

    /// Documents one after another, each given by the number of tokens up to its end.
    ///
    /// # Errors
    /// [`Error::Value`] when the ends do not ascend to the number of tokens.
    pub fn documents(tokens: impl Into<Tokens>, ends: impl Into<SharedSlice<u64>>) -> Result<Self> {
        let (tokens, ends) = (tokens.into(), ends.into());
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) != tokens.len() as u64 {
            let (found, expected) = (format!("{} ends", ends.len()), tokens.len());
            let expected = format!("expected them to ascend to {expected}, the number of tokens");
            return Err(Error::value("documents", found, expected));
        }
        Ok(Corpus { tokens, documents: Some(Documents { ends, before: 0 }) })
    }

    /// The tokens of all documents, in order.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether it is one stream.
    pub fn is_stream(&self) -> bool {
        self.documents.is_none()
    }

    /// The number of documents; a stream is one.
    pub fn document_count(&self) -> usize {
        self.documents.as_ref().map_or(1, |documents| documents.ends.len())
    }

    /// The range of document `i` in the tokens.
    pub fn document(&self, i: usize) -> Range<usize> {
        let Some(Documents { ends, before }) = &self.documents else { return 0..self.tokens.len() };
        let at = |end: u64| (end.saturating_sub(*before) as usize).min(self.tokens.len());
        let start = if i == 0 { 0 } else { at(ends[i - 1]) };
        start..at(ends[i])
    }

    /// The tokens of each document, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> + '_ {
        (0..self.document_count()).map(|i| &self.tokens[self.document(i)])
    }

    /// The training part and the held-out part, which is the last `valid_share` of the tokens (0: none). A document across
    /// the border is divided there.
    pub fn split(&self, valid_share: f64) -> (Corpus, Corpus) {
        let n = self.tokens.len();
        let held_out = (n as f64 * valid_share.clamp(0.0, 1.0)).floor() as usize;
        let border = n - held_out.min(n);
        let part = |range: Range<usize>| {
            let documents = self.documents.as_ref().map(|Documents { ends, before }| {
                let (start, end) = (before + range.start as u64, before + range.end as u64);
                let first = ends.partition_point(|e| *e <= start);
                // The document in which the part ends belongs to it as well.
                let last = ends.partition_point(|e| *e < end) + 1;
                Documents { ends: ends.part(first..last), before: start }
            });
            Corpus { tokens: self.tokens.part(range), documents }
        };
        (part(0..border), part(border..n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u32) -> Vec<u32> {
        (0..n).collect()
    }

    #[test]
    fn the_last_share_is_held_out() {
        let split = |n, share| {
            let (training, held_out) = Corpus::stream(ids(n)).split(share);
            (training.tokens().to_vec(), held_out.tokens().to_vec())
        };
        assert_eq!(split(100, 0.05), ((0..95).collect(), (95..100).collect()));
        assert_eq!(split(100, 0.0).1.len(), 0);
        assert_eq!(split(7, 0.5).1, [4, 5, 6]);
    }

    #[test]
    fn a_document_across_the_border_is_divided() {
        let corpus = Corpus::documents(ids(20), vec![4, 4, 10, 13, 20]).expect("documents");
        let lengths = |c: &Corpus| c.iter().map(<[u32]>::len).collect::<Vec<_>>();
        assert_eq!(lengths(&corpus), [4, 0, 6, 3, 7]);
        let (training, held_out) = corpus.split(0.4);
        assert_eq!((lengths(&training), lengths(&held_out)), (vec![4, 0, 6, 2], vec![1, 7]));
        assert_eq!(held_out.tokens()[held_out.document(1)], [13, 14, 15, 16, 17, 18, 19]);
        let (training, held_out) = corpus.split(0.5);
        assert_eq!((lengths(&training), lengths(&held_out)), (vec![4, 0, 6], vec![3, 7]));
        // A part of a part.
        let (a, b) = held_out.split(0.5);
        assert_eq!((lengths(&a), lengths(&b)), (vec![3, 2], vec![5]));
        assert_eq!(b.iter().next(), Some(&[15, 16, 17, 18, 19][..]));
        let all = corpus.split(0.0);
        assert_eq!((lengths(&all.0), all.1.tokens().len()), (vec![4, 0, 6, 3, 7], 0));
    }

    #[test]
    fn document_ends_are_checked() {
        for ends in [vec![], vec![4], vec![3, 2, 5], vec![5, 6]] {
            assert!(
                Corpus::documents(ids(5), ends)
                    .expect_err("ends")
                    .to_string()
                    .contains("ascend to 5, the number of tokens")
            );
        }
        assert!(Corpus::documents(Vec::new(), Vec::new()).is_ok());
        assert_eq!(Corpus::stream(ids(3)).iter().count(), 1);
    }
}
