//! The Spec of any op.

use super::row_access::RowAccess;
use super::{attention, cache, matmul, matvec};
use crate::Error;

/// A Spec of any op, so that one test case can run every variant of its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// The file and the tile of a product.
    Matmul(matmul::Spec),
    /// The file of a product of few rows.
    Matvec(matvec::Spec),
    /// The files of attention.
    Attention(attention::Spec),
    /// Where the cache of keys and values is stored.
    Cache(cache::Spec),
    /// How a row-wise kernel reads.
    Row(RowAccess),
}

impl Spec {
    /// The error for this Spec when the kernel `op` receives it and it belongs to another kernel.
    pub fn wrong_kernel(self, op: &str) -> Error {
        Error::kernel(op, format!("{self:?} is a Spec of another kernel"))
    }
}
