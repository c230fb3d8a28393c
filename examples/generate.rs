//! A text from a model folder: ours, or one that Hugging Face wrote. Without a folder, weights fresh from the seed: noise.
//!
//! `cargo run --release --example generate [FOLDER [PROMPT]]`

use std::path::Path;
use wgpt::config::ModelConfig;
use wgpt::data::stories::stories;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Options, Training, initial_parameters};
use wgpt::ops::optimizer::{AdamW, Arithmetic};
use wgpt::store::folder::Checkpoint;
use wgpt::store::model_folder::Model;
use wgpt::train::sample::{Bounds, Sampling, sample};

fn main() -> wgpt::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let checkpoint = match arguments.next() {
        Some(folder) => {
            let Model { config, parameters, tokenizer, warnings, .. } = Model::load(Path::new(&folder))?;
            warnings.iter().for_each(|w| eprintln!("{w}"));
            Checkpoint { config, parameters, tokenizer }
        }
        None => {
            let config = ModelConfig { n_layer: 1, n_positions: 32, ..ModelConfig::default() };
            let tokenizer = Tokenizer::train(&stories(1, 100_000), config.vocab_size, Pretokenizer::Bytes)?;
            Checkpoint { parameters: initial_parameters(&config, 1), config, tokenizer: Some(tokenizer) }
        }
    };
    let Some(tokenizer) = checkpoint.tokenizer else {
        return Err(wgpt::Error::Input("the folder has no tokenizer.json".into()));
    };
    let prompt = arguments.next().unwrap_or_else(|| "Once upon a time".into());
    let device = Device::open(None)?;
    let positions = checkpoint.config.n_positions;
    let adam = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, arithmetic: Arithmetic::Torch };
    let options = Options { adam, weight_decay: 0.0, decay_all: false, clip: 0.0 };
    let capacity = Capacity { rows: positions, sequences: 1 };
    let mut model = Training::new(&device, &checkpoint.config, &checkpoint.parameters, capacity, options)?;
    let bounds = Bounds { positions, vocabulary: tokenizer.vocab_size() };
    let ids =
        sample(&mut model, &tokenizer.encode(&prompt)?, bounds, Sampling { temperature: 0.8, seed: 1, number: 0 })?;
    println!("{prompt}{}", tokenizer.decode(&ids)?);
    Ok(())
}
