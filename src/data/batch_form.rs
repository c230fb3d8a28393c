//! How sequences of different lengths lie in a batch (SPEC 4): packed as they are, or made as long as others by rows that
//! count for nothing, as kernels without ragged batches must have them.
//!
//! Such rows stand behind a sequence's own, which causal attention never lets see them; they have no target, so no gradient
//! begins at them; and a dropout mask depends on a row's position and its sequence's number alone. So losses and gradients
//! are those of the packed batch, and only their sums' order is another.

use super::batch::{Batch, IGNORED};
use crate::config::choice;
use crate::{Error, Result};

choice! {
    /// How sequences of different lengths lie in a batch.
    BatchForm {
        /// One behind the other without padding.
        Packed = "packed",
        /// Sorted by length, cut in [`GROUPS`] groups, each padded to its own longest.
        Grouped = "grouped",
        /// Each padded to the longest of all.
        Padded = "padded",
    }
}

/// Groups of a grouped batch, of as many sequences each.
pub const GROUPS: usize = 4;

/// The id of a row that pads.
const PADDING: u32 = 0;

impl BatchForm {
    /// All of them.
    pub const ALL: [BatchForm; 3] = [BatchForm::Packed, BatchForm::Grouped, BatchForm::Padded];

    /// The order of sequences of these lengths in a batch, by their index, and the rows that each one has there.
    pub fn arrange(self, lengths: &[usize]) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        let group = match self {
            BatchForm::Packed => 1,
            BatchForm::Grouped => {
                order.sort_by_key(|i| lengths[*i]);
                lengths.len().div_ceil(GROUPS).max(1)
            }
            BatchForm::Padded => lengths.len().max(1),
        };
        let longest = |group: &[usize]| group.iter().map(|i| lengths[*i]).max().unwrap_or(0);
        order.chunks(group).flat_map(|group| group.iter().map(move |i| (*i, longest(group)))).collect()
    }

    /// The borders of sequences of these lengths in a batch, from 0 to its rows.
    ///
    /// # Errors
    /// [`Error::Value`] for 2^31 rows or more.
    pub fn borders(self, lengths: &[usize]) -> Result<Vec<u32>> {
        let (mut at, mut borders) = (0usize, vec![0]);
        for (_, rows) in self.arrange(lengths) {
            at = at.saturating_add(rows);
            let most = |_| Error::input(format!("batching = {self}: {at} rows in an update: must be less than 2^31"));
            borders.push(i32::try_from(at).map_err(most)? as u32);
        }
        Ok(borders)
    }

    /// A packed batch in this form; every sequence keeps its number, and the count of real targets is the same.
    ///
    /// # Errors
    /// As [`BatchForm::borders`].
    pub fn of(self, batch: Batch) -> Result<Batch> {
        if self == BatchForm::Packed {
            return Ok(batch);
        }
        let lengths: Vec<usize> = (0..batch.sequences()).map(|s| batch.rows_of(s).len()).collect();
        let mut out =
            Batch { cu_seqlens: self.borders(&lengths)?, target_count: batch.target_count, ..Batch::default() };
        for (s, rows) in self.arrange(&lengths) {
            let (own, end) = (batch.rows_of(s), out.ids.len() + rows);
            out.ids.extend(&batch.ids[own.clone()]);
            out.ids.resize(end, PADDING);
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
        let of = |form: BatchForm| form.arrange(&lengths);
        assert_eq!(of(BatchForm::Packed), lengths.into_iter().enumerate().collect::<Vec<_>>());
        assert_eq!(of(BatchForm::Padded), (0..7).map(|i| (i, 9)).collect::<Vec<_>>());
        assert_eq!(of(BatchForm::Grouped), [(1, 2), (3, 2), (4, 3), (6, 3), (0, 7), (5, 7), (2, 9)]);
        for form in BatchForm::ALL {
            assert_eq!(form.arrange(&[]), []);
            assert_eq!(form.arrange(&[4]), [(0, 4)]);
            assert_eq!(form.of(Batch::default()).expect("nothing"), Batch::default());
        }
        let most = BatchForm::Padded.borders(&[1 << 30, 1, 1]).expect_err("too many");
        assert!(most.to_string().starts_with("batching = padded: 2147483648 rows"), "{most}");
    }

    #[test]
    fn every_sequence_keeps_its_rows_and_its_number() {
        let packed = batch(&[5, 1, 9, 0, 2, 7]);
        for (form, rows) in
            [(BatchForm::Packed, 24), (BatchForm::Grouped, 1 + 1 + 5 + 5 + 9 + 9), (BatchForm::Padded, 54)]
        {
            let formed = form.of(packed.clone()).expect("formed");
            formed.validate(100, 9).expect("valid");
            assert_eq!((formed.rows(), formed.target_count), (rows, packed.target_count), "{form}");
            for s in 0..formed.sequences() {
                let (own, all) = (packed.rows_of(formed.sequence_numbers[s] as usize), formed.rows_of(s));
                let real = all.start..all.start + own.len();
                assert_eq!(formed.ids[real.clone()], packed.ids[own.clone()]);
                assert_eq!(formed.targets[real.clone()], packed.targets[own]);
                assert!(formed.targets[real.end..all.end].iter().all(|target| *target == IGNORED));
            }
            let mut numbers = formed.sequence_numbers;
            numbers.sort_unstable();
            assert_eq!(numbers, packed.sequence_numbers);
        }
    }
}
