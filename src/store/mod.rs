//! Files of models: reads what Hugging Face saves and writes what Hugging Face reads.
//!
//! [`Model`] is a model in memory; [`model_folder`] finds, reads and writes its folder: [`safetensors`] (weights),
//! [`config_json`] and the tokenizer's two files. A checkpoint of a run also has the [`optimizer`]'s moments and the
//! [`checksums`] of all files. [`openai`] reads GPT-1 as it was published. [`token_cache`] stores the tokens of texts,
//! and [`passed_tests`] the self-tests of drivers that passed.
//! [`atomic`] writes files and folders completely or not at all, [`reservation`] lets one process at a time write a folder, and
//! [`lock`] and [`sync`] use what the file system has. [`in_use`] and [`names`] are about what Windows refuses.

pub mod atomic;
pub mod checksums;
pub mod config_json;
pub mod folder_kind;
pub mod in_use;
pub mod lock;
pub mod mmap;
pub mod model_folder;
mod model_on_device;
pub mod names;
pub mod openai;
pub mod optimizer;
pub mod passed_tests;
pub mod reservation;
pub mod safetensors;
pub mod sha256;
pub mod sync;
#[cfg(feature = "tokenizers")]
pub mod token_cache;
#[cfg(feature = "tokenizers")]
mod work_folder;

pub use model_folder::Model;
