//! Trains a model on a synthetic text: tokenizer, batches, steps, validation, and the trained model in a folder.
//!
//! `cargo run --release --example train [STEPS [FOLDER]]`

use wgpt::data::corpus::Corpus;
use wgpt::data::data_loader::{Batching, DataLoader};
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::Pretokenizer;
use wgpt::data::windows::evaluation_batches;
use wgpt::{Capacity, Device, Model, ModelConfig, Tokenizer, TrainingOptions};

const SEED: u64 = 1;
const WINDOWS: usize = 8;

fn main() -> wgpt::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let steps: u32 = arguments.next().and_then(|steps| steps.parse().ok()).unwrap_or(20);
    let config = ModelConfig { n_layer: 2, n_embd: 64, n_positions: 64, ..ModelConfig::default() };
    let text = stories(SEED, 200_000);
    let tokenizer = Tokenizer::train(&text, config.vocab_size, Pretokenizer::Bytes)?;
    let (train, valid) = Corpus::stream(tokenizer.encode(&text)?).split(0.05);
    let mut loader = DataLoader::new(train, config.n_positions, Batching::windows(WINDOWS), SEED)?;

    let device = Device::open(None)?;
    let capacity = Capacity::of_windows(&config, WINDOWS);
    let model = Model::new(config, SEED)?;
    let mut training = model.training(&device, capacity, TrainingOptions::default())?;
    for step in 0..steps {
        // Post-layer-norm needs a warm-up of the learning rate.
        let lr = 2e-3 * f64::from(step + 1).min(100.0) / 100.0;
        training.step(&loader.next_batch()?, lr, SEED)?;
        while let Some(result) = training.next_result()? {
            println!("step {}: loss {:.4}", result.step, result.loss);
        }
    }
    for result in training.wait_for_results()? {
        println!("step {}: loss {:.4}", result.step, result.loss);
    }

    let (mut sum, mut count) = (0.0, 0);
    for batch in evaluation_batches(&valid, model.config.n_positions, capacity.rows, capacity.sequences).take(4) {
        sum += training.evaluate(&batch)?.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        count += batch.target_count;
    }
    println!("validation loss {:.4} over {count} tokens", sum / f64::from(count.max(1)));
    if let Some(folder) = arguments.next() {
        Model::from_parts(model.config, training.parameters()?, Some(tokenizer)).save(folder)?;
    }
    Ok(())
}
