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
pub(super) fn is_split_point(text: &str, at: usize) -> bool {
    matches!(text.as_bytes()[at], b' ' | b'\n') && text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())
}

/// The last split point of a text.
pub(super) fn last_split_point(text: &str) -> Option<usize> {
    (1..text.len()).rev().find(|at| is_split_point(text, *at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_split_point_is_before_white_space() {
        let found = ["a b\nc dd  e", "abc", " a", ""].map(last_split_point);
        assert_eq!(found, [Some(8), None, None, None]);
    }
}
