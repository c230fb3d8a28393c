//! Files of models: what Hugging Face saves is read, what is saved here Hugging Face reads.
//!
//! A checkpoint's [`folder`] holds [`safetensors`] (weights), [`config_json`] and the tokenizer's two files, a run's also
//! the [`optimizer`]'s and a [`seal`] over all of them; it is written whole or not at all. [`model_folder`] reads it, and
//! what else a user may call a model's folder. [`openai`] reads GPT-1 as it was published. [`token_cache`] keeps the tokens
//! of texts.

pub mod config_json;
pub mod folder;
pub mod mmap;
pub mod model_folder;
pub mod openai;
pub mod optimizer;
pub mod safetensors;
pub mod seal;
pub mod sha256;
pub mod token_cache;
