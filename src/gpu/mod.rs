//! The layer over wgpu: adapters, buffers, shader text, and programs of dispatches. It contains no mathematics of models.

mod adapters;
mod bind;
mod block;
mod budget;
pub mod buffer;
pub mod caps;
mod compile;
pub mod device;
mod expression;
mod fault;
pub mod image;
mod image_copy;
pub mod kernel;
mod launch;
mod libraries;
mod parameters;
pub mod profile;
pub mod program;
pub mod quiet;
pub mod readback;
mod recorder;
mod template;
pub mod wgsl;

pub use bind::Bind;
pub use buffer::{Buffer, BufferError, Matrix, Placement, View};
pub use caps::{AdapterKind, Caps};
pub use device::Device;
pub use image::{Image, ImageLayout, Tensor};
pub use kernel::Variant;
pub use launch::{Launch, LiveValues};
pub use libraries::library_texts;
pub use profile::Timing;
pub use program::Program;
pub use readback::Ring;
pub use recorder::Recorder;
