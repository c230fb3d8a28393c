//! The integration tests: one binary, a module a subject.

mod architecture;
mod batching;
mod cli;
mod common;
mod compile;
mod data;
mod embed;
mod eval;
mod finetune;
mod generate;
mod golden;
mod gpus;
mod gradients;
mod hugging_face;
mod import;
mod init;
mod kernels;
mod model;
mod model_folder;
mod pretrain;
mod readback;
mod recorder;
mod resume;
mod shaders;
mod tasks;
mod tokenizer;
