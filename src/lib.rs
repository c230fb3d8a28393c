//! GPT decoders trained on any GPU, by hand-written WGSL kernels that wgpu runs on Vulkan, Metal and DX12.
//!
//! The crate is a library first. The program `wgpt` is a thin layer over it, behind the default feature `cli`.
//!
//! # Generate text
//!
//! [`Model::load`] reads the folder of a run, a checkpoint, or a folder that Hugging Face wrote, such as GPT-1's.
//!
//! ```no_run
//! # #[cfg(feature = "tokenizers")]
//! # fn main() -> wgpt::Result<()> {
//! use wgpt::{Device, Model, Sampling};
//!
//! let model = Model::load("runs/mine")?;
//! let mut generator = model.generator(&Device::open(None)?, 1)?;
//! let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
//! println!("{}", generator.text(model.tokenizer()?, "ROMEO:", 128, sampling)?);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tokenizers"))]
//! # fn main() {}
//! ```
//!
//! # Train a model
//!
//! A step is asynchronous: [`Training::step`] encodes it and returns; its loss arrives a few steps later.
//! `examples/train.rs` does the same with text and batches; [`train`] holds whole runs, with settings, evaluations and
//! checkpoints.
//!
//! ```
//! use wgpt::data::{Batch, Sequence};
//! use wgpt::{Capacity, Device, Model, ModelConfig, TrainingOptions};
//!
//! # fn main() -> wgpt::Result<()> {
//! let config = ModelConfig { n_layer: 1, n_embd: 32, n_head: 2, n_positions: 16, vocab_size: 64, ..Default::default() };
//! let batch = Batch::from_sequences(&[Sequence { ids: vec![1, 2, 3, 4], targets: vec![2, 3, 4, 5] }])?;
//!
//! let model = Model::new(config, 1)?; // random weights; 1 is the seed
//! let mut training = model.training(&Device::open(None)?, Capacity { rows: 4, sequences: 1 }, TrainingOptions::default())?;
//! for _ in 0..20 {
//!     training.step(&batch, 1e-3, 1)?;
//! }
//! let results = training.wait_for_results()?;
//! assert!(results[19].loss < results[0].loss);
//! # Ok(())
//! # }
//! ```
//!
//! # Run one kernel
//!
//! A [`gpu::Recorder`] records kernels into a [`gpu::Program`]; the program runs as often as needed, on sizes up to those of
//! the recording.
//!
//! ```
//! use wgpt::gpu::{Device, Matrix, Recorder};
//! use wgpt::ops::matmul::{Epilogue, Form, Matmul, choose, matmul};
//! use wgpt::ops::{RowCount, StepValues};
//!
//! # fn main() -> wgpt::Result<()> {
//! let device = Device::open(None)?; // or Device::from_wgpu, for the caller's own device
//! let (a, b, c) = (
//!     Matrix::new(&device, "a", 2, 3)?,
//!     Matrix::new(&device, "b", 3, 2)?,
//!     Matrix::new(&device, "c", 2, 2)?,
//! );
//! a.write(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! b.write(&device, &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?;
//! let mut recorder = Recorder::new(&device, StepValues { rows: 2, ..StepValues::default() });
//! let (form, epilogue) = (Form::AB, Epilogue::None);
//! let call = Matmul { form, a: &a, b: &b, c: &c, rows: RowCount::Rows, epilogue, accumulate: false, gradient: None, parts: None };
//! matmul(&mut recorder, choose(device.caps(), form, [2, 2, 3], 0), &call)?;
//! recorder.finish().run(&StepValues { rows: 2, ..StepValues::default() })?;
//! assert_eq!(c.read(&device)?, [4.0, 5.0, 10.0, 11.0]);
//! # Ok(())
//! # }
//! ```
//!
//! # Embed it
//!
//! A program with a wgpu device of its own gives it to [`Device::from_wgpu`], wraps its buffers by
//! [`gpu::Matrix::from_wgpu`], records programs into its command encoder by [`gpu::Program::encode_into`], and reads results
//! back by futures, such as [`gpu::Matrix::read_async`]. `examples/embed.rs` does all four. The methods of [`Training`],
//! [`Inference`] and [`Generator`] that read from the device have a form that is a future, too, such as
//! [`Inference::logits_async`]. A future never blocks: it completes when the caller polls the device,
//! as [`Device::block_on`] does.
//!
//! # Plan the memory
//!
//! [`model::plan()`] computes what a training run allocates, without a device; [`model::plan_mixed()`] does so for mixed precision.
//!
//! ```
//! use wgpt::ModelConfig;
//! use wgpt::model::{Capacity, plan};
//!
//! let gpt1 = ModelConfig { vocab_size: 40_478, n_layer: 12, n_embd: 768, n_head: 12, n_positions: 512, ..Default::default() };
//! assert_eq!(gpt1.parameter_count(), 116_534_784);
//! assert!(plan(&gpt1, Capacity { rows: 4 * 512, sequences: 4 }, false).total() < 6 << 30);
//! ```
//!
//! # Features
//!
//! | feature | adds | dependencies |
//! | --- | --- | --- |
//! | `cli` (default) | the program: command line, progress bar, signals, the user's cache folder | clap, indicatif, signal-hook or ctrlc, dirs, jiff |
//! | `tasks` | fine-tuning on files of examples | |
//! | `tokenizers` | encoding text: tokenizers, pretraining on text, generation of text | tokenizers |
//!
//! Each includes the ones below it. Without features the crate holds kernels, models, model folders and the training engine.
//!
//! # Modules
//!
//! A module imports only modules to its left:
//! `terminal error dims philox config < {gpu reference data} < ops < {verify model} < store < tasks < report < train < cli`.
#![deny(missing_docs)]
#![deny(unsafe_code)]

#[cfg(feature = "cli")]
pub mod cli;
pub mod communicator;
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
pub(crate) mod terminal;
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
