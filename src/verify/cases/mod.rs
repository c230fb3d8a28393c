//! The CASES, one file an op.

pub mod attention;
pub mod matmul;

use super::Case;

/// Every case: small ones and those of the benchmarks.
pub fn all() -> Vec<Case> {
    let mut all = matmul::cases();
    all.extend(attention::cases());
    all
}
