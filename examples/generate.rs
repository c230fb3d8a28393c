//! A text from a model folder, ours or Hugging Face's, as it comes. Without a folder, weights fresh from the seed: noise.
//!
//! `cargo run --release --example generate [FOLDER [PROMPT]]`

use std::io::Write;
use wgpt::config::ModelConfig;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::stream::TextStream;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::gpu::Device;
use wgpt::model::Generator;
use wgpt::model::sampling::{Sampling, SamplingLimits, sample};
use wgpt::store::Model;

fn main() -> wgpt::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = match arguments.next() {
        Some(folder) => {
            let model = Model::load(folder)?;
            model.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            model
        }
        None => {
            let config = ModelConfig { n_layer: 1, n_positions: 32, ..ModelConfig::default() };
            let tokenizer = Tokenizer::train(&stories(1, 100_000), config.vocab_size, Pretokenizer::Bytes)?;
            Model { tokenizer: Some(tokenizer), ..Model::new(config, 1)? }
        }
    };
    let tokenizer = model.tokenizer()?;
    let prompt = tokenizer.encode(&arguments.next().unwrap_or_else(|| "Once upon a time".into()))?;
    let device = Device::open(None)?;
    let mut generator = Generator::new(&device, &model.config, &model.parameters, 1)?;

    let mut text = TextStream::new(tokenizer);
    let print = |text: String| {
        print!("{text}");
        std::io::stdout().flush().map_err(|e| wgpt::Error::io("stdout", e))
    };
    print(text.push(&prompt)?)?;
    let limits = SamplingLimits { max_length: model.config.n_positions, vocab_size: tokenizer.vocab_size() };
    let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
    sample(&mut generator, &prompt, limits, sampling, &mut |_, id| print(text.push(&[id])?).map(|()| true))?;
    print(text.finish()? + "\n")
}
