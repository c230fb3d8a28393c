//! Writes documents that need a long memory to stdout, for comparing attention patterns.
//!
//! The arguments are the number of documents, the bytes of each and a seed:
//!
//! `cargo run --release --example recall 800 2047 1 > recall.txt`, then
//! `wgpt pretrain --data recall.txt --document-separator=--- --vocab-size 256 --n-positions 2048 --attention-pattern LMLML`

use std::io::Write;
use wgpt::data::synthetic::recall::recall;

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u32>().ok());
    let mut number = |default: u32| numbers.next().flatten().unwrap_or(default);
    let (documents, bytes, seed) = (number(8), number(2047), number(1));
    std::io::stdout().write_all(recall(seed.into(), documents, bytes as usize).as_bytes())
}
