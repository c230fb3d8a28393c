//! Documents that need a long memory, on stdout: a text to train patterns of attention on.
//!
//! `cargo run --release --example doors [DOCUMENTS] [BYTES] [SEED] > doors.txt`, then
//! `wgpt pretrain --data doors.txt --document-separator=--- --vocab-size 256 --n-positions 4096 --attention-pattern LMLML`

use std::io::Write;
use wgpt::data::doors::doors;

fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u32>().ok());
    let mut number = |default: u32| numbers.next().flatten().unwrap_or(default);
    let (documents, bytes, seed) = (number(256), number(4096), number(1));
    std::io::stdout().write_all(doors(seed.into(), documents, bytes as usize).as_bytes())
}
