//! How many rows of a matrix a program uses, and which.

use super::values::StepValues;
use crate::gpu::{Caps, LiveValues, Matrix};

/// How many rows of a tensor are live: a number that is fixed, or one of the [`StepValues`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCount {
    /// Always this many.
    Fixed(u32),
    /// N.
    Rows,
    /// Compressed slots.
    Slots,
    /// Null keys.
    NullKeys,
    /// Sequences that a task's head reads.
    Sequences,
    /// A task's examples.
    Examples,
    /// Rows `skip` to `skip + at_most` of N: a chunk of the head.
    Chunk {
        /// Rows before it.
        skip: u32,
        /// Its size at capacity.
        at_most: u32,
    },
}

impl RowCount {
    /// The number of rows for these values.
    pub fn at(self, values: &StepValues) -> u32 {
        match self {
            RowCount::Fixed(n) => n,
            RowCount::Rows => values.rows,
            RowCount::Slots => values.slots,
            RowCount::NullKeys => values.null_keys,
            RowCount::Sequences => values.sequences,
            RowCount::Examples => values.examples,
            RowCount::Chunk { skip, at_most } => values.rows.saturating_sub(skip).min(at_most),
        }
    }

    /// The number of blocks of `size` rows.
    pub(super) fn blocks(self, size: u32) -> BlockCount {
        BlockCount { rows: self, size }
    }
}

/// How many blocks of rows are live. A tensor of partial sums has one row for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCount {
    /// The rows.
    pub rows: RowCount,
    /// Rows of a block; 1 counts the rows themselves.
    pub size: u32,
}

impl BlockCount {
    /// The number of blocks for these values; the last one may have fewer rows.
    pub fn at(self, values: &StepValues) -> u32 {
        self.rows.at(values).div_ceil(self.size)
    }
}

impl From<RowCount> for BlockCount {
    fn from(rows: RowCount) -> Self {
        rows.blocks(1)
    }
}

impl LiveValues for StepValues {
    type RowCount = BlockCount;

    fn row_count(&self, count: BlockCount) -> u32 {
        count.at(self)
    }
}

/// Some rows of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// Rows of the matrices before it.
    pub skip: usize,
    /// Its rows at capacity.
    pub count: usize,
    /// How many of them are live.
    pub rows: RowCount,
}

impl RowRange {
    /// Cuts the rows of `matrices`, which all have equally many, into the fewest ranges that an adapter can bind, can hold as
    /// image copies where it reads images, and computes in one dispatch at `row_flops` floating-point operations a row.
    /// `rows` are those that are live: [`RowCount::Rows`] or a chunk.
    pub fn of_all(caps: &Caps, rows: RowCount, matrices: &[&Matrix], row_flops: f64) -> Vec<RowRange> {
        let all = matrices.iter().map(|m| m.rows).max().unwrap_or(0);
        let row_bytes = matrices.iter().map(|m| m.pitch() * 4).max().unwrap_or(1);
        let bindable = usize::try_from(caps.max_binding).unwrap_or(usize::MAX) / row_bytes.max(1);
        let readable = if caps.reads_images() { bindable.min(caps.max_texture as usize) } else { bindable };
        // The largest usize where there is no limit.
        let largest = readable.min((caps.max_dispatch_flops / row_flops.max(1.0)) as usize);
        RowRange::at_most(largest, rows, all)
    }

    /// Cuts `all` rows, of which `rows` are live, into ranges of at most `largest` rows.
    fn at_most(largest: usize, rows: RowCount, all: usize) -> Vec<RowRange> {
        if all <= largest {
            return vec![RowRange { skip: 0, count: all, rows }];
        }
        // A multiple of 64: whole tiles, and whole blocks of partial sums.
        let largest = (largest / 64).max(1) * 64;
        let before = if let RowCount::Chunk { skip, .. } = rows { skip } else { 0 };
        let range = |skip| {
            let count = largest.min(all - skip);
            RowRange { skip, count, rows: RowCount::Chunk { skip: before + skip as u32, at_most: count as u32 } }
        };
        (0..all).step_by(largest).map(range).collect()
    }

    /// These rows of a matrix.
    pub fn of(&self, matrix: &Matrix) -> Matrix {
        matrix.rows_from(self.skip, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_every_live_row_once() {
        let live = |ranges: &[RowRange], n: u32| -> Vec<u32> {
            let values = StepValues { rows: n, ..StepValues::default() };
            ranges.iter().map(|range| range.rows.at(&values)).collect()
        };
        let whole = RowRange::at_most(300, RowCount::Rows, 300);
        assert_eq!(whole, [RowRange { skip: 0, count: 300, rows: RowCount::Rows }]);
        let cut = RowRange::at_most(130, RowCount::Rows, 300);
        assert_eq!(
            cut.iter().map(|range| (range.skip, range.count)).collect::<Vec<_>>(),
            [(0, 128), (128, 128), (256, 44)]
        );
        assert_eq!(live(&cut, 300), [128, 128, 44]);
        assert_eq!(live(&cut, 140), [128, 12, 0]);
        let chunk = RowRange::at_most(1, RowCount::Chunk { skip: 1000, at_most: 100 }, 100);
        assert_eq!(chunk.iter().map(|range| (range.skip, range.count)).collect::<Vec<_>>(), [(0, 64), (64, 36)]);
        assert_eq!(live(&chunk, 1070), [64, 6]);
        assert_eq!(live(&chunk, 900), [0, 0]);
    }
}
