//! The three forms of a product.

/// Which operand is read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A [M, K] · B [K, N]
    AB,
    /// A [M, K] · B [N, K]
    ABt,
    /// A [K, M] · B [K, N]
    AtB,
}
