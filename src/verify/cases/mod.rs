//! The cases, one file an op.

pub mod attention;
pub mod cache;
pub mod column_sum;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gather_rows;
mod inputs;
pub use inputs::RowSizes;
pub mod kv_compress;
pub mod large;
pub mod layer_norm;
pub mod matmul;
pub mod matvec;
pub mod optimizer;
pub mod task_loss;

use super::Case;

/// Every case whose oracle computes all outputs: small ones and those of the benchmarks. [`large`] has others.
pub fn all() -> Vec<Case> {
    let mut all = matmul::cases();
    all.extend(matvec::cases());
    all.extend(attention::cases());
    all.extend(cache::cases());
    all.extend(embedding::cases());
    all.extend(kv_compress::cases());
    all.extend(gather_rows::cases());
    all.extend(layer_norm::cases());
    all.extend(column_sum::cases());
    all.extend(dropout::cases());
    all.extend(cross_entropy::cases());
    all.extend(task_loss::cases());
    all.extend(optimizer::cases());
    all
}
