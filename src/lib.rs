//! GPT decoders trained on any GPU: hand-written WGSL kernels that wgpu runs on Vulkan, Metal and DX12.
//!
//! The rooms of the house, each naming only what stands to its left:
//! `error dims philox config < {gpu reference data} < ops < {verify model} < store < report < train < cli`.
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod cli;
pub mod config;
pub mod data;
pub mod dims;
pub mod error;
pub mod gpu;
pub mod model;
pub mod ops;
pub mod philox;
pub mod reference;
pub mod report;
pub mod store;
pub mod train;
pub mod verify;

pub use error::{Error, Result};
/// The wgpu that devices and queues of [`gpu::Device::from_wgpu`] come from.
pub use wgpu;
