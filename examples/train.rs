//! A model learns our story grammar: text → tokenizer → windows → steps, in one screen.
//!
//! `cargo run --release --example train [STEPS]`

use wgpt::config::ModelConfig;
use wgpt::data::corpus::Corpus;
use wgpt::data::data_loader::{BatchSize, Batching, DataLoader};
use wgpt::data::padding::Padding;
use wgpt::data::synthetic::stories::stories;
use wgpt::data::tokenizer::{Pretokenizer, Tokenizer};
use wgpt::data::windows::evaluation_batches;
use wgpt::gpu::Device;
use wgpt::model::{Capacity, Training, TrainingOptions, initial_parameters};
use wgpt::philox::step_key;

const SEED: u64 = 1;

fn main() -> wgpt::Result<()> {
    let steps: u32 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(20);
    let device = Device::open(None)?;
    let config = ModelConfig { n_layer: 2, n_embd: 64, n_positions: 64, ..ModelConfig::default() };
    let text = stories(SEED, 200_000);
    let tokenizer = Tokenizer::train(&text, config.vocab_size, Pretokenizer::Bytes)?;
    let (train, valid) = Corpus::stream(tokenizer.encode(&text)?).split(0.05);

    let options = TrainingOptions::default();
    let capacity = Capacity { rows: 8 * config.n_positions, sequences: 8 };
    let mut training = Training::new(&device, &config, &initial_parameters(&config, SEED), capacity, options)?;
    let batching = Batching { size: BatchSize::Windows(8), micro_batches: 1, padding: Padding::Packed };
    let mut order = DataLoader::new(train, config.n_positions, batching, SEED)?;
    for step in 0..steps {
        let batch = order.next_batch()?;
        training.accumulate_gradients(&batch, batch.target_count, step_key(SEED, step))?;
        // Post-layer-norm needs its warm-up.
        training.optimizer_step(2e-3 * f64::from(step + 1).min(100.0) / 100.0)?;
        while let Some(result) = training.next_result()? {
            println!("step {}: loss {:.4}", result.step, result.loss);
        }
    }
    for result in training.wait_for_results()? {
        println!("step {}: loss {:.4}", result.step, result.loss);
    }
    let (mut sum, mut count) = (0.0, 0);
    for batch in evaluation_batches(&valid, config.n_positions, capacity.rows, capacity.sequences).take(4) {
        sum += training.evaluate(&batch)?.iter().map(|x| f64::from(*x)).sum::<f64>();
        count += batch.target_count;
    }
    println!("validation loss {:.4} over {count} tokens", sum / f64::from(count.max(1)));
    Ok(())
}
