//! Text in pieces: where it may be cut without changing any id, and work on pieces by all threads.

/// Bytes of text that one thread works on at a time.
pub(super) const PIECE: usize = 1 << 15;

/// Bytes of text that are in memory at a time.
pub const BLOCK: usize = 1 << 23;

/// A part of a text, and where documents end in it: bytes from its beginning, ascending.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The text.
    pub text: &'a str,
    /// Ends of documents.
    pub ends: &'a [usize],
}

/// A piece of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub text: &'a str,
    /// Whether a document ends behind it.
    pub ends: bool,
}

impl<'a> Block<'a> {
    /// Pieces of about `size` bytes, of which none is of two documents; whole documents where they must not be cut.
    pub(super) fn pieces(&self, size: usize, cuttable: bool) -> Vec<Piece<'a>> {
        let mut pieces = Vec::with_capacity(self.text.len() / size + self.ends.len() + 1);
        let mut start = 0;
        for (end, ends) in self.ends.iter().map(|end| (*end, true)).chain([(self.text.len(), false)]) {
            let document = &self.text[start..end];
            let cuts = if cuttable { cut(document, size) } else { vec![document] };
            pieces.extend(cuts.into_iter().map(|text| Piece { text, ends: false }));
            if let Some(last) = pieces.last_mut() {
                last.ends = ends;
            }
            start = end;
        }
        pieces
    }
}

/// Whether every pre-tokenizer splits before byte `at`: it is a space or a line's end that follows something other
/// than white space. (None lets a word go on past white space, what OpenAI's makes of a line's end is of one run of white space, and ByteLevel's look ahead looks along a run of white
/// space, which such a cut leaves whole. A space begins a new character in every normal form, so normalizing piece by
/// piece is normalizing the whole.)
fn splits(text: &str, at: usize) -> bool {
    matches!(text.as_bytes()[at], b' ' | b'\n') && text[..at].chars().next_back().is_some_and(|c| !c.is_whitespace())
}

/// Cuts a text in pieces of `size` bytes or a little more, where it [`splits`].
pub(super) fn cut(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::with_capacity(text.len() / size + 1);
    let (mut start, mut at) = (0, size);
    while at < text.len() {
        if splits(text, at) {
            pieces.push(&text[start..at]);
            start = at;
            at += size;
        } else {
            at += 1;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

/// The last place where a text [`splits`].
pub(super) fn last_cut(text: &str) -> Option<usize> {
    (1..text.len()).rev().find(|at| splits(text, *at))
}

/// `f` of every item, in order, by as many threads as there are cores; each thread takes one run of items.
pub(crate) fn on_threads<T: Sync, R: Send>(items: &[T], f: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        return vec![f(items)];
    }
    let f = &f;
    std::thread::scope(|scope| {
        let running: Vec<_> =
            items.chunks(items.len().div_ceil(threads)).map(|run| scope.spawn(move || f(run))).collect();
        // A thread that panicked would have no result; the panic goes on here.
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_of_one_document() {
        let block = Block { text: "a b\nc dd  e", ends: &[0, 4, 4] };
        let pieces = |size, cuttable| block.pieces(size, cuttable).iter().map(|p| (p.text, p.ends)).collect::<Vec<_>>();
        assert_eq!(
            pieces(1, true),
            [
                ("", true),
                ("a", false),
                (" b", false),
                ("\n", true),
                ("", true),
                ("c", false),
                (" dd", false),
                ("  e", false)
            ]
        );
        assert_eq!(pieces(1, false), [("", true), ("a b\n", true), ("", true), ("c dd  e", false)]);
        assert_eq!(
            (last_cut("a b\nc dd  e"), last_cut("abc"), last_cut(" a"), last_cut("")),
            (Some(8), None, None, None)
        );
    }

    #[test]
    fn threads_keep_the_order() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(on_threads(&items, <[u32]>::to_vec).concat(), items);
        assert_eq!(on_threads(&[0u32; 0], <[u32]>::len), [0]);
    }
}
