//! Blocks of text, and where a text may be split without changing any token id.

use crate::Result;

/// Bytes of text that are in memory at a time.
pub const BLOCK_BYTES: usize = 1 << 23;

/// A part of a text, and where documents end in it.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The text.
    pub text: &'a str,
    /// Ends of documents in bytes from the beginning of the block, ascending.
    pub document_ends: &'a [usize],
}

/// What is called for each block of a text.
pub type OnBlock<'a> = dyn FnMut(Block<'_>) -> Result<()> + 'a;

/// Whether a text may be split before byte `at`: a space or line feed that follows something other than white space.
///
/// Every pre-tokenizer splits there, and no pre-tokenizer joins text across this point: words of `bert` and `openai` end
/// at white space, the line-break rule of `openai` and ByteLevel's look-ahead stay within one run of white space, and
/// this split leaves such a run whole. Normalization does not cross it either: a space or line feed starts a new
/// character in every normal form.
fn is_split_point(text: &str, at: usize) -> bool {
    matches!(text.as_bytes()[at], b' ' | b'\n') && text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())
}

/// A text without a split point is split after this many bytes, so that memory is bounded for texts without white space. Only
/// there the ids may differ from those of the whole text. Chunks are smaller, so that no such place is passed over, whatever
/// the sizes of blocks and chunks.
pub(super) const LONGEST_RUN: usize = 1 << 16;

/// The end of a run of `longest` bytes without split points that begins at `start`.
fn end_of_run(text: &str, start: usize, longest: usize) -> usize {
    let end = text.len().min(start + longest);
    (start..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(end)
}

/// The first place from `from` on where a text may be split or, after a run of `longest` bytes, must be. The text has a split
/// point at `start`, which is less than `from`.
#[cfg(feature = "tokenizers")]
pub(super) fn next_split(text: &str, start: usize, from: usize, longest: usize) -> Option<usize> {
    let run = (start + 1..from).rev().find(|at| is_split_point(text, *at)).unwrap_or(start);
    let mut forced = run;
    while forced < from {
        forced = end_of_run(text, forced, longest);
    }
    let natural = (from..text.len().min(forced)).find(|at| is_split_point(text, *at));
    natural.or_else(|| Some(forced).filter(|forced| *forced < text.len()))
}

/// The last place where a text, which begins at a split point, may or must be split.
pub(super) fn last_split(text: &str, longest: usize) -> Option<usize> {
    let natural = (1..text.len()).rev().find(|at| is_split_point(text, *at)).unwrap_or(0);
    let mut last = natural;
    loop {
        match end_of_run(text, last, longest) {
            end if end < text.len() => last = end,
            _ => return Some(last).filter(|last| *last > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_split_point_is_before_white_space() {
        let found = ["a b\nc dd  e", "abc", " a", ""].map(|text| last_split(text, 9));
        assert_eq!(found, [Some(8), None, None, None]);
    }

    #[cfg(feature = "tokenizers")]
    #[test]
    fn long_runs_are_split_at_characters() {
        // Split points are before the first space of each run, at 4 and 14.
        let text = "aéb céééé  d";
        let splits = [1, 4, 5, 9, 10, 13, 15].map(|from| next_split(text, 0, from, 5));
        assert_eq!(splits, [Some(4), Some(4), Some(8), Some(12), Some(12), Some(14), None]);
        assert_eq!(last_split("aaaaaaaaaaa", 4), Some(8));
        assert_eq!(last_split("éééé", 3), Some(6));
    }
}
