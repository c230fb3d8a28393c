//! A text from a model folder, ours or Hugging Face's, as it comes. Without a folder, weights fresh from the seed: noise.
//!
//! `cargo run --release --example generate [FOLDER [PROMPT]]`

use std::io::Write;
use std::path::Path;
use wgpt::config::ModelConfig;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::stream::TextStream;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::gpu::Device;
use wgpt::model::sampling::{Sampling, SamplingLimits, sample};
use wgpt::model::{Generator, initial_parameters};
use wgpt::store::folder::Checkpoint;
use wgpt::store::model_folder::Model;

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
        return Err(wgpt::Error::input("the folder has no tokenizer.json"));
    };
    let prompt = tokenizer.encode(&arguments.next().unwrap_or_else(|| "Once upon a time".into()))?;
    let device = Device::open(None)?;
    let mut generator = Generator::new(&device, &checkpoint.config, &checkpoint.parameters, 1)?;

    let mut text = TextStream::new(&tokenizer);
    let print = |text: String| {
        print!("{text}");
        std::io::stdout().flush().map_err(|e| wgpt::Error::io("stdout", e))
    };
    print(text.push(&prompt)?)?;
    let limits = SamplingLimits { max_length: checkpoint.config.n_positions, vocab_size: tokenizer.vocab_size() };
    let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
    sample(&mut generator, &prompt, limits, sampling, &mut |_, id| print(text.push(&[id])?).map(|()| true))?;
    print(text.finish()? + "\n")
}
