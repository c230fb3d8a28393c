//! Text to batches: knows files, knows no GPU.
//!
//! [`source`] (files as a stream of [`pieces`]) → [`tokenizer`] → ids,
//! [`shared`] → [`corpus`] (documents, held-out part) → [`windows`] → [`order`] → [`batch`] in its [`batch_form`].
//! [`baseline`] says what counting alone reaches on the same ids; [`synthetic`] writes text
//! where there is none. [`task_file`] reads the examples of a task.

pub mod baseline;
pub mod batch;
pub mod batch_form;
pub mod corpus;
pub mod order;
pub mod pieces;
pub mod shared;
pub mod source;
pub mod synthetic;
pub mod task_file;
pub mod tokenizer;
pub mod windows;
