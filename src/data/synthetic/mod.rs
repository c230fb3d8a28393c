//! Generated text: stories for demos and tests, and documents that need a long context.

pub mod recall;
pub mod stories;
