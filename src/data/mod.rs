//! Text to batches: knows files, knows no GPU.
//!
//! [`source`] (files as a stream of [`pieces`]) → [`tokenizer`] (trained by [`bpe`] on [`words`]) → [`encoder`] → ids,
//! [`shared`] → [`corpus`] (documents, held-out part) → [`windows`] → [`order`] → [`batch`] in its [`batch_form`].
//! [`baseline`] says what counting alone reaches on the same ids; [`stories`] writes text where there is none, [`recall`]
//! text that needs a long memory. [`task_file`] reads the examples of a task, [`task_tokens`] are what fine-tuning adds to
//! a vocabulary.

pub mod baseline;
pub mod batch;
pub mod batch_form;
pub mod bpe;
pub mod corpus;
pub mod encoder;
mod openai_words;
pub mod order;
pub mod pieces;
pub mod recall;
pub mod shared;
pub mod source;
pub mod stories;
pub mod task_file;
pub mod task_tokens;
pub mod text_stream;
pub mod tokenizer;
mod tokenizer_json;
pub mod windows;
pub mod words;
