//! GPT decoders trained on any GPU: hand-written WGSL kernels that wgpu runs on Vulkan, Metal and DX12.
//!
//! The rooms of the house, each naming only what stands to its left:
//! `error dims philox config < {gpu reference data} < ops < {verify model} < store < tasks < report < train < cli`.
//!
//! One op, recorded once and run as often as one likes:
//!
//! ```
//! use wgpt::gpu::{Device, Matrix, Recorder};
//! use wgpt::ops::matmul::{Epilogue, Form, Matmul, choose, matmul};
//! use wgpt::ops::{RowCount, StepValues};
//!
//! # fn main() -> wgpt::Result<()> {
//! let device = Device::open(None)?; // or Device::from_wgpu, with a device of your own
//! let (a, b, c) = (
//!     Matrix::new(&device, "a", 2, 3)?,
//!     Matrix::new(&device, "b", 3, 2)?,
//!     Matrix::new(&device, "c", 2, 2)?,
//! );
//! a.write(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! b.write(&device, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?;
//! let mut recorder = Recorder::new(&device, StepValues { rows: 2, ..StepValues::default() });
//! let (form, epilogue) = (Form::AB, Epilogue::None);
//! let call = Matmul { form, a: &a, b: &b, c: &c, rows: RowCount::Rows, epilogue, accumulate: false };
//! matmul(&mut recorder, choose(device.caps(), form, &a, &b), &call)?;
//! recorder.finish().run(&StepValues { rows: 2, ..StepValues::default() })?;
//! assert_eq!(c.read(&device)?, [4.0, 5.0, 10.0, 11.0]);
//! # Ok(())
//! # }
//! ```
//!
//! What a training run takes, without a device:
//!
//! ```
//! use wgpt::config::ModelConfig;
//! use wgpt::model::{Capacity, plan};
//!
//! let gpt1 = ModelConfig { vocab_size: 40_478, n_layer: 12, n_embd: 768, n_head: 12, n_positions: 512, ..Default::default() };
//! assert_eq!(gpt1.parameter_count(), 116_534_784);
//! let memory = plan(&gpt1, Capacity { rows: 4 * 512, sequences: 4 });
//! assert!(memory.total() < 6 << 30);
//! ```
//!
//! A tokenizer that gives every text back:
//!
//! ```
//! use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
//!
//! # fn main() -> wgpt::Result<()> {
//! let tokenizer = Tokenizer::train("the cat sat on the mat, the cat", 260, Pretokenizer::Bytes)?;
//! let ids = tokenizer.encode("the cat 🐈")?;
//! assert_eq!(tokenizer.decode(&ids)?, "the cat 🐈");
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]
#![deny(unsafe_code)]

#[cfg(feature = "cli")]
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
#[cfg(feature = "tasks")]
pub mod tasks;
pub mod train;
pub mod verify;

pub use config::ModelConfig;
pub use data::tokenizer::Tokenizer;
pub use error::{Error, Result};
pub use gpu::Device;
pub use model::{Capacity, Generator, Inference, Sampling, StepResult, Training, TrainingOptions};
pub use store::Model;
/// The wgpu that devices and queues of [`gpu::Device::from_wgpu`] come from.
pub use wgpu;
