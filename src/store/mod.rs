//! Files of models: what Hugging Face saves is read, what is saved here Hugging Face reads.
//!
//! A checkpoint's [`folder`] holds [`safetensors`] (weights), [`config_json`] and the tokenizer's two files; it is
//! written whole or not at all. [`model_folder`] reads it, and what else a user may call a model's folder.
//! [`token_cache`] keeps the tokens of texts.

pub mod config_json;
pub mod folder;
pub mod mmap;
pub mod model_folder;
pub mod safetensors;
pub mod token_cache;
