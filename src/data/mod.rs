//! Text to batches, without a GPU.
//!
//! Text files ([`text_files`], in [`block`]s) → token ids ([`tokenizer`]) → [`corpus`] (documents, held-out part) →
//! [`windows`] → [`data_loader`] → [`batch`] (with [`padding`], if the kernels need it).
//! [`baseline`] computes the loss of simple count models on the same ids; [`synthetic`] generates text.

pub mod baseline;
pub mod batch;
pub mod block;
mod block_builder;
#[cfg(feature = "tokenizers")]
mod chunk;
pub mod corpus;
pub mod data_loader;
pub(crate) mod file_errors;
pub(crate) mod file_kind;
pub(crate) mod json_line;
pub mod padding;
#[cfg(feature = "tokenizers")]
pub(crate) mod parallel;
pub(crate) mod read_file;
pub mod shared_slice;
pub mod synthetic;
pub mod text_files;
pub mod text_folder;
pub mod text_format;
mod text_reader;
mod text_warnings;
pub mod tokenizer;
pub(crate) mod unique_json;
pub mod windows;

pub use batch::{Batch, Sequence};
pub use corpus::Corpus;
pub use data_loader::{BatchSize, Batching, DataLoader};
pub use padding::Padding;
pub use tokenizer::{Pretokenizer, Tokenizer};
