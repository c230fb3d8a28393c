//! Generates a text with a model from a run's folder, or from one of Hugging Face's. Without a folder, with a model of random
//! weights.
//!
//! `cargo run --release --example generate [FOLDER [PROMPT]]`

use std::io::Write;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::Pretokenizer;
use wgpt::{Device, Model, ModelConfig, Sampling, Tokenizer};

/// A model of random weights, with a tokenizer.
fn untrained() -> wgpt::Result<Model> {
    let config = ModelConfig { n_layer: 1, n_positions: 32, ..ModelConfig::default() };
    let tokenizer = Tokenizer::train(&stories(1, 100_000), config.vocab_size, Pretokenizer::Bytes)?;
    Ok(Model { tokenizer: Some(tokenizer), ..Model::new(config, 1)? })
}

fn main() -> wgpt::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().map_or_else(untrained, Model::load)?;
    model.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let prompt = arguments.next().unwrap_or_else(|| "Once upon a time".into());

    let mut generator = model.generator(&Device::open(None)?, 1)?;
    let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
    let max_length = model.config.n_positions;
    generator.stream_text(model.tokenizer()?, &prompt, max_length, sampling, &mut |part| {
        print!("{part}");
        std::io::stdout().flush().map_err(|e| wgpt::Error::io("stdout", e))
    })?;
    println!();
    Ok(())
}
