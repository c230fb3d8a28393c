//! Work on slices by all CPU cores.

/// Divides `items` into one contiguous share for each CPU core, applies `f` to the shares on threads of their own, and
/// returns the results in order. Without items, `f` is applied to one empty share.
pub(crate) fn map_shares<T: Sync, R: Send>(items: &[T], f: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        return vec![f(items)];
    }
    let f = &f;
    std::thread::scope(|scope| {
        let shares = items.chunks(items.len().div_ceil(threads));
        let running: Vec<_> = shares.map(|share| scope.spawn(move || f(share))).collect();
        // A panic on a thread continues on this one.
        let joined = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        assert_eq!(map_shares(&items, <[u32]>::to_vec).concat(), items);
        assert_eq!(map_shares(&[0u32; 0], <[u32]>::len), [0]);
    }
}
