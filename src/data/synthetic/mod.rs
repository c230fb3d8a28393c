//! Generated text: stories for demos and tests, and documents that only a long memory predicts.

pub mod recall;
pub mod stories;
