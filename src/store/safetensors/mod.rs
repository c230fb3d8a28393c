//! safetensors files, and a model's parameters in them under Hugging Face's names (docs/spec.md section 1).
//!
//! f32, f16 and bf16 are read, f32 is written. The claims of a header are compared with the file's size before anything is
//! allocated.

mod layout;
mod place;
pub(crate) mod read;
mod write;

pub use layout::{from_file, to_file};
pub use read::{Loaded, Tensor, Tensors, Weights, load_parameters, read};
pub(super) use read::{missing, wrong_shape};
pub use write::{save_parameters, write, write_parameters};
