//! Helpers that several test modules need, one implementation each.

pub mod files;
pub mod models;
pub mod program;
pub mod runs;
pub mod tensors;

use wgpt::gpu::Device;

/// The adapter that `WGPT_ADAPTER` names, else the best one.
pub fn device() -> Device {
    Device::open(std::env::var("WGPT_ADAPTER").ok().as_deref()).expect("an adapter")
}
