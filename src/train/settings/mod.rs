//! The settings of a run: a table of all keys, the sources of their values, and validation.

mod bytes;
mod effect;
pub mod key;
pub mod keys;
pub mod layers;
pub mod run;
pub mod stage;
pub mod task;
mod validate;
pub mod value;

pub use bytes::Bytes;
pub use layers::Layers;
pub use run::{Length, PRESETS, Settings};
pub use stage::Stage;
pub use task::TaskSettings;
