//! Knows wgpu, knows no maths: adapters, buffers, shader text, and programs of dispatches.

pub mod buffer;
pub mod caps;
pub mod device;
pub mod image;
pub mod kernel;
pub mod program;
pub mod quiet;
pub mod readback;
pub mod wgsl;

pub use buffer::{Buffer, Matrix, View};
pub use caps::{AdapterKind, Caps};
pub use device::Device;
pub use image::{Image, ImageLayout, Tensor};
pub use kernel::Variant;
pub use program::{Bind, Launch, Program, Recorder};
pub use readback::Ring;
