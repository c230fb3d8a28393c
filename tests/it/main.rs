//! The integration tests: one binary, a module a subject.

mod architecture;
mod batching;
mod cli;
mod common;
mod compare;
mod compile;
mod cooperative;
mod data;
mod drivers;
mod embed;
mod eval;
mod faults;
mod file_systems;
mod finetune;
mod fuzz;
mod generate;
mod golden;
mod gpus;
mod gradients;
mod hugging_face;
mod import;
mod init;
mod kernels;
#[cfg(windows)]
mod killed;
#[cfg(unix)]
mod kills;
mod model;
mod model_folder;
#[cfg(all(unix, feature = "mpi"))]
mod mpi;
mod outputs;
mod pretrain;
mod processes;
mod ranks;
mod readback;
mod recorder;
mod resume;
mod shaders;
mod strangers;
mod tasks;
mod tensorboard;
mod tokenizer;
mod user_files;
#[cfg(windows)]
mod windows;
