//! Padding of the sequences of a batch (docs/spec.md section 4.4): none, or up to the length of longer ones, as kernels
//! without support for packed batches need it.
//!
//! Rows of padding come after the rows of a sequence, where causal attention does not see them. They have no target, so
//! they add nothing to loss and gradients; and dropout masks depend only on a row's position and its sequence's number.
//! So losses and gradients are those of the packed batch, summed in another order.

use super::batch::{Batch, IGNORED};
use crate::config::choice;
use crate::{Error, Result};

choice! {
    /// How the sequences of a batch are padded.
    Padding {
        /// Not at all: each sequence follows the one before.
        Packed = "packed",
        /// Sorted by length and divided into [`GROUPS`] groups, each padded to its longest sequence.
        Grouped = "grouped",
        /// To the longest sequence of the batch.
        Padded = "padded",
    }
}

/// Groups of a [`Padding::Grouped`] batch, with about the same number of sequences each.
pub const GROUPS: usize = 4;

/// The id in a row of padding.
const PADDING_ID: u32 = 0;

impl Padding {
    /// All ways.
    pub const ALL: [Padding; 3] = [Padding::Packed, Padding::Grouped, Padding::Padded];

    /// The sequences of a batch, given their lengths: for each, in the order of the batch, its index and its number of
    /// rows with padding.
    pub fn arrange(self, lengths: &[usize]) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        let group = match self {
            Padding::Packed => 1,
            Padding::Grouped => {
                order.sort_by_key(|i| lengths[*i]);
                lengths.len().div_ceil(GROUPS).max(1)
            }
            Padding::Padded => lengths.len().max(1),
        };
        let longest = |group: &[usize]| group.iter().map(|i| lengths[*i]).max().unwrap_or(0);
        order.chunks(group).flat_map(|group| group.iter().map(move |i| (*i, longest(group)))).collect()
    }

    /// \[B+1\] the first row of each sequence of a batch, given their lengths, and the number of all rows.
    ///
    /// # Errors
    /// [`Error::Value`] for 2^31 rows or more.
    pub fn cu_seqlens(self, lengths: &[usize]) -> Result<Vec<u32>> {
        let (mut end, mut cu_seqlens) = (0usize, vec![0]);
        for (_, rows) in self.arrange(lengths) {
            end = end.saturating_add(rows);
            let too_many = |_| Error::value("batching", self, format!("{end} rows in a step, expected less than 2^31"));
            cu_seqlens.push(i32::try_from(end).map_err(too_many)? as u32);
        }
        Ok(cu_seqlens)
    }

    /// Pads a packed batch. Every sequence keeps its number, and the number of targets stays the same.
    ///
    /// # Errors
    /// As [`Padding::cu_seqlens`].
    pub fn apply(self, batch: Batch) -> Result<Batch> {
        if self == Padding::Packed {
            return Ok(batch);
        }
        let lengths: Vec<usize> = (0..batch.sequences()).map(|s| batch.rows_of(s).len()).collect();
        let mut out =
            Batch { cu_seqlens: self.cu_seqlens(&lengths)?, target_count: batch.target_count, ..Batch::default() };
        for (s, rows) in self.arrange(&lengths) {
            let (own, end) = (batch.rows_of(s), out.ids.len() + rows);
            out.ids.extend(&batch.ids[own.clone()]);
            out.ids.resize(end, PADDING_ID);
            out.targets.extend(&batch.targets[own]);
            out.targets.resize(end, IGNORED);
            out.positions.extend(0..rows as u32);
            out.sequence_numbers.push(batch.sequence_numbers[s]);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::Sequence;

    fn batch(lengths: &[usize]) -> Batch {
        let sequence = |(s, n): (usize, &usize)| {
            let ids: Vec<u32> = (0..*n).map(|t| 1 + (10 * s + t) as u32).collect();
            Sequence { targets: ids.iter().map(|id| id + 1).collect(), ids }
        };
        Batch::from_sequences(&lengths.iter().enumerate().map(sequence).collect::<Vec<_>>()).expect("batch")
    }

    #[test]
    fn groups_are_padded_to_their_own_longest() {
        let lengths = [5, 1, 9, 2, 2, 7, 3];
        let arranged = |padding: Padding| padding.arrange(&lengths);
        assert_eq!(arranged(Padding::Packed), lengths.into_iter().enumerate().collect::<Vec<_>>());
        assert_eq!(arranged(Padding::Padded), (0..7).map(|i| (i, 9)).collect::<Vec<_>>());
        assert_eq!(arranged(Padding::Grouped), [(1, 2), (3, 2), (4, 3), (6, 3), (0, 7), (5, 7), (2, 9)]);
        for padding in Padding::ALL {
            assert_eq!(padding.arrange(&[]), []);
            assert_eq!(padding.arrange(&[4]), [(0, 4)]);
            assert_eq!(padding.apply(Batch::default()).expect("nothing"), Batch::default());
        }
        let too_many = Padding::Padded.cu_seqlens(&[1 << 30, 1, 1]).expect_err("too many");
        assert!(too_many.to_string().starts_with("batching = padded: 2147483648 rows"), "{too_many}");
    }

    #[test]
    fn padding_keeps_rows_and_numbers_of_sequences() {
        let packed = batch(&[5, 1, 9, 0, 2, 7]);
        for (padding, rows) in [(Padding::Packed, 24), (Padding::Grouped, 1 + 1 + 5 + 5 + 9 + 9), (Padding::Padded, 54)]
        {
            let padded = padding.apply(packed.clone()).expect("padded");
            padded.validate(100, 9).expect("valid");
            assert_eq!((padded.rows(), padded.target_count), (rows, packed.target_count), "{padding}");
            for s in 0..padded.sequences() {
                let (own, all) = (packed.rows_of(padded.sequence_numbers[s] as usize), padded.rows_of(s));
                let real = all.start..all.start + own.len();
                assert_eq!(padded.ids[real.clone()], packed.ids[own.clone()]);
                assert_eq!(padded.targets[real.clone()], packed.targets[own]);
                assert!(padded.targets[real.end..all.end].iter().all(|target| *target == IGNORED));
            }
            let mut numbers = padded.sequence_numbers;
            numbers.sort_unstable();
            assert_eq!(numbers, packed.sequence_numbers);
        }
    }
}
