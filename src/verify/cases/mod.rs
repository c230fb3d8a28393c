//! The CASES, one file an op.

pub mod matmul;

use super::Case;

/// Every case: small ones and those of the benchmarks.
pub fn all() -> Vec<Case> {
    let mut all = matmul::cases();
    all.extend([]);
    all
}
