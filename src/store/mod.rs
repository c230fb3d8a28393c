//! Files of models: reads what Hugging Face saves and writes what Hugging Face reads.
//!
//! [`Model`] is a model in memory; [`model_folder`] finds, reads and writes its folder: [`safetensors`] (weights),
//! [`config_json`] and the tokenizer's two files. A checkpoint of a run also has the [`optimizer`]'s moments and the
//! [`checksums`] of all files. [`openai`] reads GPT-1 as it was published. [`token_cache`] stores the tokens of texts.
//! [`atomic`] writes files and folders completely or not at all.

pub mod atomic;
pub mod checksums;
pub mod config_json;
pub mod mmap;
pub mod model_folder;
mod model_on_device;
pub mod openai;
pub mod optimizer;
pub mod safetensors;
pub mod sha256;
#[cfg(feature = "tokenizers")]
pub mod token_cache;

pub use model_folder::Model;
