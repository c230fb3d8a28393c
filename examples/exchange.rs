//! Times the exchange of gradients between ranks, without a device: a sum over all ranks of as many floats as a model has
//! parameters. The arguments are presets: nano and mini without any.
//!
//! ```sh
//! cargo run --release --example exchange                        # 2 and 4 threads of this process
//! cargo build --release --example exchange --features mpi
//! mpirun -n 4 target/release/examples/exchange nano mini gpt1   # 4 processes, perhaps on several machines
//! ```

use std::time::Instant;
use wgpt::communicator::{Communicator, thread_ranks};
use wgpt::config::ModelConfig;
use wgpt::{Error, Result};

/// Sums that are timed, after one that is not.
const TURNS: usize = 5;

/// Returns the seconds of a sum of this many floats, and checks the sum.
fn time(ranks: &mut dyn Communicator, floats: usize) -> Result<f64> {
    let own = ranks.rank() as f32 + 1.0;
    let mut values = vec![0.0; floats];
    let mut seconds = f64::INFINITY;
    for turn in 0..=TURNS {
        values.fill(own);
        ranks.barrier()?;
        let start = Instant::now();
        ranks.all_reduce(&mut values)?;
        if turn > 0 {
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
    }
    let size = ranks.size() as f32;
    assert!(values.iter().all(|sum| *sum == size * (size + 1.0) / 2.0), "a wrong sum");
    Ok(seconds)
}

fn all_presets(ranks: &mut dyn Communicator, kind: &str) -> Result<()> {
    let mut presets: Vec<String> = std::env::args().skip(1).collect();
    if presets.is_empty() {
        presets = vec!["nano".into(), "mini".into()];
    }
    for preset in presets {
        let config = ModelConfig::preset(&preset);
        let floats =
            config.ok_or_else(|| Error::value("preset", &preset, "expected nano, mini, gpt1 or dN"))?.parameter_count();
        let (seconds, size) = (time(ranks, floats)?, ranks.size());
        if ranks.rank() == 0 {
            let megabytes = floats as f64 * 4e-6;
            println!("{size} {kind}, {preset}: {megabytes:.1} MB in {:.1} ms", seconds * 1e3);
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    #[cfg(feature = "mpi")]
    if let Some(job) = wgpt::communicator::MpiJob::start()? {
        return all_presets(&mut job.rank(), "processes");
    }
    for size in [2, 4] {
        std::thread::scope(|scope| {
            let threads: Vec<_> = thread_ranks(size)
                .into_iter()
                .map(|mut rank| scope.spawn(move || all_presets(&mut rank, "threads")))
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a rank"))
        })?;
    }
    Ok(())
}
