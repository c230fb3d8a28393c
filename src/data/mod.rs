//! Text to batches: knows files, knows no GPU.
//!
//! text → [`tokenizer`] (trained by [`bpe`]) → ids → [`corpus`] (held-out part) → [`windows`] (order) → [`batch`].
//! [`baseline`] says what counting alone reaches on the same ids; [`stories`] writes text where there is none.

pub mod baseline;
pub mod batch;
pub mod bpe;
pub mod corpus;
pub mod stories;
pub mod text_stream;
pub mod tokenizer;
pub mod windows;
